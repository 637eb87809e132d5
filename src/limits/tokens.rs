//! The answer to what was asked, and what a mail was granted: good for a short while, and given back unless it is used.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    allowance::Mark,
    ask::{Ask, Scope},
};

/// Whether a mail may go.
#[derive(Debug)]
pub enum Answer {
    /// It may go now.
    Granted(Tokens),
    /// It must wait. Nothing was taken.
    Denied {
        /// The scope that it waits for longest.
        scope: Scope,
        /// How long until all of its scopes have one, unless others take it first.
        wait: Duration,
    },
}

/// One taken from each of a mail's limits. Dropped, they are given back; [`Tokens::spend`] uses them.
#[derive(Default)]
pub struct Tokens {
    /// Nothing, where the mail has no limits.
    taken: Option<Box<All>>,
}

struct All {
    ask: Ask,
    taken: Vec<Taken>,
    at: Instant,
    by: By,
    counts: Arc<dyn Counts>,
}

/// Who granted them.
pub(super) trait Counts: Send + Sync {
    /// Takes back what was not used, by whoever counted it.
    fn give_back(&self, by: By, at: Instant, ask: Ask, taken: Vec<Taken>);
}

/// What was taken from one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How much of the allowance one is, in microseconds.
    pub(super) each: u64,
    /// Where in the allowance it was.
    pub(super) mark: Mark,
}

/// Who counted, and may get something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This process, in its outage of this number where Redis is away.
    Process(u64),
    /// Redis.
    Redis,
}

impl Tokens {
    pub(super) fn new(counts: Arc<dyn Counts>, by: By, ask: Ask, taken: Vec<Taken>) -> Self {
        let at = Instant::now();
        Self { taken: Some(Box::new(All { ask, taken, at, by, counts })) }
    }

    /// Uses them: the mail goes.
    pub fn spend(mut self) {
        self.taken = None;
    }

    /// Whether they may still be used. Used later than after the shortest burst of their limits, many that were taken
    /// over a while could go at once.
    pub fn are_good(&self) -> bool {
        self.taken.as_ref().is_none_or(|all| all.at.elapsed() < all.good_for())
    }

    /// For how long they may still be used; `None` where the mail has no limits.
    pub fn good_for(&self) -> Option<Duration> {
        self.taken.as_ref().map(|all| all.good_for().saturating_sub(all.at.elapsed()))
    }

    /// What they were asked for with.
    pub fn ask(&self) -> Ask {
        self.taken.as_ref().map(|all| all.ask.clone()).unwrap_or_default()
    }
}

impl All {
    fn good_for(&self) -> Duration {
        self.ask.limits().iter().map(|(_, rate)| rate.span()).min().unwrap_or(Duration::MAX)
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if let Some(all) = self.taken.take() {
            let All { ask, taken, at, by, counts } = *all;
            counts.give_back(by, at, ask, taken);
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tokens").field(&self.ask().limits()).finish()
    }
}
