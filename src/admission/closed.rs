//! What this process knows of rates that are used up: a mail that has just come need not ask, and must not go before those
//! that wait.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    limits::{Ask, Scope},
    mail::WaitReason,
    queue::Line,
};

/// The mails of a line have this long to go first.
const FIRST: Duration = Duration::from_millis(30);
/// How many scopes are kept before those whose time is over are looked for.
const FEW: usize = 1_024;

/// The scopes that let nothing through for a while.
#[derive(Default)]
pub(super) struct Closed(Mutex<HashMap<Scope, Closure>>);

struct Closure {
    until: Instant,
    at_most: usize,
}

impl Closed {
    fn scopes(&self) -> MutexGuard<'_, HashMap<Scope, Closure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Forgets what is known of a scope.
    pub(super) fn open(&self, scope: &Scope) {
        self.scopes().remove(scope);
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
            after: Some((closure.until + FIRST).saturating_duration_since(now)),
            at_most: closure.at_most,
        })
    }
}
