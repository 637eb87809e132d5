//! The user objects of a request for a batch, read only as far as it takes to know whom they are about. Pure.
//!
//! The request and the job that makes the mails ask here, so that both take an object for that of the same member.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Error, Value, value::RawValue};

use super::mailing::IDENTIFIER;

/// The `identifier` of a user object, of whatever type it is. Of several the last counts, as for all readers of JSON here.
///
/// # Errors
/// When it is no object, or one of its keys cannot be read.
pub fn identifier_in(user: &RawValue) -> Result<Option<Value>, Error> {
    serde_json::Deserializer::from_str(user.get()).deserialize_map(Identifier)
}

struct Identifier;

impl<'de> Visitor<'de> for Identifier {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut identifier = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == IDENTIFIER {
                identifier = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(identifier)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_identifiers_the_last_counts() {
        for (user, expected) in [
            (r#"{"identifier":"a"}"#, Some(json!("a"))),
            (r#"{"identifier":"a","x":{"identifier":"b"},"identifier":"c"}"#, Some(json!("c"))),
            (r#"{"\u0069dentifier":5}"#, Some(json!(5))),
            ("{}", None),
        ] {
            let user = RawValue::from_string(user.to_owned()).unwrap();
            assert_eq!(identifier_in(&user).unwrap(), expected, "{user}");
        }
        assert!(identifier_in(&RawValue::from_string("[\"a\"]".to_owned()).unwrap()).is_err());
    }
}
