//! Durations as people write them: `"250ms"`, `"15s"`, `"5m"`, `"2h"`, `"7d"`, `"1h 30m"`.

use std::time::Duration;

use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};
use serde::{Deserialize, Deserializer};

/// Reads numbers with a unit each, of ms, s, m, h and d. A day has 24 hours.
///
/// What is longer than a day has no fixed length and what is shorter than a millisecond is not kept, so neither is
/// read, nor is a time in the past.
pub fn parse(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    let is_too_long = span.get_years() != 0 || span.get_months() != 0 || span.get_weeks() != 0;
    let is_too_short = span.get_microseconds() != 0 || span.get_nanoseconds() != 0;
    if is_too_long || is_too_short {
        return None;
    }
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

/// For `#[serde(with = …)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        serde::de::Error::custom("a duration is a number and one of ms, s, m, h, d, as in \"15s\"")
    })
}

/// The same for one that may be missing.
pub mod option {
    use std::time::Duration;

    use serde::Deserializer;

    /// For `#[serde(default, with = …)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

/// The same for a list.
pub mod list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    /// For `#[serde(with = …)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct One(#[serde(with = "super")] Duration);
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(duration)| duration).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_to_the_millisecond_and_a_day_has_24_hours() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("15s", 15_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("2d", 172_800_000),
            ("365d", 31_536_000_000),
            ("100000s", 100_000_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_unit_a_fixed_length_or_a_future_is_no_duration() {
        for text in [
            "",
            " ",
            "15",
            "s",
            "15x",
            "1w",
            "1mo",
            "1y",
            "-5s",
            "5s ago",
            "10us",
            "10ns",
            "0.5ms",
            "PT5M",
            "1h-5m",
            "99999999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
