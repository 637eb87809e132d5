//! Whether the envelope of the next mail may leave together with a message (RFC 2920, section 3.1).
//!
//! It may where the relay takes several commands at once and answers messages quickly; otherwise the next mail had better
//! take another connection. A relay that then gets out of step or falls silent is left alone with groups for a while,
//! although it says that it knows PIPELINING: some lose what comes right behind a message.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long a relay that loses what comes behind a message gets nothing there.
const PAUSE: Duration = Duration::from_secs(600);

/// What a relay has shown so far.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    /// As its last answers did: it takes several commands at once, and answered a message quickly.
    is_fit: AtomicBool,
    paused_until: Mutex<Option<Instant>>,
}

impl Grouping {
    /// Notes what the last mail showed.
    pub(super) fn note(&self, is_fit: bool) {
        self.is_fit.store(is_fit, Ordering::Relaxed);
    }

    /// Notes that the relay lost what came behind a message. Returns whether that is news.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let before = self.lock().replace(now + PAUSE);
        before.is_none_or(|until| until <= now)
    }

    /// Whether the next mail may go along.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.is_fit.load(Ordering::Relaxed) && self.lock().is_none_or(|until| until <= now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_loses_what_follows_a_message_gets_nothing_there_for_a_while() {
        let (grouping, now) = (Grouping::default(), Instant::now());
        assert!(!grouping.is_on(now), "nobody knows the relay yet");
        grouping.note(true);
        assert!(grouping.is_on(now));
        assert!(grouping.failed(now) && !grouping.failed(now + PAUSE / 2));
        grouping.note(true);
        assert!(!grouping.is_on(now + PAUSE) && grouping.is_on(now + 2 * PAUSE));
        assert!(grouping.failed(now + 2 * PAUSE));
    }
}
