//! Keeps mails from queueing up at a relay that is away: after a failure to open a connection one mail at a time may try
//! again, and each failure doubles the pause before the next try. Connections that are open go on meanwhile.
//!
//! A relay that refuses us (no sign-in, no relaying, a quota used up) stops the whole route, open connections too: one mail
//! at a time tries again after a pause that doubles, until the relay answers one of them as a mail.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::attempt_error::AttemptError;
use crate::{
    clock,
    mail::{Phase, Timestamp, backoff::doubled},
};

/// Whether a route may open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BreakerState {
    /// Yes.
    Closed,
    /// Not before this time.
    Open {
        /// When one mail may try.
        until: Timestamp,
    },
    /// One mail is trying, or may try now.
    HalfOpen,
}

/// The last time that a route could not open a connection, or its relay refused us.
#[derive(Clone, Debug, Serialize)]
pub struct RouteFault {
    /// When.
    pub at: Timestamp,
    /// How far it came.
    pub phase: Phase,
    /// What happened, without the relay's own words: those may hold our credentials.
    pub text: String,
}

impl RouteFault {
    fn of(error: &AttemptError) -> Self {
        Self { at: clock::now(), phase: error.phase, text: error.text() }
    }
}

#[derive(Debug)]
pub(super) struct Breaker {
    first_pause: Duration,
    longest_pause: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    away: Option<Away>,
    stop: Option<Stop>,
    last_fault: Option<RouteFault>,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    until: Instant,
    failures: u32,
    is_being_tried: bool,
}

/// The relay refuses us.
#[derive(Clone, Debug)]
struct Stop {
    until: Instant,
    times: u32,
    is_being_tried: bool,
    fault: RouteFault,
}

/// Whether a mail may be sent over the route as far as stops go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopTrial {
    /// The route is not stopped.
    NotStopped,
    /// The route is stopped.
    NotNow,
    /// The mail tries whether the relay still refuses us. Its end must be [told](Breaker::trial_ended).
    One,
}

/// The pauses of a route whose relay refuses us.
const FIRST_STOP: Duration = Duration::from_secs(2);
const LONGEST_STOP: Duration = Duration::from_secs(600);

/// Leave to open a connection. Dropped without a word, it lets the next mail try.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
}

impl Breaker {
    pub(super) fn new(first_pause: Duration, longest_pause: Duration) -> Self {
        Self { first_pause, longest_pause, inner: Mutex::default() }
    }

    /// Asks for leave to open a connection; the error says until when there is none.
    pub(super) fn ask(&self, now: Instant) -> Result<Leave<'_>, Timestamp> {
        let mut inner = self.lock();
        let Some(away) = &mut inner.away else {
            return Ok(Leave { breaker: self, is_trial: false });
        };
        if now >= away.until && !away.is_being_tried {
            away.is_being_tried = true;
            return Ok(Leave { breaker: self, is_trial: true });
        }
        Err(wall_clock(away.until, now))
    }

    /// How long from now until the route may be tried: zero when a trial is due, `None` when nothing is wrong. A trial that
    /// runs counts as the first pause, so that other routes are preferred.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let left = |until: Instant, is_being_tried: bool| {
            let left = until.saturating_duration_since(now);
            if is_being_tried { left.max(self.first_pause) } else { left }
        };
        let away = inner.away.as_ref().map(|away| left(away.until, away.is_being_tried));
        let stop = inner.stop.as_ref().map(|stop| left(stop.until, stop.is_being_tried));
        away.max(stop)
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        let inner = self.lock();
        let away = inner.away.map(|away| away.until);
        match away.max(inner.stop.as_ref().map(|stop| stop.until)) {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open { until: wall_clock(until, now) },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Why the relay refuses us, while it does.
    pub(super) fn stopped(&self) -> Option<RouteFault> {
        self.lock().stop.as_ref().map(|stop| stop.fault.clone())
    }

    /// Whether a mail may be sent as far as stops go.
    pub(super) fn begin_trial(&self, now: Instant) -> StopTrial {
        match &mut self.lock().stop {
            None => StopTrial::NotStopped,
            Some(stop) if now < stop.until || stop.is_being_tried => StopTrial::NotNow,
            Some(stop) => {
                stop.is_being_tried = true;
                StopTrial::One
            }
        }
    }

    /// The mail that tried is done, or was not sent.
    pub(super) fn trial_ended(&self) {
        if let Some(stop) = &mut self.lock().stop {
            stop.is_being_tried = false;
        }
    }

    /// The relay answered a mail as a mail: it takes us again. Returns whether it had refused us.
    pub(super) fn takes_us(&self) -> bool {
        self.lock().stop.take().is_some()
    }

    pub(super) fn last_fault(&self) -> Option<RouteFault> {
        self.lock().last_fault.clone()
    }

    /// The relay refuses us: nothing goes over the route for a pause that doubles, or for as long as the reply asks for. Mails
    /// that are refused together count once. Returns whether that is news.
    pub(super) fn refused(&self, error: &AttemptError, now: Instant) -> bool {
        let mut inner = self.lock();
        let fault = RouteFault::of(error);
        inner.last_fault = Some(fault.clone());
        let times = match &inner.stop {
            None => 1,
            Some(stop) if now >= stop.until => stop.times.saturating_add(1),
            Some(_) => return false,
        };
        let pause = doubled(FIRST_STOP, times - 1, LONGEST_STOP);
        let until = now + pause.max(error.judgement.wait.unwrap_or_default());
        let is_being_tried = inner.stop.as_ref().is_some_and(|stop| stop.is_being_tried);
        inner.stop = Some(Stop { until, times, is_being_tried, fault });
        times == 1
    }

    fn pause_after(&self, failures: u32) -> Duration {
        doubled(self.first_pause, failures.saturating_sub(1), self.longest_pause)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock(until: Instant, now: Instant) -> Timestamp {
    clock::now() + until.saturating_duration_since(now)
}

impl Leave<'_> {
    /// The connection is open: everybody may open connections. Returns whether the route had been away.
    pub(super) fn succeeded(self) -> bool {
        self.breaker.lock().away.take().is_some()
    }

    /// No connection. Of several mails that failed at the same time only the first counts. Returns how many trials
    /// in a row have now failed, where this one counts.
    pub(super) fn failed(self, error: &AttemptError, now: Instant) -> Option<u32> {
        let mut inner = self.breaker.lock();
        inner.last_fault = Some(RouteFault::of(error));
        let failures = match inner.away {
            None => 1,
            Some(away) if self.is_trial => away.failures.saturating_add(1),
            Some(_) => return None,
        };
        let until = now + self.breaker.pause_after(failures);
        inner.away = Some(Away { until, failures, is_being_tried: false });
        Some(failures)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_trial
            && let Some(away) = &mut self.breaker.lock().away
        {
            away.is_being_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn fault() -> AttemptError {
        AttemptError::not_now(Phase::Connect, "refused")
    }

    #[test]
    fn the_pause_doubles_from_a_second_to_a_minute() {
        let (breaker, mut now) = (breaker(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            breaker.ask(now).unwrap().failed(&fault(), now);
            assert_eq!(breaker.pause(now), Some(Duration::from_secs(seconds)));
            assert!(breaker.ask(now + Duration::from_millis(seconds * 1_000 - 1)).is_err());
            assert_eq!(breaker.last_fault().unwrap().text, "refused");
            now += Duration::from_secs(seconds);
        }
        breaker.ask(now).unwrap().succeeded();
        assert_eq!(breaker.state(now), BreakerState::Closed);
        breaker.ask(now).unwrap().failed(&fault(), now);
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_relay_that_refuses_us_is_tried_by_one_mail_after_pauses_that_double() {
        let (breaker, mut now) = (breaker(), Instant::now());
        for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            assert_eq!(breaker.refused(&fault(), now), seconds == 2);
            assert!(!breaker.refused(&fault(), now), "mails refused together count once");
            breaker.trial_ended();
            assert_eq!(breaker.pause(now), Some(Duration::from_secs(seconds)));
            assert_eq!(breaker.begin_trial(now), StopTrial::NotNow);
            assert!(breaker.stopped().is_some());
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.begin_trial(now), StopTrial::One);
            assert_eq!(breaker.begin_trial(now), StopTrial::NotNow, "one at a time");
        }
        assert!(breaker.takes_us());
        assert_eq!(
            (breaker.begin_trial(now), breaker.state(now)),
            (StopTrial::NotStopped, BreakerState::Closed)
        );
        assert!(breaker.stopped().is_none());
    }

    #[test]
    fn one_mail_at_a_time_tries_again() {
        let (breaker, now) = (breaker(), Instant::now());
        breaker.ask(now).unwrap().failed(&fault(), now);
        let later = now + Duration::from_secs(1);
        let trial = breaker.ask(later).unwrap();
        assert!(breaker.ask(later).is_err());
        drop(trial);
        let trial = breaker.ask(later).unwrap();
        trial.succeeded();
        assert!(breaker.ask(later).is_ok());
    }

    #[test]
    fn mails_that_fail_together_count_once() {
        let (breaker, now) = (breaker(), Instant::now());
        let together: Vec<_> = (0..8).map(|_| breaker.ask(now).unwrap()).collect();
        let counted = together.into_iter().filter_map(|leave| leave.failed(&fault(), now)).count();
        assert_eq!(counted, 1);
        assert_eq!(breaker.pause(now), Some(Duration::from_secs(1)));
    }
}
