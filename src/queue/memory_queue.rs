//! The queue of a single process: the embedded default. Jobs live as long as the process; after a restart the scheduler
//! enqueues them again.
//!
//! A job costs a few allocations and moves in constant time, a lease in logarithmic time of the leases there are.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::{
    Group, LaneStatus, Lease, Queue, QueueError, QueueStatus, QueuedJob, Room, check_ids, room::Turn,
};
use crate::mail::{Lane, MerchantId};

/// The most jobs that are moved in one hold of the lock.
const CHUNK: usize = 500;
/// An empty table keeps its memory for this many jobs.
const KEPT_ROOM: usize = 16_384;

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

    async fn fetch(&self, mut room: Room) -> Result<Vec<Lease>, QueueError> {
        let now = Instant::now();
        let mut fetched = Vec::new();
        let mut state = self.state();
        state.take_back_expired(now);
        while let Some(lease) = state.fetch(room, now + self.lease) {
            room.take(lease.job.lane);
            fetched.push(lease);
        }
        // For another worker of this process.
        self.notify_waiting(&state, [0; Group::ALL.len()]);
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

    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError> {
        let until = Instant::now() + self.lease;
        Ok(self.settle(held, |state, lease| state.extend(lease, until)))
    }

    async fn pause(&self, lane: Lane) -> Result<(), QueueError> {
        self.state().lanes[lane as usize].paused = true;
        Ok(())
    }

    async fn resume(&self, lane: Lane) -> Result<(), QueueError> {
        self.state().lanes[lane as usize].paused = false;
        self.arrived[Group::of(lane) as usize].notify_one();
        Ok(())
    }

    async fn status(&self) -> Result<QueueStatus, QueueError> {
        let state = self.state();
        let status = |lane: &Lane| {
            let LaneState { waiting, leased, paused, .. } = state.lanes[*lane as usize];
            LaneStatus { lane: *lane, waiting, leased, paused }
        };
        Ok(QueueStatus { lanes: Lane::ALL.iter().map(status).collect() })
    }

    async fn generation(&self) -> Result<String, QueueError> {
        Ok(self.generation.to_string())
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}

/// Everything in the queue. A job is in `jobs` from when it is enqueued until it is finished; while it waits, its id is
/// also in its lane, and while it is leased, in `expiries`.
#[derive(Default)]
struct QueueState {
    jobs: HashMap<Arc<str>, Entry>,
    lanes: [LaneState; Lane::ALL.len()],
    expiries: BTreeMap<(Instant, u64), Arc<str>>,
    last_token: u64,
    turn: Turn,
}

enum Entry {
    Waiting,
    Leased(Box<LeaseState>),
}

struct LeaseState {
    lane: Lane,
    merchant: MerchantId,
    token: u64,
    until: Instant,
    enqueued_again: bool,
}

/// The jobs that wait in a lane.
#[derive(Default)]
struct LaneState {
    /// Their turn has come already: released, or the lease expired.
    front: VecDeque<(Arc<str>, MerchantId)>,
    /// The merchants with waiting jobs, whose turn is next first; each once.
    turns: VecDeque<MerchantId>,
    by_merchant: HashMap<MerchantId, VecDeque<Arc<str>>>,
    paused: bool,
    waiting: u64,
    leased: u64,
}

impl LaneState {
    fn push(&mut self, id: Arc<str>, merchant: MerchantId) {
        self.waiting += 1;
        match self.by_merchant.get_mut(&merchant) {
            Some(jobs) => jobs.push_back(id),
            None => {
                self.turns.push_back(merchant.clone());
                self.by_merchant.insert(merchant, VecDeque::from([id]));
            }
        }
    }

    fn push_front(&mut self, id: Arc<str>, merchant: MerchantId) {
        self.waiting += 1;
        self.front.push_front((id, merchant));
    }

    fn pop(&mut self) -> Option<(Arc<str>, MerchantId)> {
        if self.paused || self.waiting == 0 {
            return None;
        }
        self.waiting -= 1;
        if let Some(first) = self.front.pop_front() {
            return Some(first);
        }
        let merchant = self.turns.pop_front()?;
        let jobs = self.by_merchant.get_mut(&merchant)?;
        let id = jobs.pop_front()?;
        if jobs.is_empty() {
            self.by_merchant.remove(&merchant);
        } else {
            self.turns.push_back(merchant.clone());
        }
        Some((id, merchant))
    }
}

impl QueueState {
    /// Adds a job and tells whether it was new.
    fn enqueue(&mut self, job: &QueuedJob) -> bool {
        match self.jobs.get_mut(job.id.as_str()) {
            None => {
                let id: Arc<str> = job.id.as_str().into();
                self.jobs.insert(id.clone(), Entry::Waiting);
                self.lanes[job.lane as usize].push(id, job.merchant.clone());
                true
            }
            Some(Entry::Waiting) => false,
            Some(Entry::Leased(lease_state)) => {
                lease_state.enqueued_again = true;
                false
            }
        }
    }

    /// How many jobs wait in each group, in lanes that are not paused.
    fn waiting(&self) -> [u64; Group::ALL.len()] {
        let mut waiting = [0; Group::ALL.len()];
        for (lane, lane_state) in
            Lane::ALL.iter().zip(&self.lanes).filter(|(_, lane_state)| !lane_state.paused)
        {
            waiting[Group::of(*lane) as usize] += lane_state.waiting;
        }
        waiting
    }

    fn fetch(&mut self, room: Room, until: Instant) -> Option<Lease> {
        let (lane, (id, merchant)) = self
            .turn
            .order()
            .filter(|lane| room.of(Group::of(*lane)) > 0)
            .find_map(|lane| Some((lane, self.lanes[lane as usize].pop()?)))?;
        self.turn.took(lane);
        self.last_token += 1;
        let token = self.last_token;
        self.lanes[lane as usize].leased += 1;
        let job = QueuedJob { id: id.to_string(), lane, merchant: merchant.clone() };
        let lease_state = LeaseState { lane, merchant, token, until, enqueued_again: false };
        self.jobs.insert(id.clone(), Entry::Leased(Box::new(lease_state)));
        self.expiries.insert((until, token), id);
        Some(Lease { job, token })
    }

    fn lease_state(&mut self, lease: &Lease) -> Option<&mut LeaseState> {
        match self.jobs.get_mut(lease.job.id.as_str()) {
            Some(Entry::Leased(lease_state)) if lease_state.token == lease.token => Some(lease_state),
            _ => None,
        }
    }

    /// Ends the lease and returns the job, which is then in no lane.
    fn end(&mut self, lease: &Lease) -> Option<(Arc<str>, Box<LeaseState>)> {
        self.lease_state(lease)?;
        let (id, entry) = self.jobs.remove_entry(lease.job.id.as_str())?;
        let Entry::Leased(lease_state) = entry else { return None };
        self.expiries.remove(&(lease_state.until, lease_state.token));
        self.lanes[lease_state.lane as usize].leased -= 1;
        Some((id, lease_state))
    }

    fn finish(&mut self, lease: &Lease) -> bool {
        let Some((id, lease_state)) = self.end(lease) else { return false };
        if lease_state.enqueued_again {
            self.jobs.insert(id.clone(), Entry::Waiting);
            self.lanes[lease_state.lane as usize].push(id, lease_state.merchant);
        } else if self.jobs.is_empty() && self.jobs.capacity() > KEPT_ROOM {
            self.jobs.shrink_to(KEPT_ROOM);
        }
        true
    }

    fn release(&mut self, lease: &Lease) -> bool {
        let Some((id, lease_state)) = self.end(lease) else { return false };
        self.jobs.insert(id.clone(), Entry::Waiting);
        self.lanes[lease_state.lane as usize].push_front(id, lease_state.merchant);
        true
    }

    fn extend(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(lease_state) = self.lease_state(lease) else { return false };
        let old = (std::mem::replace(&mut lease_state.until, until), lease.token);
        if let Some(id) = self.expiries.remove(&old) {
            self.expiries.insert((until, lease.token), id);
        }
        true
    }

    fn take_back_expired(&mut self, now: Instant) {
        if self.expiries.first_key_value().is_none_or(|((until, _), _)| *until > now) {
            return;
        }
        let unexpired = self.expiries.split_off(&(now, u64::MAX));
        let expired = std::mem::replace(&mut self.expiries, unexpired);
        // The last one first, so that the longest expired is at the front in the end.
        for id in expired.into_values().rev() {
            if let Some(entry) = self.jobs.get_mut(&id)
                && let Entry::Leased(lease_state) = std::mem::replace(entry, Entry::Waiting)
            {
                let lane_state = &mut self.lanes[lease_state.lane as usize];
                lane_state.leased -= 1;
                lane_state.push_front(id, lease_state.merchant);
            }
        }
    }
}
