//! A rate as people write it: `"50/s"`, `"1000/m"`, `"3000/h burst 100"`. Read from the configuration and from the rows of
//! merchants; counted in whole microseconds, rounded to the slower side.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer};

/// The fastest rate, in a second: one each microsecond.
const FASTEST: u64 = 1_000_000;
/// The longest that a burst takes to fill up again.
const LONGEST_BURST: Duration = Duration::from_secs(100 * 86_400);
/// A burst is what comes in this time, unless a rate says otherwise: a window of one second sees at most a twentieth more
/// than the rate.
const BURST: Duration = Duration::from_millis(50);

/// How many in a while, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
    burst: Option<NonZeroU32>,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is no count and unit at all.
    #[error("`{0}` is not a rate; {ALLOWED}")]
    Shape(String),
    /// The count is no whole number over 0.
    #[error("`{0}` is not a count; {ALLOWED}")]
    Count(String),
    /// The unit is none of ours.
    #[error("`{0}` is not a unit of time; {ALLOWED}")]
    Unit(String),
    /// More than can be counted.
    #[error("`{0}` is too fast: at most 1000000/s can be counted")]
    Fast(String),
    /// The burst is no whole number over 0.
    #[error("`{0}` is not a burst; {ALLOWED}")]
    Burst(String),
    /// The burst is more than the rate gives in a long time.
    #[error("`{0}` is too much for a burst: it must be at most what the rate allows in 100 days")]
    Large(String),
}

const ALLOWED: &str = "a rate is a whole number of at least 1 and one of /s, /m, /h, /d, and may name its burst, as in \"50/s\" or \"3000/h burst 100\"";

impl Rate {
    /// From one to the next, in microseconds, rounded up: the sum is never more than the rate says.
    pub(super) fn each_micros(self) -> u64 {
        let per = self.unit.duration().as_secs() * 1_000_000;
        per.div_ceil(u64::from(self.count.get()))
    }

    /// From one to the next.
    pub fn each(self) -> Duration {
        Duration::from_micros(self.each_micros())
    }

    /// How many may go at once, after none went for a while: what the rate says, else what comes in 50 ms.
    pub fn burst(self) -> u32 {
        self.burst_within(BURST).get()
    }

    /// How long a spent burst takes to fill up again.
    pub fn span(self) -> Duration {
        self.each() * self.burst()
    }

    /// The count, and the time in which it may be used up.
    pub fn quota(self) -> (u32, Duration) {
        (self.count.get(), self.unit.duration())
    }

    /// The burst, or else what comes in `time`, at least one.
    pub(super) fn burst_within(self, time: Duration) -> NonZeroU32 {
        self.burst.unwrap_or_else(|| {
            let comes = time.as_micros() / u128::from(self.each_micros());
            u32::try_from(comes).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
        })
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (text, burst) = match text.split_once("burst") {
            Some((rate, burst)) if rate.ends_with(char::is_whitespace) => (rate.trim(), Some(burst.trim())),
            _ => (text.trim(), None),
        };
        let (count, unit) = text.split_once('/').ok_or_else(|| RateError::Shape(shortened(text)))?;
        let unit = match unit.trim() {
            "s" => Unit::Second,
            "m" | "min" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            other => return Err(RateError::Unit(shortened(other))),
        };
        let count = whole(count).map_err(|error| match error {
            Whole::Large => RateError::Fast(shortened(text)),
            Whole::Not => RateError::Count(shortened(count.trim())),
        })?;
        if u64::from(count.get()) > FASTEST * unit.duration().as_secs() {
            return Err(RateError::Fast(shortened(text)));
        }
        let Some(burst) = burst else { return Ok(Self { count, unit, burst: None }) };
        let large = || RateError::Large(shortened(burst));
        let own = whole(burst).map_err(|error| match error {
            Whole::Large => large(),
            Whole::Not => RateError::Burst(shortened(burst)),
        })?;
        let rate = Self { count, unit, burst: Some(own) };
        let span = rate.each().checked_mul(own.get());
        if span.is_none_or(|span| span > LONGEST_BURST) { Err(large()) } else { Ok(rate) }
    }
}

enum Whole {
    Not,
    Large,
}

/// Reads a whole number over 0.
fn whole(text: &str) -> Result<NonZeroU32, Whole> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Whole::Not);
    }
    let number: u32 = text.parse().map_err(|_| Whole::Large)?;
    NonZeroU32::new(number).ok_or(Whole::Not)
}

/// As much of a text as an error repeats.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Unit {
    const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.as_str())?;
        self.burst.map_or(Ok(()), |burst| write!(f, " burst {burst}"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        for text in ["50/s", "1000/m", "3000/h burst 100", "10000/d", "1000000/s", "1/d burst 100"] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert_eq!(rate(" 7 / min  burst  3 ").to_string(), "7/m burst 3");
    }

    #[test]
    fn a_text_that_is_no_rate_is_refused_with_what_is_wrong_and_what_is_allowed() {
        for (text, wrong) in [
            ("fast", "`fast` is not a rate; a rate is a whole number"),
            ("", "`` is not a rate"),
            ("50", "`50` is not a rate"),
            ("0/s", "`0` is not a count; a rate is a whole number of at least 1"),
            ("-1/s", "`-1` is not a count"),
            ("-1", "`-1` is not a rate"),
            ("+1/s", "`+1` is not a count"),
            ("1e30/s", "`1e30` is not a count"),
            ("1e30", "`1e30` is not a rate"),
            ("0.5/s", "`0.5` is not a count"),
            ("NaN/s", "`NaN` is not a count"),
            ("/s", "`` is not a count"),
            ("5/", "`` is not a unit of time"),
            (
                "5/fortnight",
                "`fortnight` is not a unit of time; a rate is a whole number of at least 1 and one of /s, /m, /h, /d",
            ),
            ("5/s/s", "`s/s` is not a unit"),
            ("1000001/s", "`1000001/s` is too fast: at most 1000000/s"),
            ("99999999999999999999/d", "is too fast"),
            ("5/s burst", "`` is not a burst"),
            ("5/s burst 0", "`0` is not a burst"),
            ("5/s burst -3", "`-3` is not a burst"),
            ("5/sburst 3", "`sburst 3` is not a unit"),
            ("5/s burst 99999999999", "`99999999999` is too much for a burst"),
            (
                "1/d burst 101",
                "`101` is too much for a burst: it must be at most what the rate allows in 100 days",
            ),
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.starts_with(wrong) || error.contains(wrong), "{text}: {error}");
        }
        let long = "x".repeat(1_000_000).parse::<Rate>().unwrap_err().to_string();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_rate_is_never_counted_faster_than_it_says() {
        for (text, each, burst) in [
            ("7/s", 142_858, 1),
            ("200/s", 5_000, 10),
            ("3000/h", 1_200_000, 1),
            ("10/d", 8_640_000_000, 1),
            ("3000/h burst 100", 1_200_000, 100),
            ("30000/s", 34, 1_470),
            ("1000000/s", 1, 50_000),
        ] {
            assert_eq!((rate(text).each_micros(), rate(text).burst()), (each, burst), "{text}");
        }
    }
}
