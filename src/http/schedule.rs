//! `send_at` and `expires_at`, as requests of any family give them: RFC 3339 with an offset, each fault named by its field.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::error::{FieldError, fault};
use crate::{
    clock,
    mail::{Schedule, ScheduleError, Timestamp},
};

const SEND_AT: &str = "send_at";
const EXPIRES_AT: &str = "expires_at";

/// The longest time that is read, in bytes.
const LONGEST: usize = 64;

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
    let time = parse(&text);
    if time.is_none() {
        let shape = "must be a date and time with an offset (RFC 3339), as in 2026-11-21T10:00:00+01:00";
        faults.push(fault(field, &format!("The {field} field {shape}.")));
    }
    time
}

/// Reads exactly what RFC 3339, section 5.6, allows. A leap second counts as the second before it, where there can be
/// one: at the end of a month in UTC.
fn parse(text: &str) -> Option<Timestamp> {
    if text.len() > LONGEST || !has_the_form(text.as_bytes()) {
        return None;
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    if &text[17..19] == "60" {
        let at = time.to_zoned(TimeZone::UTC);
        let is_last_second = (at.hour(), at.minute(), at.second()) == (23, 59, 59);
        if !is_last_second || at.date() != at.date().last_of_month() {
            return None;
        }
    }
    Some(Timestamp(time.as_millisecond()))
}

/// Whether it is `date-time` by its characters; whether there is such a day and hour is asked elsewhere.
fn has_the_form(text: &[u8]) -> bool {
    let fits = |form: &[u8], text: &[u8]| {
        form.len() == text.len()
            && form.iter().zip(text).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                b'+' => matches!(byte, b'+' | b'-'),
                form => form == byte,
            })
    };
    let Some((start, rest)) = text.split_at_checked(19) else { return false };
    let (fraction, offset) = match rest.split_first() {
        Some((b'.', rest)) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (Some(digits), &rest[digits..])
        }
        _ => (None, rest),
    };
    let is_offset = matches!(offset, b"Z" | b"z") || fits(b"+00:00", offset);
    fits(b"0000-00-00T00:00:00", start) && fraction != Some(0) && is_offset
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_what_rfc_3339_says_and_nothing_else() {
        let utc = |text| Timestamp::parse(text).unwrap();
        for (text, expected) in [
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21t10:00:00z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00.5+02:00", "2026-11-21T08:00:00.5Z"),
            ("2026-11-21T10:00:00.123456789-05:30", "2026-11-21T15:30:00.123Z"),
            ("2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2017-01-01T00:59:60+01:00", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse(text), Some(utc(expected)), "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "1795248000",
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00Z",
            "2026-11-21T10:00Z",
            "2026-11-21T10:00:00+0100",
            "2026-11-21T10:00:00+01",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00:00Z[Europe/Berlin]",
            "2026-11-21T10:00:00+01:00[Europe/Berlin]",
            "2026-02-30T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:60:00Z",
            "2026-11-21T10:00:61Z",
            "2026-11-21T10:00:60Z",
            "2016-12-30T23:59:60Z",
            "+002026-11-21T10:00:00Z",
            " 2026-11-21T10:00:00Z",
            "２026-11-21T10:00:00Z",
            "2026-11-21T10:00:00Zé",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let long = format!("2026-11-21T10:00:00.{}Z", "0".repeat(10_000));
        assert_eq!(parse(&long), None);
    }

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
        assert_eq!(paths(at(2), at(1)), ["expires_at"]);
        let mut faults = Vec::new();
        let soon = clock::now() + Duration::from_secs(60);
        let schedule = read(Some(json!(soon)), None, &mut faults);
        assert_eq!(schedule, Schedule { send_at: Some(soon), expires_at: None });
    }
}
