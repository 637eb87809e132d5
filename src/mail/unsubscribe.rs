//! The link with which a recipient unsubscribes.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The length of a token: 128 bits in base64url.
const LENGTH: usize = 22;

/// The secret part of an unsubscribe link. Nobody can guess one: each is 128 random bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnsubscribeToken(String);

/// The text does not have the form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an unsubscribe token is 22 characters of base64url")]
pub struct NoUnsubscribeToken;

impl UnsubscribeToken {
    /// A token of its own.
    pub fn generate() -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
    }

    /// The token as it stands in a link.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UnsubscribeToken {
    /// Leaves the token out: who has it can unsubscribe somebody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsubscribeToken")
    }
}

impl FromStr for UnsubscribeToken {
    type Err = NoUnsubscribeToken;

    fn from_str(text: &str) -> Result<Self, NoUnsubscribeToken> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = text.len() == LENGTH && text.bytes().all(is_allowed);
        is_token.then(|| Self(text.to_owned())).ok_or(NoUnsubscribeToken)
    }
}

/// The unsubscribe link of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The token. A mail that is recorded gets that of its recipient, where there is one already.
    pub token: UnsubscribeToken,
    /// The language of what is said about the link, as in `de`.
    pub language: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_what_is_cut_or_longer_is_none() {
        let token = UnsubscribeToken::generate();
        assert_eq!(token.as_str().parse(), Ok(token.clone()));
        assert_ne!(token, UnsubscribeToken::generate());
        let text = token.as_str();
        for wrong in
            ["", &text[1..], &format!("{text}A"), &format!("{}=", &text[1..]), &format!("{}%", &text[1..])]
        {
            assert_eq!(wrong.parse::<UnsubscribeToken>(), Err(NoUnsubscribeToken), "{wrong}");
        }
        assert!(!format!("{token:?}").contains(text));
    }
}
