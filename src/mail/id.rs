//! Ids as types, so that a mail's id cannot be taken for a batch's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id: it is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of {of}: a UUID")]
pub struct IdError {
    of: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $of:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a fresh id (UUIDv7, RFC 9562): ids sort by the time they were made.
            #[expect(clippy::new_without_default, reason = "a default that differs on each call would surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError { of: $of })
            }
        }
    };
}

uuid_id!(
    /// Names one mail.
    MailId,
    "a mail"
);
uuid_id!(
    /// Names one batch: the mails of one bulk request.
    BatchId,
    "a batch"
);
uuid_id!(
    /// Names one bulk action.
    ActionId,
    "an action"
);
uuid_id!(
    /// Names one URL that a merchant registered for callbacks.
    EndpointId,
    "an endpoint"
);
uuid_id!(
    /// Names one event.
    EventId,
    "an event"
);
uuid_id!(
    /// Names the delivery of one callback to one URL.
    DeliveryId,
    "a delivery"
);
uuid_id!(
    /// Names one token, which itself must not be shown.
    TokenId,
    "a token"
);
uuid_id!(
    /// Names one start of one worker process; a restart is another worker.
    WorkerId,
    "a worker"
);

/// Names a merchant: 1 to 64 of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MerchantId(String);

/// The text is not a merchant's id.
#[derive(Debug, thiserror::Error)]
#[error("a merchant's id is 1 to 64 letters, digits, dots, underscores or hyphens")]
pub struct MerchantIdError;

impl MerchantId {
    /// Whose turn it is in the queue where no merchant asked: the operators' together.
    pub fn of_operators() -> Self {
        Self("operators".to_owned())
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MerchantId {
    type Err = MerchantIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MerchantIdError)
        }
    }
}

impl fmt::Display for MerchantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MerchantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_id_is_refused_with_whose_id_it_should_be() {
        let id = MailId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        for (error, of) in [
            ("nope".parse::<MailId>().unwrap_err(), "a mail"),
            ("".parse::<BatchId>().unwrap_err(), "a batch"),
            ("0192".parse::<ActionId>().unwrap_err(), "an action"),
            ("pr_secret".parse::<TokenId>().unwrap_err(), "a token"),
        ] {
            assert_eq!(error.to_string(), format!("is not the id of {of}: a UUID"));
        }
    }
}
