//! The queue of a single process: the embedded default. Jobs live as long as the process; after a restart the scheduler
//! enqueues them again.
//!
//! A job costs a few allocations and moves in constant time, a lease in logarithmic time of the leases there are.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::{
    FetchBudget, Fetched, Group, Lease, Queue, QueueError, QueueStatus, QueuedJob, SetAside, Whereabouts,
    check_ids, check_names, memory_state::QueueState,
};
use crate::mail::{Lane, MerchantId};

/// The most jobs that are moved in one hold of the lock.
const CHUNK: usize = 500;

/// A queue in the memory of this process.
pub struct MemoryQueue {
    lease: Duration,
    generation: Uuid,
    state: Mutex<QueueState>,
    /// Notified when jobs of a group of lanes begin to wait.
    arrived: [Notify; Group::ALL.len()],
}

impl MemoryQueue {
    /// Makes an empty queue whose leases last for `lease`.
    pub fn new(lease: Duration) -> Self {
        Self { lease, generation: Uuid::now_v7(), state: Mutex::default(), arrived: Default::default() }
    }

    /// Locks the state, also after a panic: every change to it is complete before anything can panic.
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state for each of the leases that is still the caller's.
    fn settle(&self, leases: &[Lease], change: impl Fn(&mut QueueState, &Lease) -> bool) -> usize {
        let mut settled = 0;
        for chunk in leases.chunks(CHUNK) {
            let mut state = self.state();
            let before = state.waiting();
            settled += chunk.iter().filter(|lease| change(&mut state, lease)).count();
            self.notify_waiting(&state, before);
        }
        settled
    }

    /// Wakes a worker for each group of lanes in which more jobs wait than before.
    fn notify_waiting(&self, state: &QueueState, before: [u64; Group::ALL.len()]) {
        for (group, (before, now)) in before.into_iter().zip(state.waiting()).enumerate() {
            if now > before {
                self.arrived[group].notify_one();
            }
        }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, jobs: &[QueuedJob]) -> Result<usize, QueueError> {
        check_ids(jobs)?;
        let mut new = 0;
        for chunk in jobs.chunks(CHUNK) {
            let mut state = self.state();
            let before = state.waiting();
            new += chunk.iter().filter(|job| state.enqueue(job)).count();
            self.notify_waiting(&state, before);
        }
        Ok(new)
    }

    async fn fetch(&self, budget: FetchBudget) -> Result<Fetched, QueueError> {
        let mut state = self.state();
        let fetched = state.fetch(budget, Instant::now(), self.lease);
        // For another worker of this process.
        self.notify_waiting(&state, [0; Group::ALL.len()]);
        if fetched.due_in.is_none() && state.has_due_line(Instant::now()) {
            self.arrived[Group::Mails as usize].notify_one();
        }
        Ok(fetched)
    }

    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError> {
        let _ = tokio::time::timeout(longest, self.arrived[group as usize].notified()).await;
        Ok(())
    }

    async fn finish(&self, done: &[Lease]) -> Result<usize, QueueError> {
        Ok(self.settle(done, QueueState::finish))
    }

    async fn release(&self, back: &[Lease]) -> Result<usize, QueueError> {
        let last_first: Vec<Lease> = back.iter().rev().cloned().collect();
        Ok(self.settle(&last_first, QueueState::release))
    }

    async fn set_aside(&self, asides: &[SetAside]) -> Result<usize, QueueError> {
        check_names(asides)?;
        let mut moved = 0;
        for aside in asides {
            moved += self.state().set_aside(aside, Instant::now());
        }
        Ok(moved)
    }

    async fn wake(&self, lines: &[String]) -> Result<(), QueueError> {
        self.state().wake(lines, Instant::now());
        self.arrived[Group::Mails as usize].notify_one();
        Ok(())
    }

    async fn wake_all(&self) -> Result<(), QueueError> {
        self.state().wake_all(Instant::now());
        self.arrived[Group::Mails as usize].notify_one();
        Ok(())
    }

    async fn where_are(&self, jobs: &[String]) -> Result<Vec<Whereabouts>, QueueError> {
        let (state, now) = (self.state(), Instant::now());
        Ok(jobs.iter().map(|id| state.whereabouts(id, now)).collect())
    }

    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError> {
        let until = Instant::now() + self.lease;
        Ok(self.settle(held, |state, lease| state.extend(lease, until)))
    }

    async fn pause(&self, lane: Lane) -> Result<(), QueueError> {
        self.state().set_paused(lane, true);
        Ok(())
    }

    async fn resume(&self, lane: Lane) -> Result<(), QueueError> {
        self.state().set_paused(lane, false);
        self.arrived[Group::of(lane) as usize].notify_one();
        Ok(())
    }

    async fn status(&self) -> Result<QueueStatus, QueueError> {
        Ok(self.state().status(Instant::now()))
    }

    async fn crowding(&self, lane: Lane) -> Result<Vec<MerchantId>, QueueError> {
        Ok(self.state().crowding(lane))
    }

    async fn generation(&self) -> Result<String, QueueError> {
        Ok(self.generation.to_string())
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}
