//! Keeps mails from queueing up at a relay that is away: after a failure to open a connection one mail at a time may try
//! again, and each failure doubles the pause before the next try. Connections that are open go on meanwhile.
//!
//! A relay that refuses us (no sign-in, no relaying, a quota used up) stops the whole route, open connections too: one mail
//! at a time tries again after a pause that doubles, until the relay answers one of them as a mail. So does a relay that takes
//! connections and then no mail, whatever it is: it says nothing, hangs up, or has a fault that passes, several times in a row.
//!
//! A relay that gets too much of us is left alone for as long as it asks for, and then gets one mail at a time, faster and faster.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{attempt_error::AttemptError, pace::Pace};
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

    /// The same where a relay's words may hold somebody's address.
    fn in_our_words(words: &str, error: &AttemptError) -> Self {
        let text = error.code().map_or_else(|| error.text(), |code| format!("{words} ({code})"));
        Self { at: clock::now(), phase: error.phase, text }
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
    /// The relay gets too much.
    pace: Option<Pace>,
    /// How many mails in a row came to nothing before the relay heard of their content.
    in_vain: u32,
    last_fault: Option<RouteFault>,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    until: Instant,
    failures: u32,
    is_being_tried: bool,
}

/// The relay takes connections and no mails.
#[derive(Clone, Debug)]
struct Stop {
    until: Instant,
    times: u32,
    is_being_tried: bool,
    /// Why it refuses us; `None` where it does not say that it does.
    refusal: Option<RouteFault>,
}

/// Whether a mail may be sent over the route as far as stops go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopTrial {
    /// The route is not stopped.
    NotStopped,
    /// The route is stopped.
    NotNow,
    /// The mail tries whether the relay still refuses us. Its end must be [told](Breaker::trial_ended).
    Granted,
}

/// The pauses of a route whose relay refuses us.
const FIRST_STOP: Duration = Duration::from_secs(2);
const LONGEST_STOP: Duration = Duration::from_secs(600);
/// After so many mails in a row that came to nothing no other follows.
const MOST_IN_VAIN: u32 = 3;
/// The longest time that a relay's words keep us from trying a route again.
const LONGEST_NAMED: Duration = Duration::from_secs(3_600);

/// Permission to open a connection. Dropped without a word, it lets the next mail try.
#[derive(Debug)]
pub(super) struct DialPermit<'a> {
    breaker: &'a Breaker,
    is_trial: bool,
}

impl Breaker {
    pub(super) fn new(first_pause: Duration, longest_pause: Duration) -> Self {
        Self { first_pause, longest_pause, inner: Mutex::default() }
    }

    /// Asks for permission to open a connection; the error says until when there is none.
    pub(super) fn ask(&self, now: Instant) -> Result<DialPermit<'_>, Timestamp> {
        let mut inner = self.lock();
        let Some(away) = &mut inner.away else {
            return Ok(DialPermit { breaker: self, is_trial: false });
        };
        if now >= away.until && !away.is_being_tried {
            away.is_being_tried = true;
            return Ok(DialPermit { breaker: self, is_trial: true });
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
        let pace = inner.pace.map(|pace| left(pace.not_before(), false));
        away.max(stop).max(pace)
    }

    /// How many of so many mails may go as far as the relay gets too much.
    pub(super) fn most_at_this_pace(&self, mails: usize, now: Instant) -> usize {
        match self.lock().pace {
            None => mails,
            Some(pace) => mails.min(usize::from(pace.not_before() <= now)),
        }
    }

    /// Takes the turn of a mail where the relay gets too much. Returns whether it may go.
    pub(super) fn take_turn(&self, now: Instant) -> bool {
        self.lock().pace.as_mut().is_none_or(|pace| pace.take_turn(now).is_ok())
    }

    /// The relay gets too much: nothing goes over the route for as long as the reply asks for, or a pause that doubles, and then
    /// one mail at a time. Returns whether that is news.
    pub(super) fn gets_too_much(&self, error: &AttemptError, now: Instant) -> bool {
        let mut inner = self.lock();
        inner.last_fault = Some(RouteFault::in_our_words("the relay gets too much", error));
        let is_news = inner.pace.is_none();
        let wait = error.judgement.wait.map(|wait| wait.min(LONGEST_NAMED));
        inner.pace.get_or_insert_with(|| Pace::new(now)).slow_down(wait, now);
        is_news
    }

    /// The relay took a mail. Returns whether it had got too much, and now takes mails as fast as any.
    pub(super) fn took_one(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        let is_over = inner.pace.as_mut().is_some_and(|pace| pace.speed_up(now));
        if is_over {
            inner.pace = None;
        }
        is_over
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        let inner = self.lock();
        let away = inner.away.map(|away| away.until);
        let stop = inner.stop.as_ref().map(|stop| stop.until);
        // A relay that gets one mail after the other is up, however few they are.
        let pace = inner.pace.map(|pace| pace.not_before()).filter(|until| *until > now);
        match away.max(stop).max(pace) {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open { until: wall_clock(until, now) },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Why the relay refuses us, while it does.
    pub(super) fn stopped(&self) -> Option<RouteFault> {
        self.lock().stop.as_ref().and_then(|stop| stop.refusal.clone())
    }

    /// Whether a mail may be sent as far as stops go.
    pub(super) fn begin_trial(&self, now: Instant) -> StopTrial {
        match &mut self.lock().stop {
            None => StopTrial::NotStopped,
            Some(stop) if now < stop.until || stop.is_being_tried => StopTrial::NotNow,
            Some(stop) => {
                stop.is_being_tried = true;
                StopTrial::Granted
            }
        }
    }

    /// The mail that tried is done, or was not sent.
    pub(super) fn trial_ended(&self) {
        if let Some(stop) = &mut self.lock().stop {
            stop.is_being_tried = false;
        }
    }

    /// The relay answered a mail as a mail: it takes us again. Returns whether it had not.
    pub(super) fn reset_stop(&self) -> bool {
        let mut inner = self.lock();
        inner.in_vain = 0;
        inner.stop.take().is_some()
    }

    /// A mail came to nothing before the relay heard of its content, and it was not for the mail. Where several did in a row,
    /// nothing goes over the route for a pause that doubles. Returns how often that pause was begun in a row, where it is now.
    pub(super) fn came_to_nothing(&self, error: &AttemptError, now: Instant) -> Option<u32> {
        let mut inner = self.lock();
        inner.in_vain = inner.in_vain.saturating_add(1);
        if inner.in_vain < MOST_IN_VAIN {
            return None;
        }
        let (times, is_being_tried, refusal) = match &inner.stop {
            None => (1, false, None),
            Some(stop) if now >= stop.until => {
                (stop.times.saturating_add(1), stop.is_being_tried, stop.refusal.clone())
            }
            Some(_) => return None,
        };
        let until = now + self.pause_after(times);
        inner.stop = Some(Stop { until, times, is_being_tried, refusal });
        inner.last_fault = Some(RouteFault::in_our_words("the relay takes no mail now", error));
        Some(times)
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
            Some(Stop { refusal: None, .. }) | None => 1,
            Some(stop) if now >= stop.until => stop.times.saturating_add(1),
            Some(_) => return false,
        };
        let pause = doubled(FIRST_STOP, times - 1, LONGEST_STOP);
        let until = now + pause.max(error.judgement.wait.unwrap_or_default());
        let is_being_tried = inner.stop.as_ref().is_some_and(|stop| stop.is_being_tried);
        inner.stop = Some(Stop { until, times, is_being_tried, refusal: Some(fault) });
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

impl DialPermit<'_> {
    /// The connection is open: everybody may open connections. Returns whether the route had been away.
    pub(super) fn succeeded(self) -> bool {
        self.breaker.lock().away.take().is_some()
    }

    /// No connection. Of several mails that failed at the same time only the first counts. Nobody tries again before the time that
    /// the relay named, if `wait` says one. Returns how many trials in a row have now failed, where this one counts.
    pub(super) fn failed(self, error: &AttemptError, wait: Option<Duration>, now: Instant) -> Option<u32> {
        let mut inner = self.breaker.lock();
        inner.last_fault = Some(RouteFault::of(error));
        let asked = now + wait.unwrap_or_default().min(LONGEST_NAMED);
        let failures = match &mut inner.away {
            None => 1,
            Some(away) if self.is_trial => away.failures.saturating_add(1),
            Some(away) => {
                away.until = away.until.max(asked);
                return None;
            }
        };
        let until = asked.max(now + self.breaker.pause_after(failures));
        inner.away = Some(Away { until, failures, is_being_tried: false });
        Some(failures)
    }
}

impl Drop for DialPermit<'_> {
    fn drop(&mut self) {
        if self.is_trial
            && let Some(away) = &mut self.breaker.lock().away
        {
            away.is_being_tried = false;
        }
    }
}

#[cfg(test)]
mod tests;
