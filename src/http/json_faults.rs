//! Names all that is wrong with a JSON body at once, where nobody gives a right one to go by.
//!
//! `body.rs` calls this once serde has refused a body: one that is right costs nothing. serde stops at the first fault, so
//! each is repaired with a value that serde takes, and the body is read again. Where no value is taken, the faults known by
//! then are all that are named. A body that is large is not read again, and what is read in all is bounded.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    error::FieldError,
    json_shape::{Steps, missing_field, plain},
};

/// How many faults of a body are named.
const MOST_FAULTS: usize = 32;
/// The longest body of which more than the first fault is named, in bytes.
const LONGEST_BODY: usize = 64 * 1024;
/// How many values are tried in one place.
const MOST_REPAIRS: usize = 16;
/// How many bytes are read again in all.
const MOST_READ: usize = 512 * 1024;

/// A fault, and what it takes to repair it.
struct Fault {
    path: Steps,
    /// What serde says.
    said: String,
    message: String,
}

/// All that keeps a text, which is JSON, from being a `T`, as far as one fault does not hide another.
pub(super) fn all<T: DeserializeOwned>(text: &str) -> Vec<FieldError> {
    let Some(mut fault) = first::<T>(text) else { return Vec::new() };
    let mut given = if text.len() <= LONGEST_BODY { serde_json::from_str::<Value>(text).ok() } else { None };
    let (mut faults, mut left) = (Vec::new(), MOST_READ);
    loop {
        faults.push(FieldError { path: fault.path.to_string(), message: fault.message.clone() });
        let repaired = given.as_mut().filter(|_| faults.len() < MOST_FAULTS);
        match repaired.and_then(|given| repair::<T>(given, &fault, &faults, &mut left)) {
            Some(Some(next)) => fault = next,
            _ => return faults,
        }
    }
}

/// Repairs a fault and returns the next one, if any is left; `None` when no value repairs it.
fn repair<T: DeserializeOwned>(
    given: &mut Value,
    fault: &Fault,
    named: &[FieldError],
    left: &mut usize,
) -> Option<Option<Fault>> {
    let place = fault.path.to_string();
    let is_new = |next: &Fault| {
        let path = next.path.to_string();
        let is_inside =
            path.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !is_inside && named.iter().all(|it| it.path != path)
    };
    let mut repairs = fault.repairs();
    let mut at = 0;
    while let Some(right) = repairs.get(at).cloned() {
        at += 1;
        let mut tried = given.clone();
        if !fault.path.repair(&mut tried, right.as_ref()) {
            return None;
        }
        let text = tried.to_string();
        *left = left.checked_sub(text.len())?;
        let next = first::<T>(&text);
        if next.as_ref().is_none_or(is_new) {
            *given = tried;
            return Some(next);
        }
        // Only a text is answered with the words that are allowed.
        if let Some(next) = next.filter(|next| at < MOST_REPAIRS && next.path.to_string() == place) {
            repairs.extend(next.words().map(Some));
        }
    }
    None
}

/// The fault at which serde stops.
fn first<T: DeserializeOwned>(text: &str) -> Option<Fault> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut deserializer).err()?;
    let path = Steps::of(error.path());
    let said = without_position(error.inner().to_string());
    Some(match missing_field(&said) {
        Some(field) => Fault { path: path.to(field), message: "is required".to_owned(), said },
        None => Fault { path, message: plain(&said), said },
    })
}

impl Fault {
    /// What may stand there: nothing, one of the words that serde expects, or a value of each kind.
    fn repairs(&self) -> Vec<Option<Value>> {
        if self.said.starts_with("unknown field") {
            return vec![None];
        }
        let others = [
            json!(null),
            json!("a"),
            json!(1),
            json!(true),
            json!({}),
            json!([]),
            json!("2026-01-01T00:00:00Z"),
            json!("a@example.com"),
            json!("https://example.com/"),
            json!("1"),
        ];
        self.words().chain(others).map(Some).collect()
    }

    /// The first of the words that are allowed, where serde names them.
    fn words(&self) -> impl Iterator<Item = Value> {
        let quoted = self.said.split_once("expected ").map(|(_, words)| words.split('`').skip(1).step_by(2));
        let listed = self.said.split_once(" is not one of ").map(|(_, words)| words.split(", "));
        quoted.into_iter().flatten().chain(listed.into_iter().flatten()).take(1).map(Value::from)
    }
}

fn without_position(said: String) -> String {
    match said.rfind(" at line ") {
        Some(position) => said[..position].to_owned(),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        mail::{Address, SuppressionReason, Timestamp},
        shop::Link,
    };

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Request {
        to: Address,
        word: SuppressionReason,
        count: Option<u32>,
        inner: Option<Inner>,
        user: Option<Box<RawValue>>,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Inner {
        at: Timestamp,
        link: Link,
    }

    #[test]
    fn every_fault_of_a_body_is_named_at_once() {
        for (given, expected) in [
            ("{\"to\": \"a@b.example\", \"word\": \"manual\"}", vec![]),
            ("{}", vec!["to", "word"]),
            (
                "{\"to\": \"nobody\", \"word\": \"three\", \"count\": -1, \"cc\": 1, \"bcc\": 2, \"user\": [1.50]}",
                vec!["to", "word", "count", "cc", "bcc"],
            ),
            (
                "{\"to\": 1, \"word\": 2, \"inner\": {\"link\": \"x\", \"at\": \"now\"}, \"list\": [{}, 5, {\"at\": 1}]}",
                vec!["to", "word", "inner.link", "inner.at", "list.0.at", "list.0.link", "list.1"],
            ),
            ("[]", vec![""]),
        ] {
            let faults = all::<Request>(given);
            let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert_eq!(paths, expected, "{given}: {faults:?}");
            assert!(faults.iter().all(|fault| !fault.message.contains("line")), "{faults:?}");
        }
    }

    #[test]
    fn a_body_that_is_large_or_faulty_all_over_is_soon_given_up() {
        let many = format!("{{{}\"to\":1}}", (0..3_000).map(|n| format!("\"f{n}\":1,")).collect::<String>());
        let named = all::<Request>(&many).len();
        assert!((2..=MOST_FAULTS).contains(&named), "{named}");
        let large = format!("{{\"to\":1,\"user\":\"{}\"}}", "x".repeat(LONGEST_BODY));
        assert_eq!(all::<Request>(&large).len(), 1);
    }
}
