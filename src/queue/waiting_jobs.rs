//! The jobs of one lane that wait in one line of a queue in memory: merchants take turns.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::Domains;
use crate::mail::MerchantId;

/// A job that waits, without its lane and merchant.
pub(super) struct WaitingJob {
    pub(super) id: Arc<str>,
    pub(super) domains: Option<Arc<Domains>>,
}

/// The jobs of one lane that wait in one line.
#[derive(Default)]
pub(super) struct WaitingJobs {
    /// Their turn has come already: released, or the lease expired.
    front: VecDeque<(WaitingJob, MerchantId)>,
    /// The merchants with waiting jobs, whose turn is next first; each once.
    turns: VecDeque<MerchantId>,
    by_merchant: HashMap<MerchantId, VecDeque<WaitingJob>>,
    pub(super) number: u64,
}

impl WaitingJobs {
    pub(super) fn push(&mut self, job: WaitingJob, merchant: MerchantId) {
        self.of_merchant(merchant).push_back(job);
    }

    /// Adds a job before those of its merchant, whose turn stays.
    pub(super) fn push_first_of(&mut self, job: WaitingJob, merchant: MerchantId) {
        self.of_merchant(merchant).push_front(job);
    }

    /// The jobs of a merchant to whom one is about to be added.
    fn of_merchant(&mut self, merchant: MerchantId) -> &mut VecDeque<WaitingJob> {
        self.number += 1;
        self.by_merchant.entry(merchant).or_insert_with_key(|merchant| {
            self.turns.push_back(merchant.clone());
            VecDeque::new()
        })
    }

    /// The merchants of whom more than so many wait, those whose turn had come aside.
    pub(super) fn with_more_than(&self, number: usize) -> impl Iterator<Item = &MerchantId> {
        self.by_merchant.iter().filter(move |(_, jobs)| jobs.len() > number).map(|(merchant, _)| merchant)
    }

    pub(super) fn push_front(&mut self, job: WaitingJob, merchant: MerchantId) {
        self.number += 1;
        self.front.push_front((job, merchant));
    }

    /// Takes the next one, and tells whether it was at the front.
    pub(super) fn pop(&mut self) -> Option<(WaitingJob, MerchantId, bool)> {
        if self.number == 0 {
            return None;
        }
        self.number -= 1;
        if let Some((job, merchant)) = self.front.pop_front() {
            return Some((job, merchant, true));
        }
        let merchant = self.turns.pop_front()?;
        let jobs = self.by_merchant.get_mut(&merchant)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            self.by_merchant.remove(&merchant);
        } else {
            self.turns.push_back(merchant.clone());
        }
        Some((job, merchant, false))
    }
}
