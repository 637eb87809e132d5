//! Signs in (RFC 4954): PLAIN, LOGIN or XOAUTH2.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{
    ExposeSecret, SecretString,
    zeroize::{Zeroize, Zeroizing},
};

use super::{
    attempt_error::{AttemptError, ConnectionError},
    connection::Connection,
    settings::{AuthMechanism, RouteSettings},
    wire::ServerReply,
};
use crate::mail::{EnhancedCode, Phase};

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
    pub(super) async fn sign_in(&self, connection: &mut Connection) -> Result<(), AttemptError> {
        let offered = &connection.capabilities.auth;
        let wanted = match &self.mechanism {
            Some(mechanism) => std::slice::from_ref(mechanism),
            None => &[AuthMechanism::Plain, AuthMechanism::Login],
        };
        let Some(&mechanism) = wanted.iter().find(|mechanism| offered.contains(mechanism)) else {
            let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let text = format!("the server does not offer AUTH {}", names.join(" or "));
            return Err(AttemptError::transient(Phase::Auth, text));
        };
        connection.transcript.note("C: ", &format!("AUTH {mechanism} [credentials]"));
        connection.transcript.hide(true);
        let answered = self.converse(mechanism, connection).await;
        connection.transcript.hide(false);
        connection.wipe();
        if let Ok(said) = &answered {
            connection.transcript.note("S: ", &format!("{} {}", said.code, self.redact(&said.text())));
        }
        let lost = |lost: ConnectionError| AttemptError::lost(Phase::Auth, lost);
        let said = answered.map_err(lost)?;
        if said.is_positive() {
            Ok(())
        } else if said.is_refusal() {
            Err(AttemptError::replied(Phase::Auth, said))
        } else {
            Err(lost(connection.protocol_error()))
        }
    }

    /// What a relay said, without whatever in it could be the password or a part of it, in any encoding. Only plain words
    /// are kept, and codes: an encoding looks like neither.
    pub(super) fn redact(&self, words: &str) -> String {
        let password = self.password.expose_secret();
        let secrets: Vec<String> = [password, self.username.as_str()]
            .into_iter()
            .flat_map(|secret| secret.split_whitespace().chain([secret]))
            .filter(|secret| !secret.is_empty())
            .map(str::to_lowercase)
            .collect();
        let holds_secret = |text: &str| {
            let text = text.to_lowercase();
            let backwards: String = text.chars().rev().collect();
            secrets.iter().any(|secret| text.contains(secret) || backwards.contains(secret))
        };
        let mut kept = Vec::new();
        for word in words.split_whitespace() {
            let is_fit = is_plain(word) && !holds_secret(word);
            if is_fit || kept.last() != Some(&REDACTED) {
                kept.push(if is_fit { word } else { REDACTED });
            }
        }
        let text = kept.join(" ");
        // Something may come together from the words that were kept, as `hun ter2` does without its blank.
        let joined: String = text.split_whitespace().collect();
        let backwards: String = joined.chars().rev().collect();
        let password: String = password.split_whitespace().collect::<String>().to_lowercase();
        if [joined, backwards].iter().any(|joined| joined.to_lowercase().contains(&password)) {
            REDACTED.to_owned()
        } else {
            text
        }
    }

    /// A transcript without what the relay repeats of our credentials. With `is_about_us` none of its words are trusted.
    pub(super) fn redact_transcript(&self, text: &str, is_about_us: bool) -> String {
        let password = self.password.expose_secret().to_lowercase();
        let redacted = |line: &str| match line.strip_prefix("S: ") {
            Some(said) if is_about_us || said.to_lowercase().contains(&password) => {
                format!("S: {}\n", self.redact(said))
            }
            _ => format!("{line}\n"),
        };
        text.lines().map(redacted).collect()
    }

    /// Goes on as long as the server asks (334) and we have something to say.
    async fn converse(
        &self,
        mechanism: AuthMechanism,
        connection: &mut Connection,
    ) -> Result<ServerReply, ConnectionError> {
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

/// Stands where a relay's words were left out.
const REDACTED: &str = "[…]";
/// No longer word is taken for one.
const LONGEST_WORD: usize = 20;

/// Whether this is a word as people write it, or a code: a number of three digits, an enhanced code.
fn is_plain(word: &str) -> bool {
    let is_code = |word: &str| {
        word.parse::<EnhancedCode>().is_ok() || word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit())
    };
    let bare = word.trim_matches(['.', ',', ':', ';', '!', '?', '(', ')', '"', '\'']);
    let mut letters = bare.chars();
    letters.next();
    // Past its first letter a word has one case: `Error`, `AUTH`, `authentication-failed`.
    let rest: String = letters.filter(|letter| *letter != '-').collect();
    let is_word = bare.len() <= LONGEST_WORD
        && bare.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-')
        && (rest.chars().all(|letter| letter.is_ascii_lowercase())
            || bare.chars().all(|letter| letter.is_ascii_uppercase() || letter == '-'));
    is_word || is_code(bare)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(words: &str) -> String {
        let credentials = Credentials {
            username: "ann".to_owned(),
            password: SecretString::from("hunter two2"),
            mechanism: None,
        };
        credentials.redact(words)
    }

    #[test]
    fn words_that_operators_need_stay_when_a_reply_is_redacted() {
        let words = "5.7.8 Error: authentication failed: (reason unavailable), AUTH closed";
        assert_eq!(redacted(words), words);
        assert_eq!(
            redacted("5.7.0 Must issue a STARTTLS command first"),
            "5.7.0 Must issue a STARTTLS command first"
        );
    }

    #[test]
    fn no_credentials_in_any_encoding_are_kept() {
        let base64 = |text: &str| STANDARD.encode(text);
        let hex = base16ct::lower::encode_string(b"hunter two2");
        for secret in [
            "hunter two2".to_owned(),
            "HUNTER".to_owned(),
            "two2".to_owned(),
            "ann".to_owned(),
            "xxhunterxx".to_owned(),
            "hunter%20two2".to_owned(),
            base64("hunter two2"),
            base64("\0ann\0hunter two2"),
            base64("user=ann\x01auth=Bearer hunter two2\x01\x01"),
            base64("hunter"),
            hex.clone(),
            hex.to_uppercase(),
            "retnuh".to_owned(),
        ] {
            let text = redacted(&format!("5.7.8 no such user {secret} here"));
            for part in secret.split_whitespace() {
                assert!(!text.contains(part), "{secret}: {text}");
            }
            assert!(text.contains(REDACTED), "{secret}: {text}");
        }
    }
}
