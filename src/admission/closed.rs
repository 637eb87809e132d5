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
    mail::WaitReason,
    queue::Line,
};

/// For so long after a scope's time who has just come does not ask, but joins its line: if one waits there, it goes first.
/// If nobody does, that costs two calls of the queue.
const FIRST: Duration = Duration::from_secs(1);
/// How many scopes are kept before those whose time is over are looked for.
const FEW: usize = 1_024;

/// From one to the next of a rate of which a mail that was given back is worth waking others for.
const SLOW: Duration = Duration::from_secs(1);

/// The scopes that let nothing through for a while.
#[derive(Default)]
pub(super) struct Closed {
    scopes: Mutex<HashMap<Scope, Closure>>,
    /// The lines of slow rates of which something was given back.
    to_wake: Mutex<BTreeSet<String>>,
}

struct Closure {
    until: Instant,
    at_most: usize,
}

impl Closed {
    fn scopes(&self) -> MutexGuard<'_, HashMap<Scope, Closure>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_wake(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.to_wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one of each of these was given back: it may be had at once, also by the mail that it was for.
    pub(super) fn gave_back(&self, ask: &Ask) {
        for (scope, rate) in ask.limits() {
            self.open(scope);
            if rate.each() >= SLOW {
                self.to_wake().insert(scope.to_string());
            }
        }
    }

    /// The lines that are to be woken, each once.
    pub(super) fn take_lines_to_wake(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.to_wake())
    }

    /// Notes that nothing of a scope may go before the time of its line.
    pub(super) fn close(&self, scope: Scope, line: &Line) {
        let (Some(after), now) = (line.after, Instant::now()) else { return };
        let mut scopes = self.scopes();
        if scopes.len() >= FEW {
            scopes.retain(|_, closure| now < closure.until + FIRST);
        }
        scopes.insert(scope, Closure { until: now + after, at_most: line.at_most });
    }

    /// Notes that something of a scope may go now. Its line still comes first.
    pub(super) fn open(&self, scope: &Scope) {
        if let Some(closure) = self.scopes().get_mut(scope) {
            closure.until = closure.until.min(Instant::now());
        }
    }

    /// Whether nothing of a scope may go now, except for mails that come from its line.
    pub(super) fn is_closed(&self, scope: &Scope, from: Option<&str>) -> bool {
        let is_closed =
            self.scopes().get(scope).is_some_and(|closure| Instant::now() < closure.until + FIRST);
        is_closed && from != Some(scope.to_string().as_str())
    }

    /// The line in which a mail waits that asks for something closed. Mails that come from that line may ask.
    pub(super) fn line_for(&self, ask: &Ask, from: Option<&str>) -> Option<Line> {
        if ask.is_empty() {
            return None;
        }
        let (scopes, now) = (self.scopes(), Instant::now());
        let closed = ask.limits().iter().filter_map(|(scope, _)| Some((scope, scopes.get(scope)?)));
        let (scope, closure) = closed
            .filter(|(_, closure)| now < closure.until + FIRST)
            .max_by_key(|(_, closure)| closure.until)?;
        let name = scope.to_string();
        (from != Some(name.as_str())).then(|| Line {
            name,
            reason: WaitReason::Rate,
            after: Some(closure.until.saturating_duration_since(now)),
            at_most: closure.at_most,
        })
    }
}
