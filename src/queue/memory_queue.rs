//! The queue of a single process: the embedded default. Bells live as long as the process; the waker finds the rows
//! again after a restart.
//!
//! A bell costs a few allocations and moves in constant time, a lease in logarithmic time of the leases there are.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::{Bell, Group, LaneStatus, Lease, Queue, QueueError, QueueStatus, Room, check_ids, room::Turn};
use crate::mail::{Lane, MerchantId};

/// The bells that are moved while the lock is held; others may come between.
const CHUNK: usize = 500;
/// An empty table keeps room for this many bells.
const KEPT_ROOM: usize = 16_384;

/// A queue in the memory of this process.
pub struct MemoryQueue {
    lease: Duration,
    generation: Uuid,
    shelf: Mutex<Shelf>,
    /// One for each group of lanes.
    rung: [Notify; Group::ALL.len()],
}

impl MemoryQueue {
    /// Makes an empty queue whose leases last for `lease`.
    pub fn new(lease: Duration) -> Self {
        Self { lease, generation: Uuid::now_v7(), shelf: Mutex::default(), rung: Default::default() }
    }

    /// The shelf, also after a panic: every change to it is complete before anything can panic.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the shelf for each of the leases that is still the caller's.
    fn settle(&self, leases: &[Lease], change: impl Fn(&mut Shelf, &Lease) -> bool) -> usize {
        let mut settled = 0;
        for chunk in leases.chunks(CHUNK) {
            let mut shelf = self.shelf();
            let before = shelf.waiting();
            settled += chunk.iter().filter(|lease| change(&mut shelf, lease)).count();
            self.tell_of_new(&shelf, before);
        }
        settled
    }

    /// Tells those who wait for groups in which more waits than before.
    fn tell_of_new(&self, shelf: &Shelf, before: [u64; Group::ALL.len()]) {
        for (group, (before, now)) in before.into_iter().zip(shelf.waiting()).enumerate() {
            if now > before {
                self.rung[group].notify_one();
            }
        }
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, bells: &[Bell]) -> Result<usize, QueueError> {
        check_ids(bells)?;
        let mut new = 0;
        for chunk in bells.chunks(CHUNK) {
            let mut shelf = self.shelf();
            let before = shelf.waiting();
            new += chunk.iter().filter(|bell| shelf.ring(bell)).count();
            self.tell_of_new(&shelf, before);
        }
        Ok(new)
    }

    async fn claim(&self, mut room: Room) -> Result<Vec<Lease>, QueueError> {
        let now = Instant::now();
        let mut claimed = Vec::new();
        let mut shelf = self.shelf();
        shelf.take_back_expired(now);
        while let Some(lease) = shelf.claim(room, now + self.lease) {
            room.take(lease.bell.lane);
            claimed.push(lease);
        }
        // For another worker of this process.
        self.tell_of_new(&shelf, [0; Group::ALL.len()]);
        Ok(claimed)
    }

    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError> {
        let _ = tokio::time::timeout(longest, self.rung[group as usize].notified()).await;
        Ok(())
    }

    async fn finish(&self, done: &[Lease]) -> Result<usize, QueueError> {
        Ok(self.settle(done, Shelf::finish))
    }

    async fn release(&self, back: &[Lease]) -> Result<usize, QueueError> {
        let last_first: Vec<Lease> = back.iter().rev().cloned().collect();
        Ok(self.settle(&last_first, Shelf::release))
    }

    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError> {
        let until = Instant::now() + self.lease;
        Ok(self.settle(held, |shelf, lease| shelf.extend(lease, until)))
    }

    async fn pause(&self, lane: Lane) -> Result<(), QueueError> {
        self.shelf().lanes[lane as usize].paused = true;
        Ok(())
    }

    async fn resume(&self, lane: Lane) -> Result<(), QueueError> {
        self.shelf().lanes[lane as usize].paused = false;
        self.rung[Group::of(lane) as usize].notify_one();
        Ok(())
    }

    async fn status(&self) -> Result<QueueStatus, QueueError> {
        let shelf = self.shelf();
        let status = |lane: &Lane| {
            let Line { waiting, leased, paused, .. } = shelf.lanes[*lane as usize];
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

/// Everything in the queue. A bell is in `bells` from when it is rung until it is finished; while it waits, its id is
/// also in one line, and while it is leased, in `expiries`.
#[derive(Default)]
struct Shelf {
    bells: HashMap<Arc<str>, Standing>,
    lanes: [Line; Lane::ALL.len()],
    expiries: BTreeMap<(Instant, u64), Arc<str>>,
    last_token: u64,
    turn: Turn,
}

enum Standing {
    Waiting,
    Leased(Box<Holding>),
}

struct Holding {
    lane: Lane,
    merchant: MerchantId,
    token: u64,
    until: Instant,
    rung_again: bool,
}

/// The bells of a lane that wait.
#[derive(Default)]
struct Line {
    /// Their turn came already: given back, or the lease expired.
    front: VecDeque<(Arc<str>, MerchantId)>,
    /// The merchants with waiting bells, whose turn is next first; each once.
    ring: VecDeque<MerchantId>,
    by_merchant: HashMap<MerchantId, VecDeque<Arc<str>>>,
    paused: bool,
    waiting: u64,
    leased: u64,
}

impl Line {
    fn push(&mut self, id: Arc<str>, merchant: MerchantId) {
        self.waiting += 1;
        match self.by_merchant.get_mut(&merchant) {
            Some(bells) => bells.push_back(id),
            None => {
                self.ring.push_back(merchant.clone());
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
        let merchant = self.ring.pop_front()?;
        let bells = self.by_merchant.get_mut(&merchant)?;
        let id = bells.pop_front()?;
        if bells.is_empty() {
            self.by_merchant.remove(&merchant);
        } else {
            self.ring.push_back(merchant.clone());
        }
        Some((id, merchant))
    }
}

impl Shelf {
    /// Tells whether the bell was new.
    fn ring(&mut self, bell: &Bell) -> bool {
        match self.bells.get_mut(bell.id.as_str()) {
            None => {
                let id: Arc<str> = bell.id.as_str().into();
                self.bells.insert(id.clone(), Standing::Waiting);
                self.lanes[bell.lane as usize].push(id, bell.merchant.clone());
                true
            }
            Some(Standing::Waiting) => false,
            Some(Standing::Leased(holding)) => {
                holding.rung_again = true;
                false
            }
        }
    }

    /// How many bells wait in each group, in lanes that give some.
    fn waiting(&self) -> [u64; Group::ALL.len()] {
        let mut waiting = [0; Group::ALL.len()];
        for (lane, line) in Lane::ALL.iter().zip(&self.lanes).filter(|(_, line)| !line.paused) {
            waiting[Group::of(*lane) as usize] += line.waiting;
        }
        waiting
    }

    fn claim(&mut self, room: Room, until: Instant) -> Option<Lease> {
        let (lane, (id, merchant)) = self
            .turn
            .order()
            .filter(|lane| room.of(Group::of(*lane)) > 0)
            .find_map(|lane| Some((lane, self.lanes[lane as usize].pop()?)))?;
        self.turn.took(lane);
        self.last_token += 1;
        let token = self.last_token;
        self.lanes[lane as usize].leased += 1;
        let bell = Bell { id: id.to_string(), lane, merchant: merchant.clone() };
        let holding = Holding { lane, merchant, token, until, rung_again: false };
        self.bells.insert(id.clone(), Standing::Leased(Box::new(holding)));
        self.expiries.insert((until, token), id);
        Some(Lease { bell, token })
    }

    fn holding(&mut self, lease: &Lease) -> Option<&mut Holding> {
        match self.bells.get_mut(lease.bell.id.as_str()) {
            Some(Standing::Leased(holding)) if holding.token == lease.token => Some(holding),
            _ => None,
        }
    }

    /// Ends the lease and returns the bell, which is then in no line.
    fn end(&mut self, lease: &Lease) -> Option<(Arc<str>, Box<Holding>)> {
        self.holding(lease)?;
        let (id, standing) = self.bells.remove_entry(lease.bell.id.as_str())?;
        let Standing::Leased(holding) = standing else { return None };
        self.expiries.remove(&(holding.until, holding.token));
        self.lanes[holding.lane as usize].leased -= 1;
        Some((id, holding))
    }

    fn finish(&mut self, lease: &Lease) -> bool {
        let Some((id, holding)) = self.end(lease) else { return false };
        if holding.rung_again {
            self.bells.insert(id.clone(), Standing::Waiting);
            self.lanes[holding.lane as usize].push(id, holding.merchant);
        } else if self.bells.is_empty() && self.bells.capacity() > KEPT_ROOM {
            self.bells.shrink_to(KEPT_ROOM);
        }
        true
    }

    fn release(&mut self, lease: &Lease) -> bool {
        let Some((id, holding)) = self.end(lease) else { return false };
        self.bells.insert(id.clone(), Standing::Waiting);
        self.lanes[holding.lane as usize].push_front(id, holding.merchant);
        true
    }

    fn extend(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(holding) = self.holding(lease) else { return false };
        let old = (std::mem::replace(&mut holding.until, until), lease.token);
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
            if let Some(standing) = self.bells.get_mut(&id)
                && let Standing::Leased(holding) = std::mem::replace(standing, Standing::Waiting)
            {
                let line = &mut self.lanes[holding.lane as usize];
                line.leased -= 1;
                line.push_front(id, holding.merchant);
            }
        }
    }
}
