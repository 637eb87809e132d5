//! A failure that repeats is told once, and then each minute with how often it came: a log that a relay, Redis or a
//! database fills while it is away hides everything else.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines about the same outage. A failure after a longer silence is a new outage.
const EACH: Duration = Duration::from_secs(60);
/// The most outages that are told apart; then all are forgotten, and each is told as new.
const MOST: usize = 1_000;

/// Something that fails again and again.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Logged>>);

#[derive(Clone, Copy, Debug)]
struct Logged {
    at: Instant,
    last: Instant,
    untold: u64,
}

impl Outage {
    /// Nothing has failed yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Notes a failure. Returns how many came since the last line, this one among them, when it is time for one.
    pub fn failed(&self) -> Option<u64> {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }
}

/// Several of them, told apart by a name that is bounded in its length.
#[derive(Debug, Default)]
pub struct Outages(Mutex<HashMap<String, Option<Logged>>>);

impl Outages {
    /// The same as [`Outage::failed`] for one of them.
    pub fn failed(&self, name: &str) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(name) {
            known.clear();
        }
        note(known.entry(name.to_owned()).or_default(), Instant::now())
    }

    /// Notes that it works, so that the next failure is a new outage.
    pub fn works(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_empty() {
            known.remove(name);
        }
    }
}

fn note(told: &mut Option<Logged>, now: Instant) -> Option<u64> {
    match told {
        Some(known) if now.duration_since(known.last) < EACH => {
            known.last = now;
            known.untold += 1;
            if now.duration_since(known.at) < EACH {
                return None;
            }
            known.at = now;
            Some(std::mem::take(&mut known.untold))
        }
        _ => {
            *told = Some(Logged { at: now, last: now, untold: 0 });
            Some(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_then_each_minute_with_a_count_and_as_new_after_a_silence() {
        let start = Instant::now();
        let (mut told, mut lines) = (None, Vec::new());
        for second in (0..150).chain([400, 401]) {
            if let Some(count) = note(&mut told, start + Duration::from_secs(second)) {
                lines.push((second, count));
            }
        }
        assert_eq!(lines, [(0, 1), (60, 60), (120, 60), (400, 1)]);
    }

    #[test]
    fn outages_are_told_apart_and_bounded() {
        let outages = Outages::default();
        assert_eq!((outages.failed("a"), outages.failed("a"), outages.failed("b")), (Some(1), None, Some(1)));
        outages.works("a");
        assert_eq!((outages.failed("a"), outages.failed("b")), (Some(1), None));
        for other in 0..2 * MOST {
            outages.failed(&other.to_string());
        }
        assert!(outages.0.lock().unwrap().len() <= MOST);
    }
}
