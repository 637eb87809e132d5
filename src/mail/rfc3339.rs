//! Points in time as a caller must write them: RFC 3339 and nothing else.

use jiff::tz::TimeZone;

use super::{Timestamp, timestamp::parse_up_to_latest};

/// The longest time that is read, in bytes.
const LONGEST_TEXT: usize = 64;

impl Timestamp {
    /// Reads exactly what RFC 3339, section 5.6, allows. A leap second counts as the second before it, where there can be
    /// one: at the end of a month in UTC.
    pub fn parse_exactly(text: &str) -> Option<Self> {
        if text.len() > LONGEST_TEXT || !has_the_form(text.as_bytes()) {
            return None;
        }
        let time = parse_up_to_latest(text).ok()?;
        if &text[17..19] == "60" {
            let at = time.to_zoned(TimeZone::UTC);
            let is_last_second = (at.hour(), at.minute(), at.second()) == (23, 59, 59);
            if !is_last_second || at.date() != at.date().last_of_month() {
                return None;
            }
        }
        Some(Self(time.as_millisecond()))
    }
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
    // Whether there is such a minute is asked elsewhere too; there is no offset of a day.
    let is_offset = matches!(offset, b"Z" | b"z") || (fits(b"+00:00", offset) && offset[1..3] <= b"23"[..]);
    fits(b"0000-00-00T00:00:00", start) && fraction != Some(0) && is_offset
}

#[cfg(test)]
mod tests {
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
            ("2026-11-30T10:00:00+23:59", "2026-11-29T10:01:00Z"),
            ("2026-11-30T10:00:00-23:59", "2026-12-01T09:59:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2017-01-01T00:59:60+01:00", "2016-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::parse_exactly(text), Some(utc(expected)), "{text}");
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
            "2026-11-30T10:00:00+24:00",
            "2026-11-30T10:00:00+25:59",
            "2026-11-30T10:00:00-24:00",
            "2026-11-30T10:00:00+10:60",
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
            assert_eq!(Timestamp::parse_exactly(text), None, "{text}");
        }
        let long = format!("2026-11-21T10:00:00.{}Z", "0".repeat(10_000));
        assert_eq!(Timestamp::parse_exactly(&long), None);
    }
}
