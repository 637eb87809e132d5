//! Times as people write and read them.

use std::time::Duration;

use crate::{
    clock,
    mail::{Timestamp, duration},
};

/// Reads a duration of the command line, as in `2h`.
///
/// # Errors
/// What is allowed.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "must be a number and one of ms, s, m, h, d, as in 2h".to_owned())
}

/// Reads a time: RFC 3339, or a duration before now.
///
/// # Errors
/// What is allowed.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let ago = duration::parse(text);
    ago.map(|ago| clock::now() - ago)
        .ok_or_else(|| "must be a time as in 2026-01-31T12:00:00Z, or how long ago as in 2h".to_owned())
}

/// A length of time in its two largest units.
pub(super) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// How long ago something was.
pub(super) fn age(at: Timestamp) -> String {
    length(clock::now().since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_its_two_largest_units() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_660, "1h 1m"), (90_000, "1d 1h")]
        {
            assert_eq!(length(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_time_is_read_as_it_is_or_as_how_long_ago() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
        let hour_ago = parse_time("1h").unwrap();
        assert!(clock::now().since(hour_ago) >= Duration::from_secs(3_600));
        assert!(parse_time("yesterday-ish").is_err() && parse_duration("soon").is_err());
    }
}
