//! How waits grow from try to try, and how they are spread. Pure.

use std::time::Duration;

/// A wait doubles at most so often: the first second becomes twelve days.
const MOST_DOUBLINGS: u32 = 20;

/// The first wait after it doubled so many times, and never more than the longest.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(MOST_DOUBLINGS)).min(longest)
}

/// A wait near the nominal one, so that what was put off together does not return together. `jitter` is in `0.0..1.0`: the
/// wait is that share between 80 % and 120 % of the nominal one.
pub fn jittered(nominal: Duration, jitter: f64) -> Duration {
    nominal.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds = Duration::from_secs;
        for (first, times, longest, wait) in [
            (seconds(2), 0, seconds(600), seconds(2)),
            (seconds(2), 1, seconds(600), seconds(4)),
            (seconds(2), 8, seconds(600), seconds(512)),
            (seconds(2), 9, seconds(600), seconds(600)),
            (seconds(2), u32::MAX, seconds(600), seconds(600)),
            (seconds(700), 0, seconds(600), seconds(600)),
            (Duration::ZERO, 5, seconds(600), Duration::ZERO),
            (seconds(1), 40, Duration::MAX, seconds(1 << 20)),
            (Duration::MAX, 1, Duration::MAX, Duration::MAX),
        ] {
            assert_eq!(doubled(first, times, longest), wait, "{first:?} {times}");
        }
    }

    #[test]
    fn waits_are_spread_around_the_nominal_one() {
        for (jitter, millis) in [(-1.0, 800), (0.0, 800), (0.5, 1_000), (1.0, 1_200), (7.0, 1_200)] {
            assert_eq!(jittered(Duration::from_secs(1), jitter).as_millis(), millis, "{jitter}");
        }
    }
}
