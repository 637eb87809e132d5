//! Points in time: milliseconds since the Unix epoch in SQL, RFC 3339 UTC with milliseconds everywhere else.

use std::{fmt, time::Duration};

use jiff::fmt::temporal::Pieces;
use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The whole milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The time elapsed since `earlier`, or zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339 with any offset. What is later than the latest time that can be held, as 9999-12-31T23:59:59Z,
    /// which many write for "never", is that latest time.
    ///
    /// # Errors
    /// When the text is not an RFC 3339 date and time.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        parse_up_to_latest(text).map(|parsed| Self(parsed.as_millisecond()))
    }

    /// Parses the date of an HTTP header (RFC 9110, section 5.6.7).
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(Self(parsed.timestamp().as_millisecond()))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The date of a mail's `Date` header (RFC 5322, section 3.3), in UTC.
    pub fn to_rfc5322(self) -> String {
        jiff::fmt::rfc2822::to_string(&self.to_jiff().to_zoned(jiff::tz::TimeZone::UTC))
            .unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned())
    }
}

/// Parses a time; one beyond the latest is the latest.
pub(super) fn parse_up_to_latest(text: &str) -> Result<jiff::Timestamp, jiff::Error> {
    text.parse().or_else(|error| if is_after_latest(text) { Ok(jiff::Timestamp::MAX) } else { Err(error) })
}

/// Whether a text that was not parsed is a date and time all the same, of the last days of the year 9999. The latest time is
/// 9999-12-30T22:00:00.999999999Z: it is in the year 9999 at every offset.
fn is_after_latest(text: &str) -> bool {
    Pieces::parse(text).is_ok_and(|pieces| {
        let is_whole = pieces.time().is_some() && pieces.to_numeric_offset().is_some();
        is_whole && pieces.date() >= jiff::civil::date(9999, 12, 30)
    })
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| serde::de::Error::custom("must be a date and time in RFC 3339"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_in_utc_with_milliseconds() {
        let time = Timestamp::parse("2026-11-21T10:00:00.5+02:00").unwrap();
        assert_eq!(time.to_string(), "2026-11-21T08:00:00.500Z");
        assert_eq!(time.to_rfc5322(), "Sat, 21 Nov 2026 08:00:00 +0000");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_that_means_never_is_the_latest_that_can_be_held() {
        let latest = "9999-12-30T22:00:00.999Z";
        let never = Timestamp::parse(latest).unwrap();
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T00:00:00Z",
            "9999-12-30T23:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap(), never, "{text}");
            assert_eq!(Timestamp::parse_exactly(text), Some(never), "{text}");
            assert_eq!(serde_json::from_value::<Timestamp>(text.into()).unwrap(), never, "{text}");
        }
        assert!(Timestamp::parse("9999-12-30T21:59:59Z").unwrap() < never);
        assert_eq!(
            Timestamp::parse("9999-12-31T10:00:00+14:00").unwrap().to_string(),
            "9999-12-30T20:00:00.000Z"
        );
        for text in
            ["9999-12-32T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59", "9999-12-31T24:00:00Z", "never"]
        {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
        let day = Duration::from_secs(86_400);
        for time in [never, never + day, never + Duration::MAX, Timestamp(i64::MAX)] {
            assert_eq!(
                (time.to_string().as_str(), time.to_rfc5322().as_str()),
                (latest, "Thu, 30 Dec 9999 22:00:00 +0000")
            );
            assert!(time.since(Timestamp(0)) > day && Timestamp(0).since(time) == Duration::ZERO);
            assert!(time - day < time);
        }
    }
}
