//! What is wrong with a query, by its parameter and in words for people.

use axum::extract::rejection::QueryRejection;
use serde::de::value::Error as ValueError;

use super::error::{FieldError, Refusal, fault};

/// The most characters of a parameter's name that are shown.
const LONGEST_NAME: usize = 255;

/// Why a query cannot be read.
pub(super) fn refusal(rejection: &QueryRejection) -> Refusal {
    let found = cause(rejection).map_or_else(
        || fault("query", &rejection.body_text()),
        |error| fault_of(&error.path().to_string(), &error.inner().to_string()),
    );
    Refusal::invalid(vec![found])
}

fn cause(rejection: &QueryRejection) -> Option<&serde_path_to_error::Error<ValueError>> {
    let mut next = std::error::Error::source(rejection);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The fault that serde found at this parameter. Where the parameter itself is the fault, only the message names it.
fn fault_of(parameter: &str, said: &str) -> FieldError {
    if let Some((name, allowed)) = word_and_allowed(said, "unknown field `") {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        return fault(&name, &format!("is unknown; expected {allowed}"));
    }
    let named = |start: &str| said.strip_prefix(start)?.strip_suffix('`');
    if let Some(name) = named("duplicate field `") {
        return fault(name, "must not be given twice");
    }
    match named("missing field `") {
        Some(name) => fault(name, "is required"),
        None => fault(parameter, &plain(said)),
    }
}

/// The word that serde does not know, which may be any text, and the words that it does.
fn word_and_allowed<'a>(said: &'a str, start: &str) -> Option<(&'a str, String)> {
    let (word, allowed) = said.strip_prefix(start)?.rsplit_once("`, expected ")?;
    Some((word, allowed.replace('`', "")))
}

/// What is said of a value, without the words of Rust.
fn plain(said: &str) -> String {
    if let Some((_, allowed)) = word_and_allowed(said, "unknown variant `") {
        return format!("must be {allowed}");
    }
    match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number, 0 or more"
        }
        "number too large to fit in target type" => "is too large a number",
        "provided string was not `true` or `false`" => "must be true or false",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use serde::Deserialize;

    use super::*;
    use crate::mail::{SuppressionReason, SuppressionScope};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Strict {
        limit: Option<u32>,
        reason: Option<SuppressionReason>,
        scope: Option<SuppressionScope>,
        #[serde(default)]
        oldest_first: bool,
        brand_id: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Short {
        language: Option<String>,
    }

    fn fault_in<T: serde::de::DeserializeOwned>(query: &str) -> Option<String> {
        let uri = format!("/?{query}").parse().unwrap();
        let refusal = Query::<T>::try_from_uri(&uri).err().map(|rejection| refusal(&rejection))?;
        let [FieldError { path, message }] = &refusal.errors[..] else { panic!("{refusal:?}") };
        Some(format!("{path}: {message}"))
    }

    #[test]
    fn a_fault_names_its_parameter_in_plain_words() {
        let number = "limit: must be a whole number, 0 or more";
        for (query, expected) in [
            ("limit=abc", number),
            ("limit=-1", number),
            ("limit=", number),
            ("limit=1.5", number),
            ("limit=99999999999", "limit: is too large a number"),
            ("oldest_first=x", "oldest_first: must be true or false"),
            ("scope=foo", "scope: must be all or promotional"),
            ("brand_id=a&brand_id=b", "brand_id: must not be given twice"),
            ("brand_id=a&limit=1&limit=2", "limit: must not be given twice"),
            ("limit=1", "brand_id: is required"),
            (
                "brand_id=a&colour=red",
                "colour: is unknown; expected one of limit, reason, scope, oldest_first, brand_id",
            ),
            (
                "%60,+expected+=1",
                "`, expected : is unknown; expected one of limit, reason, scope, oldest_first, brand_id",
            ),
        ] {
            assert_eq!(fault_in::<Strict>(query).as_deref(), Some(expected), "{query}");
        }
        let reason = fault_in::<Strict>("reason=%60,+expected+x").unwrap();
        assert!(reason.starts_with("reason: must be one of ") && !reason.contains('`'), "{reason}");
        assert_eq!(fault_in::<Short>("colour=red").unwrap(), "colour: is unknown; expected language");
        assert_eq!(fault_in::<Strict>("brand_id=a&limit=5&oldest_first=true&scope=all"), None);
    }
}
