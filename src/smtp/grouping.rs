//! Whether several commands may leave together (RFC 2920, section 3.1): the envelope of the next mail with a message, and the
//! three commands of an envelope.
//!
//! The next envelope may where the relay takes several commands at once and answers messages quickly; otherwise the next mail
//! had better take another connection. A relay that then gets out of step or falls silent is left alone with groups for a
//! while, although it says that it knows PIPELINING: some lose what comes right behind a message, and some, or a firewall in
//! front of them, read one command and lose the rest.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long a relay that loses what comes behind a message, or behind MAIL, gets nothing there.
const PIPELINING_COOLDOWN: Duration = Duration::from_secs(600);

/// What a relay has shown so far.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    /// As its last answers did: it takes several commands at once, and answered a message quickly.
    is_fit: AtomicBool,
    behind_messages: Pause,
    behind_mail: Pause,
}

#[derive(Debug, Default)]
struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// Returns whether that is news.
    fn begin(&self, now: Instant) -> bool {
        let before = self.lock().replace(now + PIPELINING_COOLDOWN);
        before.is_none_or(|until| until <= now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.lock().is_none_or(|until| until <= now)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grouping {
    /// Notes what the last mail showed.
    pub(super) fn note(&self, is_fit: bool) {
        self.is_fit.store(is_fit, Ordering::Relaxed);
    }

    /// Notes that the relay lost what came behind a message. Returns whether that is news.
    pub(super) fn failed(&self, now: Instant) -> bool {
        self.behind_messages.begin(now)
    }

    /// Whether the next mail may go along.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.is_fit.load(Ordering::Relaxed) && self.behind_messages.is_over(now)
    }

    /// Notes that the relay lost what came behind MAIL. Returns whether that is news.
    pub(super) fn envelope_failed(&self, now: Instant) -> bool {
        self.behind_mail.begin(now)
    }

    /// Whether the commands of an envelope may leave together.
    pub(super) fn takes_envelopes(&self, now: Instant) -> bool {
        self.behind_mail.is_over(now)
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
        assert!(grouping.failed(now) && !grouping.failed(now + PIPELINING_COOLDOWN / 2));
        grouping.note(true);
        assert!(!grouping.is_on(now + PIPELINING_COOLDOWN) && grouping.is_on(now + 2 * PIPELINING_COOLDOWN));
        assert!(grouping.failed(now + 2 * PIPELINING_COOLDOWN));
    }

    #[test]
    fn a_relay_that_loses_what_follows_mail_gets_one_command_at_a_time_for_a_while() {
        let (grouping, now) = (Grouping::default(), Instant::now());
        assert!(grouping.takes_envelopes(now));
        assert!(grouping.envelope_failed(now) && !grouping.envelope_failed(now + PIPELINING_COOLDOWN / 2));
        assert!(
            !grouping.takes_envelopes(now + PIPELINING_COOLDOWN)
                && grouping.takes_envelopes(now + 2 * PIPELINING_COOLDOWN)
        );
    }
}
