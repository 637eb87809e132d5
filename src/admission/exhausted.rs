//! What this process knows of rates that are used up: a mail that has just come need not ask, and must not go before those
//! that wait.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    limits::{Ask, Scope},
    mail::{Lane, WaitReason},
    queue::{Lease, Line, joined, parts},
};

/// For so long after a scope's time who has just come does not ask, but joins its line: if one waits there, it goes first.
/// If nobody does, that costs two calls of the queue.
const WAITING_GO_FIRST_FOR: Duration = Duration::from_secs(1);
/// How many scopes are kept before those whose time is over are looked for.
const SWEEP_ABOVE: usize = 1_024;

/// Lines that wait for the same rate and something else ask at least this long after one another, or as far apart as the rate
/// lets them go; no line waits for its turn longer than the other.
const BETWEEN_TURNS: Duration = Duration::from_millis(20);
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// From one to the next of a rate of which a mail that was given back is worth waking others for.
const SLOW_RATE: Duration = Duration::from_secs(1);

/// The rates that are used up, and until when.
#[derive(Default)]
pub(super) struct ExhaustedRates {
    scopes: Mutex<HashMap<Scope, ExhaustedScope>>,
    /// The lines of slow rates of which something was given back.
    to_wake: Mutex<BTreeSet<String>>,
}

struct ExhaustedScope {
    /// When one may go again.
    first: Instant,
    /// The time of its line: when several may go together.
    until: Instant,
    at_most: usize,
    /// The turn of the last line that waits for this and something else.
    last_turn: Instant,
}

impl ExhaustedScope {
    /// Whether a mail has to wait in line without asking. One that comes from the line of this scope may always ask, and one
    /// that comes from another line as soon as one may go.
    fn must_queue(&self, scope: &Scope, from: Option<&str>, now: Instant) -> bool {
        match from {
            None => now < self.until + WAITING_GO_FIRST_FOR,
            Some(line) => now < self.first && parts(line).all(|part| part != scope.to_string()),
        }
    }
}

impl ExhaustedRates {
    fn scopes(&self) -> MutexGuard<'_, HashMap<Scope, ExhaustedScope>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_wake(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.to_wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one of each of these was given back: it may be had at once, also by the mail that it was for.
    pub(super) fn note_unused(&self, ask: &Ask) {
        for (scope, rate) in ask.limits() {
            self.note_available(scope);
            if rate.each() >= SLOW_RATE {
                self.to_wake().insert(scope.to_string());
            }
        }
    }

    /// The lines that are to be woken, each once.
    pub(super) fn take_lines_to_wake(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.to_wake())
    }

    /// Notes that nothing of a scope may go for so long, and the time of its line.
    pub(super) fn note_exhausted(&self, scope: Scope, wait: Duration, line: &Line) {
        let (Some(after), now) = (line.after, Instant::now()) else { return };
        let mut scopes = self.scopes();
        if scopes.len() >= SWEEP_ABOVE {
            scopes.retain(|_, exhausted| now < exhausted.until + WAITING_GO_FIRST_FOR);
        }
        let last_turn = scopes.get(&scope).map_or(now, |exhausted| exhausted.last_turn);
        let exhausted =
            ExhaustedScope { first: now + wait, until: now + after, at_most: line.at_most, last_turn };
        scopes.insert(scope, exhausted);
    }

    /// The line for a mail that comes from the line of one rate and meets another that is used up: that of both. A mail that
    /// went to and fro between the two would seldom meet both when something of them is left. Such a line asks as soon as one
    /// may go, before the lines of each rate alone, which have less to wait for. Of several such lines that wait for the same
    /// rate each has its turn; an urgent mail has the first.
    pub(super) fn join(&self, line: Line, ask: &Ask, lease: &Lease) -> Line {
        let is_asked = |name: &str| ask.limits().iter().any(|(scope, _)| scope.to_string() == name);
        let Some(home) = lease.line().filter(|home| *home != line.name && parts(home).all(is_asked)) else {
            return line;
        };
        let name = joined(parts(home).chain([line.name.as_str()]));
        let is_urgent = lease.job.lane == Lane::Transactional;
        let rate = ask.limits().iter().find(|(scope, _)| scope.to_string() == line.name);
        let turn = rate.and_then(|(scope, rate)| self.next_turn(scope, rate.each(), is_urgent));
        Line { name, after: turn.or(line.after), ..line }
    }

    /// How long the next of several lines that wait for this rate is to wait.
    fn next_turn(&self, scope: &Scope, each: Duration, is_urgent: bool) -> Option<Duration> {
        let (mut scopes, now) = (self.scopes(), Instant::now());
        let exhausted = scopes.get_mut(scope)?;
        if !is_urgent {
            let turn = (exhausted.last_turn + each.min(BETWEEN_TURNS)).max(exhausted.first);
            exhausted.last_turn = turn.min(exhausted.first + LONGEST_TURN);
        }
        let turn = if is_urgent { exhausted.first } else { exhausted.last_turn };
        Some(turn.saturating_duration_since(now))
    }

    /// Notes that something of a scope may go now. Its line still comes first.
    pub(super) fn note_available(&self, scope: &Scope) {
        if let Some(exhausted) = self.scopes().get_mut(scope) {
            exhausted.until = exhausted.until.min(Instant::now());
        }
    }

    /// The same for every scope: what each of them lets through may be another now.
    pub(super) fn note_all_available(&self) {
        let now = Instant::now();
        for exhausted in self.scopes().values_mut() {
            (exhausted.first, exhausted.until) = (exhausted.first.min(now), exhausted.until.min(now));
        }
    }

    /// Whether nothing of a scope may go now, except for mails that come from its line.
    pub(super) fn is_exhausted(&self, scope: &Scope, from: Option<&str>) -> bool {
        self.scopes().get(scope).is_some_and(|exhausted| exhausted.must_queue(scope, from, Instant::now()))
    }

    /// The line in which a mail waits that asks for a rate that is used up. Mails that come from its line may ask.
    pub(super) fn line_for(&self, ask: &Ask, from: Option<&str>) -> Option<Line> {
        if ask.is_empty() {
            return None;
        }
        let (scopes, now) = (self.scopes(), Instant::now());
        let known = ask.limits().iter().filter_map(|(scope, _)| Some((scope, scopes.get(scope)?)));
        let (scope, exhausted) = known
            .filter(|(scope, exhausted)| exhausted.must_queue(scope, from, now))
            .max_by_key(|(_, exhausted)| exhausted.until)?;
        Some(Line {
            name: scope.to_string(),
            reason: WaitReason::Rate,
            after: Some(
                if from.is_some() { exhausted.first } else { exhausted.until }.saturating_duration_since(now),
            ),
            at_most: exhausted.at_most,
        })
    }
}
