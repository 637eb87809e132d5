//! Signs in (RFC 4954): PLAIN, LOGIN or XOAUTH2.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{
    ExposeSecret, SecretString,
    zeroize::{Zeroize, Zeroizing},
};

use super::{
    connection::Connection,
    settings::{AuthMechanism, RouteSettings},
    stop::{Lost, Stop},
    wire::ServerReply,
};
use crate::mail::Phase;

/// Who we are to a relay.
#[derive(Debug)]
pub(super) struct Credentials {
    username: String,
    password: SecretString,
    mechanism: Option<AuthMechanism>,
}

impl Credentials {
    /// The credentials of a route that has any.
    pub(super) fn of(settings: &RouteSettings) -> Option<Self> {
        Some(Self {
            username: settings.username.clone()?,
            password: settings.password.clone()?,
            mechanism: settings.auth,
        })
    }

    /// Signs in with the configured mechanism, else with the better one of PLAIN and LOGIN that the server offers.
    pub(super) async fn sign_in(&self, connection: &mut Connection) -> Result<(), Stop> {
        let offered = &connection.capabilities.auth;
        let wanted = match &self.mechanism {
            Some(mechanism) => std::slice::from_ref(mechanism),
            None => &[AuthMechanism::Plain, AuthMechanism::Login],
        };
        let Some(&mechanism) = wanted.iter().find(|mechanism| offered.contains(mechanism)) else {
            let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let text = format!("the server does not offer AUTH {}", names.join(" or "));
            return Err(Stop::not_now(Phase::Auth, text));
        };
        let answered = self.converse(mechanism, connection).await;
        connection.wipe();
        let lost = |lost: Lost| Stop::lost(Phase::Auth, lost);
        let said = answered.map_err(lost)?;
        if said.is_positive() {
            Ok(())
        } else if said.is_refusal() {
            Err(Stop::said(Phase::Auth, said))
        } else {
            Err(lost(connection.out_of_place()))
        }
    }

    /// Goes on as long as the server asks (334) and we have something to say.
    async fn converse(
        &self,
        mechanism: AuthMechanism,
        connection: &mut Connection,
    ) -> Result<ServerReply, Lost> {
        let within = connection.timeouts.hello;
        let password = self.password.expose_secret();
        let (first, answers) = match mechanism {
            AuthMechanism::Plain => {
                let response = encode(&["\0", &self.username, "\0", password]);
                // A server that does not know initial responses asks for it again.
                (with_response("AUTH PLAIN ", &response), vec![response])
            }
            AuthMechanism::Login => {
                let answers = vec![encode(&[&self.username]), encode(&[password])];
                (Zeroizing::new("AUTH LOGIN".to_owned()), answers)
            }
            AuthMechanism::Xoauth2 => {
                let response = encode(&["user=", &self.username, "\x01auth=Bearer ", password, "\x01\x01"]);
                // A refusal comes as a question with its reasons; an empty answer brings the real refusal.
                (with_response("AUTH XOAUTH2 ", &response), vec![Zeroizing::new(String::new())])
            }
        };
        let mut said = connection.ask(&first, within).await?;
        for answer in answers {
            if said.code != 334 {
                break;
            }
            said = connection.ask(&answer, within).await?;
        }
        Ok(said)
    }
}

fn encode(parts: &[&str]) -> Zeroizing<String> {
    let mut joined = parts.concat();
    let encoded = Zeroizing::new(STANDARD.encode(&joined));
    joined.zeroize();
    encoded
}

fn with_response(command: &str, response: &str) -> Zeroizing<String> {
    Zeroizing::new([command, response].concat())
}
