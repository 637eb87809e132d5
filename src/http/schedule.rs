//! `send_at` and `expires_at`, as requests of any family give them: RFC 3339 with an offset, each fault named by its field.

use serde_json::Value;

use super::error::{FieldError, fault};
use crate::{
    clock,
    mail::{Schedule, ScheduleError, Timestamp},
};

const SEND_AT: &str = "send_at";
const EXPIRES_AT: &str = "expires_at";

/// Reads the two fields of a body; a field that is null is not given.
pub(super) fn read(
    send_at: Option<Value>,
    expires_at: Option<Value>,
    faults: &mut Vec<FieldError>,
) -> Schedule {
    let before = faults.len();
    let send_at = time(SEND_AT, send_at, faults);
    let expires_at = time(EXPIRES_AT, expires_at, faults);
    if faults.len() > before {
        return Schedule::default();
    }
    match Schedule::new(send_at, expires_at, clock::now()) {
        Ok(schedule) => schedule,
        Err(why) => {
            let field = match why {
                ScheduleError::TooFarAhead => SEND_AT,
                ScheduleError::ExpiresFirst => EXPIRES_AT,
            };
            faults.push(fault(field, &format!("The {field} field {why}.")));
            Schedule::default()
        }
    }
}

fn time(field: &str, given: Option<Value>, faults: &mut Vec<FieldError>) -> Option<Timestamp> {
    let text = match given? {
        Value::Null => return None,
        Value::String(text) => text,
        _ => {
            faults.push(fault(field, &format!("The {field} field must be a string.")));
            return None;
        }
    };
    let time = Timestamp::parse_exactly(&text);
    if time.is_none() {
        let shape = "must be a date and time with an offset (RFC 3339), as in 2026-11-21T10:00:00+01:00";
        faults.push(fault(field, &format!("The {field} field {shape}.")));
    }
    time
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn each_fault_names_its_field() {
        let at = |days: i64| json!(Timestamp(clock::now().millis() + days * 86_400_000));
        let paths = |send_at: Value, expires_at: Value| {
            let mut faults = Vec::new();
            read(Some(send_at), Some(expires_at), &mut faults);
            faults.into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(paths(Value::Null, Value::Null), none);
        assert_eq!(paths(at(1), at(2)), none);
        assert_eq!(paths(json!(5), json!([])), ["send_at", "expires_at"]);
        assert_eq!(paths(json!("soon"), at(2)), ["send_at"]);
        assert_eq!(paths(at(31), at(40)), ["send_at"]);
        let never = json!("9999-12-31T23:59:59Z");
        assert_eq!(paths(at(1), never.clone()), none);
        assert_eq!(paths(json!("2026-11-30T10:00:00+24:00"), never.clone()), ["send_at"]);
        let mut faults = Vec::new();
        read(Some(never), None, &mut faults);
        assert_eq!(faults, [fault("send_at", "The send_at field must be at most 30 days ahead.")]);
        assert_eq!(paths(at(2), at(1)), ["expires_at"]);
        let mut faults = Vec::new();
        let soon = clock::now() + Duration::from_secs(60);
        let schedule = read(Some(json!(soon)), None, &mut faults);
        assert_eq!(schedule, Schedule { send_at: Some(soon), expires_at: None });
    }
}
