//! Which merchants' requests were refused, and as what, for the dashboard: somebody on call sees that a shop's mails do
//! not even get in. The middleware of every request notes them, and the task that keeps the activity takes them.
//!
//! Bounded, since whoever sends requests chooses how many kinds there are: so many are told apart between two takes, and
//! the most frequent of these are told.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::mail::MerchantId;

/// Kinds that are told apart between two takes.
const MOST_APART: usize = 500;
/// Kinds that are told at once.
const MOST_TOLD: usize = 20;

/// Whose requests were refused, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefusalKind {
    /// Whose requests.
    pub merchant: MerchantId,
    /// Status, code, method and route: `422 invalid_fields, POST /mail`.
    pub what: String,
}

/// How many requests were refused since the last take.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<RefusalKind, u64>>);

impl Refusals {
    /// Notes requests that were refused.
    pub fn note(&self, kind: RefusalKind, number: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < MOST_APART || counts.contains_key(&kind) {
            *counts.entry(kind).or_default() += number;
        }
    }

    /// Takes what was noted, the most frequent first. What does not belong to these is forgotten.
    pub fn take(&self) -> Vec<(RefusalKind, u64)> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        counts.truncate(MOST_TOLD);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(merchant: &str, what: &str) -> RefusalKind {
        RefusalKind { merchant: merchant.parse().unwrap(), what: what.to_owned() }
    }

    #[test]
    fn refusals_are_told_once_and_the_most_frequent_first() {
        let refusals = Refusals::default();
        refusals.note(kind("tea", "422"), 1);
        refusals.note(kind("ink", "403"), 1);
        refusals.note(kind("ink", "403"), 2);
        assert_eq!(refusals.take(), [(kind("ink", "403"), 3), (kind("tea", "422"), 1)]);
        assert!(refusals.take().is_empty());
    }

    #[test]
    fn a_merchant_that_is_refused_in_ten_thousand_ways_takes_no_more_room_than_others() {
        let refusals = Refusals::default();
        refusals.note(kind("tea", "422"), 5);
        (0..10_000).for_each(|n| refusals.note(kind("ink", &format!("{n}")), 1));
        refusals.note(kind("tea", "422"), 5);
        assert_eq!(refusals.0.lock().unwrap().len(), MOST_APART);
        let told = refusals.take();
        assert_eq!((told.len(), &told[0]), (MOST_TOLD, &(kind("tea", "422"), 10)));
    }
}
