//! Limits how many callbacks are in flight, to each destination, of each merchant and in all, and pauses destinations that
//! are unavailable. In memory, for one process: it keeps one dead receiver, and one merchant with many slow ones, from
//! holding all workers. The truth stays in the database.
//!
//! A delivery that finds no free permit is noted in a queue and is to be enqueued again when a permit is released. A
//! delivery to a paused destination is to be put off in the database. Neither costs an attempt.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::mail::{DeliveryId, MerchantId};

/// Failures in a row after which a destination counts as unavailable.
const FAILURES: u32 = 3;
/// The first pause; each trial that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The most deliveries that wait in one queue. One that finds no room is enqueued again a minute later, because its row
/// is due.
const MOST_WAITING: usize = 1_000;

/// A destination is forgotten when nothing was sent to it for so long: longer than any pause.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Between two searches for destinations to forget.
const SWEEP: Duration = Duration::from_secs(60);
/// The most destinations that are remembered; beyond that, idle ones are forgotten at once.
const MOST: usize = 10_000;

/// A delivery that waits for a permit, and what it takes to enqueue it again.
pub type Waiting = (DeliveryId, MerchantId);

/// Counts the callbacks in flight.
pub struct EndpointLimiter {
    most: usize,
    most_each: usize,
    most_of_merchant: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    in_flight: usize,
    destinations: HashMap<String, Destination>,
    /// Those with something in flight or waiting.
    merchants: HashMap<MerchantId, Share>,
    /// Deliveries that found the limit in all reached.
    waiting: VecDeque<Waiting>,
    swept_at: Option<Instant>,
}

impl Inner {
    /// Forgets destinations that were not asked for lately; called by each request for a permit, it acts once a minute.
    fn sweep(&mut self, now: Instant) {
        let is_full = self.destinations.len() >= MOST;
        let swept_at = *self.swept_at.get_or_insert(now);
        if now.saturating_duration_since(swept_at) < SWEEP && !is_full {
            return;
        }
        self.swept_at = Some(now);
        self.destinations.retain(|_, destination| {
            let age = now.saturating_duration_since(destination.asked_at);
            destination.is_busy() || (!is_full && age < FORGOTTEN)
        });
    }
}

/// What one merchant has of the limit in all.
#[derive(Default)]
struct Share {
    in_flight: usize,
    /// Deliveries that found it used up.
    waiting: VecDeque<Waiting>,
}

struct Destination {
    asked_at: Instant,
    in_flight: usize,
    /// Deliveries that found the limit of this destination reached.
    waiting: VecDeque<Waiting>,
    failures: u32,
    pause: Option<Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
    is_being_tried: bool,
}

/// Whether a delivery may be sent.
pub enum CallbackAdmission<'a> {
    /// At once.
    Now(CallbackPermit<'a>),
    /// Too many are in flight. Whoever releases a permit gets the deliveries to enqueue again.
    Full,
    /// The destination is paused: not before so much time has passed.
    Later(Duration),
}

/// Permission to send one callback. Dropping it releases it.
pub struct CallbackPermit<'a> {
    limiter: &'a EndpointLimiter,
    destination: String,
    merchant: MerchantId,
    is_trial: bool,
    is_released: bool,
}

impl EndpointLimiter {
    /// Allows `most` in flight in all, `most_each` to one destination, and half of all to those of one merchant; in any case
    /// those to two of them, so that one that hangs leaves room for another one.
    pub fn new(most: usize, most_each: usize) -> Self {
        let (most, most_each) = (most.max(1), most_each.max(1));
        let most_of_merchant = most.div_ceil(2).max(2 * most_each).min(most);
        Self { most, most_each, most_of_merchant, inner: Mutex::default() }
    }

    /// Asks for a permit to send `delivery` to `destination`.
    pub fn acquire(&self, destination: &str, delivery: Waiting, now: Instant) -> CallbackAdmission<'_> {
        let mut inner = self.lock();
        inner.sweep(now);
        let Inner { in_flight, destinations, merchants, waiting, .. } = &mut *inner;
        let here = destinations.entry(destination.to_owned()).or_insert_with(|| Destination::new(now));
        here.asked_at = now;
        if let Some(pause) = here.pause.filter(|pause| pause.is_being_tried || now < pause.until) {
            let left = pause.until.saturating_duration_since(now);
            return CallbackAdmission::Later(left.max(FIRST_PAUSE));
        }
        if here.in_flight >= self.most_each {
            note(&mut here.waiting, delivery);
            return CallbackAdmission::Full;
        }
        let of_merchant = merchants.entry(delivery.1.clone()).or_default();
        let queue = if of_merchant.in_flight >= self.most_of_merchant {
            Some(&mut of_merchant.waiting)
        } else {
            (*in_flight >= self.most).then_some(&mut *waiting)
        };
        if let Some(queue) = queue {
            note(queue, delivery.clone());
            forget_share(merchants, &delivery.1);
            forget_idle(destinations, destination);
            return CallbackAdmission::Full;
        }
        // It may have been enqueued twice. If it stayed in a queue it would be released for nothing, and those behind it
        // would wait in vain.
        for queue in [&mut here.waiting, &mut of_merchant.waiting, waiting] {
            queue.retain(|waiting| *waiting != delivery);
        }
        let is_trial = here.pause.is_some();
        if let Some(pause) = &mut here.pause {
            pause.is_being_tried = true;
        }
        for count in [&mut here.in_flight, &mut of_merchant.in_flight, in_flight] {
            *count += 1;
        }
        let (destination, (_, merchant)) = (destination.to_owned(), delivery);
        CallbackAdmission::Now(CallbackPermit {
            limiter: self,
            destination,
            merchant,
            is_trial,
            is_released: false,
        })
    }

    /// Takes deliveries out of the queues for which there is room now; they are to be enqueued again. To be asked now and
    /// then: a delivery that a released permit had enqueued may have gone to another process or be settled by now, and then
    /// nobody here releases a permit for the next one.
    pub fn take_those_with_room(&self) -> Vec<Waiting> {
        let mut inner = self.lock();
        let Inner { in_flight, destinations, merchants, waiting, .. } = &mut *inner;
        let (mut room, mut next) = (self.most.saturating_sub(*in_flight), Vec::new());
        let mut take = |waiting: &mut VecDeque<Waiting>, free: usize| {
            let free = free.min(room).min(waiting.len());
            next.extend(waiting.drain(..free));
            room -= free;
        };
        take(waiting, usize::MAX);
        for of_merchant in merchants.values_mut() {
            take(&mut of_merchant.waiting, self.most_of_merchant.saturating_sub(of_merchant.in_flight));
        }
        for here in destinations.values_mut() {
            take(&mut here.waiting, self.most_each.saturating_sub(here.in_flight));
        }
        merchants.retain(|_, of_merchant| of_merchant.is_busy());
        next
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(waiting: &mut VecDeque<Waiting>, delivery: Waiting) {
    if waiting.len() < MOST_WAITING && !waiting.contains(&delivery) {
        waiting.push_back(delivery);
    }
}

/// Forgets a merchant that has nothing in flight and nothing waiting.
fn forget_share(merchants: &mut HashMap<MerchantId, Share>, merchant: &MerchantId) {
    if merchants.get(merchant).is_some_and(|of_merchant| !of_merchant.is_busy()) {
        merchants.remove(merchant);
    }
}

/// Forgets a destination of which nothing is worth remembering.
fn forget_idle(destinations: &mut HashMap<String, Destination>, destination: &str) {
    let is_idle = |here: &Destination| !here.is_busy() && here.failures == 0 && here.pause.is_none();
    if destinations.get(destination).is_some_and(is_idle) {
        destinations.remove(destination);
    }
}

impl CallbackPermit<'_> {
    /// Releases it when nothing was sent after all. Returns the deliveries to enqueue again.
    pub fn unused(mut self) -> Vec<Waiting> {
        self.release(None, Instant::now())
    }

    /// Releases it after the destination answered, whatever it said, or `is_unavailable`. Returns the deliveries to
    /// enqueue again.
    pub fn used(mut self, is_unavailable: bool, now: Instant) -> Vec<Waiting> {
        self.release(Some(is_unavailable), now)
    }

    fn release(&mut self, is_unavailable: Option<bool>, now: Instant) -> Vec<Waiting> {
        self.is_released = true;
        let mut inner = self.limiter.lock();
        let Inner { in_flight, destinations, merchants, waiting, .. } = &mut *inner;
        *in_flight = in_flight.saturating_sub(1);
        let mut next: Vec<_> = waiting.pop_front().into_iter().collect();
        if let Some(of_merchant) = merchants.get_mut(&self.merchant) {
            of_merchant.in_flight = of_merchant.in_flight.saturating_sub(1);
            next.extend(of_merchant.waiting.pop_front());
        }
        forget_share(merchants, &self.merchant);
        if let Some(here) = destinations.get_mut(&self.destination) {
            here.in_flight = here.in_flight.saturating_sub(1);
            here.note(is_unavailable, self.is_trial, now);
            next.extend(here.waiting.pop_front());
            if here.pause.is_some() {
                here.waiting.clear(); // the one that is enqueued finds the pause and puts all of them off
            }
        }
        forget_idle(destinations, &self.destination);
        next
    }
}

impl Drop for CallbackPermit<'_> {
    fn drop(&mut self) {
        if !self.is_released {
            // The deliveries that waited are enqueued again later, because their rows are due.
            drop(self.release(None, Instant::now()));
        }
    }
}

impl Share {
    fn is_busy(&self) -> bool {
        self.in_flight > 0 || !self.waiting.is_empty()
    }
}

impl Destination {
    fn new(now: Instant) -> Self {
        Self { asked_at: now, in_flight: 0, waiting: VecDeque::new(), failures: 0, pause: None }
    }

    fn is_busy(&self) -> bool {
        self.in_flight > 0 || !self.waiting.is_empty()
    }

    fn note(&mut self, is_unavailable: Option<bool>, is_trial: bool, now: Instant) {
        match (is_unavailable, &mut self.pause) {
            (Some(false), _) => {
                self.failures = 0;
                self.pause = None;
            }
            (None, Some(pause)) if is_trial => pause.is_being_tried = false,
            (Some(true), Some(pause)) if is_trial => {
                let length = (pause.length * 2).min(LONGEST_PAUSE);
                *pause = Pause { length, until: now + length, is_being_tried: false };
            }
            // Of several that failed at the same time, those that come after the pause began do not count.
            (None, _) | (Some(true), Some(_)) => {}
            (Some(true), None) => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    let length = FIRST_PAUSE;
                    self.pause = Some(Pause { length, until: now + length, is_being_tried: false });
                }
            }
        }
    }
}
