//! Counts in this process: alone, or by its share while Redis is away.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Rate, Scope,
    allowance::{Allowance, Pace},
    ask::Ask,
    tokens::Taken,
};

/// How many scopes are kept before those that are whole again are looked for.
const SWEEP_ABOVE: usize = 1_024;

/// The allowances of one process.
pub(super) struct Local {
    kept: Mutex<Kept>,
}

struct Kept {
    scopes: HashMap<Scope, Scoped>,
    /// From when on it is known what was taken.
    since: Option<u64>,
    sweep_at: usize,
}

#[derive(Clone, Copy, Default)]
struct Scoped {
    allowance: Allowance,
    /// Until then something that was taken may be given back.
    needed_until: u64,
}

/// What is decided about one mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It took one from each of its limits, in their order.
    Granted(Vec<Taken>),
    /// It waits for the limit of this number, in microseconds.
    Denied { limit: usize, wait: u64 },
}

impl Local {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::new(Kept { scopes: HashMap::new(), since: None, sweep_at: SWEEP_ABOVE }) }
    }

    /// Forgets everything, and takes all allowances for spent at this moment: what was taken before is not known.
    pub(super) fn begin_at(&self, now: u64) {
        *self.kept() = Kept { scopes: HashMap::new(), since: Some(now), sweep_at: SWEEP_ABOVE };
    }

    /// Decides about mails in their order. `pace` says how a rate is counted.
    pub(super) fn take(&self, asks: &[Ask], now: u64, pace: impl Fn(Rate) -> Pace) -> Vec<Decision> {
        let mut kept = self.kept();
        kept.sweep(now);
        asks.iter().map(|ask| kept.decide(ask, now, &pace)).collect()
    }

    /// Gives back what was not used.
    pub(super) fn give_back(&self, now: u64, returns: impl Iterator<Item = (Scope, Taken)>) {
        let mut kept = self.kept();
        for (scope, Taken { each, mark }) in returns {
            if let Some(scoped) = kept.scopes.get_mut(&scope) {
                scoped.allowance.give_back(now, each, mark);
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn decide(&mut self, ask: &Ask, now: u64, pace: &impl Fn(Rate) -> Pace) -> Decision {
        let limits = ask.limits().iter().map(|(scope, rate)| (scope, pace(*rate)));
        let waits = limits.clone().map(|(scope, pace)| self.current(scope, now, pace).wait(now, pace));
        if let Some((limit, wait)) =
            waits.enumerate().max_by_key(|(_, wait)| *wait).filter(|(_, wait)| *wait > 0)
        {
            return Decision::Denied { limit, wait };
        }
        Decision::Granted(limits.map(|(scope, pace)| self.take(scope, now, pace)).collect())
    }

    /// What a scope's allowance is now.
    fn current(&mut self, scope: &Scope, now: u64, pace: Pace) -> Allowance {
        let known = self.scopes.get(scope).copied().unwrap_or_default().allowance;
        let known = self.since.map_or(known, |since| known.spent_at(since, pace));
        let current = known.at(now, pace);
        if current.full_at() < known.full_at() {
            self.keep(scope, current, pace);
        }
        current
    }

    fn take(&mut self, scope: &Scope, now: u64, pace: Pace) -> Taken {
        let mut allowance = self.current(scope, now, pace);
        let mark = allowance.take(pace);
        self.keep(scope, allowance, pace);
        Taken { each: pace.each, mark }
    }

    fn keep(&mut self, scope: &Scope, allowance: Allowance, pace: Pace) {
        let needed_until = allowance.full_at().saturating_add(pace.span());
        match self.scopes.get_mut(scope) {
            Some(scoped) => *scoped = Scoped { allowance, needed_until },
            None => drop(self.scopes.insert(scope.clone(), Scoped { allowance, needed_until })),
        }
    }

    /// Forgets scopes of which nothing needs to be known: an allowance that is forgotten earlier could be spent twice.
    fn sweep(&mut self, now: u64) {
        if self.scopes.len() >= self.sweep_at {
            self.scopes.retain(|_, scoped| scoped.needed_until > now);
            self.sweep_at = SWEEP_ABOVE.max(2 * self.scopes.len());
        }
    }
}

#[cfg(test)]
impl Local {
    /// How many scopes are kept.
    pub(super) fn len(&self) -> usize {
        self.kept().scopes.len()
    }
}
