//! AUTH PLAIN (RFC 4616), LOGIN and XOAUTH2 in the catcher's dialogue (RFC 4954).
//!
//! There is one user. XOAUTH2 takes the password as the bearer token.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    dialogue::{Dialogue, Next},
    wire::Line,
};

/// What the client said in the course of AUTH.
enum Said {
    Bytes(Vec<u8>),
    /// It sent `*`.
    Cancelled,
    /// It was not base64.
    Nonsense,
    Left,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<'_, S> {
    /// Lets the client prove who it is. The caller made sure that it may.
    pub(super) async fn log_in(
        &mut self,
        (user, password): &(String, String),
        mechanism: &str,
        initial: Option<&str>,
    ) -> io::Result<Next> {
        let mechanism = mechanism.to_ascii_uppercase();
        let first_prompt = match mechanism.as_str() {
            "PLAIN" | "XOAUTH2" => "",
            "LOGIN" => "Username:",
            _ => return Ok(self.fault("504 5.5.4 I do not know that mechanism")),
        };
        let first = match self.hear(initial, first_prompt).await? {
            Said::Bytes(bytes) => bytes,
            otherwise => return Ok(self.without_proof(&otherwise)),
        };
        let proven = match mechanism.as_str() {
            "PLAIN" => {
                let mut parts = first.splitn(3, |byte| *byte == 0).skip(1);
                (parts.next(), parts.next()) == (Some(user.as_bytes()), Some(password.as_bytes()))
            }
            "LOGIN" => match self.hear(None, "Password:").await? {
                Said::Bytes(second) => first == user.as_bytes() && second == password.as_bytes(),
                otherwise => return Ok(self.without_proof(&otherwise)),
            },
            _ => {
                let proven = first == format!("user={user}\x01auth=Bearer {password}\x01\x01").as_bytes();
                if !proven && matches!(self.hear(None, r#"{"status":"401"}"#).await?, Said::Left) {
                    return Ok(Next::HangUp);
                }
                proven
            }
        };
        if !proven {
            return Ok(self.fault("535 5.7.8 I do not know you, or not with that password"));
        }
        self.user = Some(user.clone());
        Ok(self.reply("235 2.7.0 Welcome", Next::Listen))
    }

    /// The client's initial response if there is one, else its answer to `prompt`.
    async fn hear(&mut self, initial: Option<&str>, prompt: &str) -> io::Result<Said> {
        let answer = match initial {
            Some("=") => return Ok(Said::Bytes(Vec::new())),
            Some(initial) => initial.as_bytes().to_vec(),
            None => {
                self.wire.say(&format!("334 {}", BASE64_STANDARD.encode(prompt)));
                match self.wire.line().await? {
                    Line::Text(line) if &line[..] == b"*" => return Ok(Said::Cancelled),
                    Line::Text(line) => line.to_vec(),
                    Line::TooLong => return Ok(Said::Nonsense),
                    Line::End => return Ok(Said::Left),
                }
            }
        };
        Ok(BASE64_STANDARD.decode(answer).map_or(Said::Nonsense, Said::Bytes))
    }

    fn without_proof(&mut self, said: &Said) -> Next {
        match said {
            Said::Left => Next::HangUp,
            Said::Cancelled => self.fault("501 5.7.0 As you like"),
            Said::Bytes(_) | Said::Nonsense => self.fault("501 5.5.2 That is not base64"),
        }
    }
}
