//! Fields of a body that may be of any type: each is read by its path, so that every fault is named at once.

use serde_json::{Map, Value, value::RawValue};

use super::error::{FieldError, Refusal, fault};

/// The longest identifier of anything, in characters.
pub(super) const LONGEST_IDENTIFIER: usize = 255;
pub(super) fn text(path: &str, given: Option<Value>, faults: &mut Vec<FieldError>) -> String {
    match given {
        Some(Value::String(text)) if text.chars().nth(LONGEST_IDENTIFIER).is_some() => {
            let message =
                format!("The {path} field must not have more than {LONGEST_IDENTIFIER} characters.");
            faults.push(fault(path, &message));
        }
        Some(Value::String(text)) if !text.is_empty() => return text,
        None | Some(Value::Null | Value::String(_)) => {
            faults.push(fault(path, &format!("The {path} field is required.")));
        }
        Some(_) => faults.push(fault(path, &format!("The {path} field must be a string."))),
    }
    String::new()
}

pub(super) fn optional_text(
    path: &str,
    given: Option<Value>,
    longest: usize,
    faults: &mut Vec<FieldError>,
) -> Option<String> {
    match given? {
        Value::Null => None,
        Value::String(text) if text.chars().nth(longest).is_some() => {
            let message = format!("The {path} field must not have more than {longest} characters.");
            faults.push(fault(path, &message));
            None
        }
        Value::String(text) => Some(text),
        _ => {
            faults.push(fault(path, &format!("The {path} field must be a string.")));
            None
        }
    }
}

/// Reads a user object, once it is known to be of a size that may become values.
pub(super) fn read_user(user: &RawValue, max_user: usize) -> Result<Map<String, Value>, String> {
    if !user.get().starts_with('{') {
        return Err("The user field must be an object.".to_owned());
    }
    if user.get().len() > max_user {
        return Err(format!("The user field may be at most {max_user} bytes."));
    }
    serde_json::from_str(user.get()).map_err(|_| "The user field cannot be read.".to_owned())
}

pub(super) fn required(path: &str) -> Refusal {
    Refusal::field(path, format!("The {path} field is required."))
}

pub(super) fn selected(path: &str) -> Refusal {
    Refusal::field(path, format!("The selected {path} is invalid."))
}
