//! A suppression as merchants write it: in a request, or on a line of an import.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    clock,
    http::{
        error::{FieldError, fault},
        json_faults,
    },
    mail::{Address, AddressError, SuppressionReason, SuppressionScope, Timestamp},
    shop::SingleLine,
    store::{NewSuppression, SuppressionRecord},
};

/// What suppresses an address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Suppression {
    /// The address, where the path does not say it.
    #[schema(example = "bob@example.net")]
    address: Option<String>,
    /// Why; `manual` where absent.
    reason: Option<SuppressionReason>,
    /// Which mails the address does not get: where absent, `promotional` after unsubscribing and `all` else.
    scope: Option<SuppressionScope>,
    /// Something for people.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1000)]
    note: Option<SingleLine<1000>>,
    /// When it ends by itself; never where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Since when; now where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

/// A suppressed address.
#[derive(Serialize, ToSchema)]
pub struct SuppressionView {
    /// In lower case, the domain as A-labels.
    #[schema(example = "bob@example.net")]
    address: String,
    reason: SuppressionReason,
    scope: SuppressionScope,
    note: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<SuppressionRecord> for SuppressionView {
    fn from(record: SuppressionRecord) -> Self {
        let SuppressionRecord { address, reason, scope, note, expires_at, created_at, .. } = record;
        Self { address, reason, scope, note, expires_at, created_at }
    }
}

/// Reads an address.
pub(super) fn address(path: &str, text: &str) -> Result<Address, Vec<FieldError>> {
    text.trim().parse().map_err(|error: AddressError| vec![fault(path, &error.to_string())])
}

impl Suppression {
    /// What it says of the address of the path.
    pub(super) fn of(self, of_path: Address) -> Result<NewSuppression, Vec<FieldError>> {
        let mut faults = Vec::new();
        match self.address.as_deref().map(|given| address("address", given)) {
            Some(Err(wrong)) => faults.extend(wrong),
            Some(Ok(given)) if given.search_key() != of_path.search_key() => {
                faults.push(fault("address", "must be the address of the path"));
            }
            _ => {}
        }
        let now = clock::now();
        if self.expires_at.is_some_and(|at| at <= now) {
            faults.push(fault("expires_at", "must be in the future"));
        }
        if self.created_at.is_some_and(|at| at > now) {
            faults.push(fault("created_at", "must not be in the future"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let address = of_path;
        let reason = self.reason.unwrap_or(SuppressionReason::Manual);
        Ok(NewSuppression {
            address,
            reason,
            scope: self.scope.unwrap_or_else(|| reason.usual_scope()),
            note: self.note.map(|note| note.as_str().to_owned()),
            expires_at: self.expires_at,
            created_at: self.created_at,
        })
    }
}

/// Reads a line of an import, whose `id`, or `address`, is the address.
pub(in crate::http) fn read(mut given: Map<String, Value>) -> Result<NewSuppression, Vec<FieldError>> {
    let id = match (given.remove("id"), given.get("address")) {
        (Some(Value::String(id)), _) => address("id", &id)?,
        (None, Some(Value::String(text))) => address("address", text)?,
        (None, Some(_)) => return Err(vec![fault("address", "must be a string")]),
        _ => return Err(vec![fault("id", "must be a string")]),
    };
    let given = Value::Object(given);
    let suppression =
        Suppression::deserialize(&given).map_err(|_| json_faults::all::<Suppression>(&given.to_string()))?;
    suppression.of(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(given: Value) -> Result<NewSuppression, String> {
        let Value::Object(given) = given else { unreachable!() };
        read(given).map_err(|faults| faults.into_iter().map(|it| it.path).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_line_says_the_address_as_its_id_or_by_its_name() {
        for given in [json!({"id": "Ann@Example.net"}), json!({"address": "ann@EXAMPLE.net"})] {
            let read = read_json(given).unwrap();
            assert_eq!(read.address.search_key(), "example.net@ann");
            assert_eq!((read.reason, read.scope), (SuppressionReason::Manual, SuppressionScope::All));
        }
        let read = read_json(json!({"id": "a@example.net", "reason": "unsubscribed"})).unwrap();
        assert_eq!(read.scope, SuppressionScope::Promotional);
        let long_ago = json!({"id": "a@example.net", "created_at": "2020-01-01T00:00:00Z"});
        assert!(read_json(long_ago).unwrap().created_at.is_some());
    }

    #[test]
    fn a_faulty_line_is_refused_with_its_path() {
        for (given, path) in [
            (json!({}), "id"),
            (json!({"id": "nobody"}), "id"),
            (json!({"id": 5}), "id"),
            (json!({"address": ["a@example.net"]}), "address"),
            (json!({"id": "a@example.net", "address": "b@example.net"}), "address"),
            (json!({"id": "a@example.net", "reason": "tired"}), "reason"),
            (json!({"id": "a@example.net", "scope": "some"}), "scope"),
            (json!({"id": "a@example.net", "note": "a\nb"}), "note"),
            (json!({"id": "a@example.net", "expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
            (json!({"id": "a@example.net", "created_at": "2999-01-01T00:00:00Z"}), "created_at"),
            (json!({"id": "a@example.net", "until": "2999"}), "until"),
            (json!({"id": "a@example.net", "until": 1, "reason": "tired", "note": 5}), "note until reason"),
            (
                json!({"id": "a@example.net", "address": "b", "expires_at": "2020-01-01T00:00:00Z",
                    "created_at": "2999-01-01T00:00:00Z"}),
                "address expires_at created_at",
            ),
        ] {
            assert_eq!(read_json(given.clone()), Err(path.to_owned()), "{given}");
        }
    }
}
