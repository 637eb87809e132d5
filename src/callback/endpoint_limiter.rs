//! Limits how many callbacks are in flight, to each destination and in all, and pauses destinations that are
//! unavailable. In memory, for one process: it keeps one dead receiver from holding all workers. The truth stays in the
//! database.
//!
//! A delivery that finds no free permit is noted in a queue and is to be enqueued again when a permit is released. A
//! delivery to a paused destination is to be put off in the database. Neither costs an attempt.

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
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    in_flight: usize,
    destinations: HashMap<String, Destination>,
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

/// When a delivery may be sent.
pub enum Turn<'a> {
    /// At once.
    Now(Permit<'a>),
    /// Too many are in flight. Whoever releases a permit gets the deliveries to enqueue again.
    Full,
    /// The destination is paused: not before so much time has passed.
    Later(Duration),
}

/// Permission to send one callback. Dropping it releases it.
pub struct Permit<'a> {
    limiter: &'a EndpointLimiter,
    destination: String,
    is_trial: bool,
    is_released: bool,
}

impl EndpointLimiter {
    /// Allows `most` in flight in all and `most_each` to one destination.
    pub fn new(most: usize, most_each: usize) -> Self {
        Self { most: most.max(1), most_each: most_each.max(1), inner: Mutex::default() }
    }

    /// Asks for a permit to send `delivery` to `destination`.
    pub fn acquire(&self, destination: &str, delivery: Waiting, now: Instant) -> Turn<'_> {
        let mut inner = self.lock();
        inner.sweep(now);
        let Inner { in_flight, destinations, waiting, .. } = &mut *inner;
        let here = destinations.entry(destination.to_owned()).or_insert_with(|| Destination::new(now));
        here.asked_at = now;
        if let Some(pause) = here.pause.filter(|pause| pause.is_being_tried || now < pause.until) {
            let left = pause.until.saturating_duration_since(now);
            return Turn::Later(left.max(FIRST_PAUSE));
        }
        if here.in_flight >= self.most_each {
            note(&mut here.waiting, delivery);
            return Turn::Full;
        }
        if *in_flight >= self.most {
            note(waiting, delivery);
            forget_idle(destinations, destination);
            return Turn::Full;
        }
        // It may have been enqueued twice. If it stayed in a queue it would be released for nothing, and those behind it
        // would wait in vain.
        here.waiting.retain(|waiting| *waiting != delivery);
        waiting.retain(|waiting| *waiting != delivery);
        let is_trial = here.pause.is_some();
        if let Some(pause) = &mut here.pause {
            pause.is_being_tried = true;
        }
        here.in_flight += 1;
        *in_flight += 1;
        Turn::Now(Permit { limiter: self, destination: destination.to_owned(), is_trial, is_released: false })
    }

    /// Takes deliveries out of the queues for which there is room now; they are to be enqueued again. To be asked now and
    /// then: a delivery that a released permit had enqueued may have gone to another process or be settled by now, and then
    /// nobody here releases a permit for the next one.
    pub fn take_those_with_room(&self) -> Vec<Waiting> {
        let mut inner = self.lock();
        let Inner { in_flight, destinations, waiting, .. } = &mut *inner;
        let mut room = self.most.saturating_sub(*in_flight);
        let mut next: Vec<_> = waiting.drain(..room.min(waiting.len())).collect();
        room -= next.len();
        for here in destinations.values_mut() {
            let free = self.most_each.saturating_sub(here.in_flight).min(room).min(here.waiting.len());
            next.extend(here.waiting.drain(..free));
            room -= free;
        }
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

/// Forgets a destination of which nothing is worth remembering.
fn forget_idle(destinations: &mut HashMap<String, Destination>, destination: &str) {
    let is_idle = |here: &Destination| !here.is_busy() && here.failures == 0 && here.pause.is_none();
    if destinations.get(destination).is_some_and(is_idle) {
        destinations.remove(destination);
    }
}

impl Permit<'_> {
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
        let Inner { in_flight, destinations, waiting, .. } = &mut *inner;
        *in_flight = in_flight.saturating_sub(1);
        let mut next: Vec<_> = waiting.pop_front().into_iter().collect();
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

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_released {
            // The deliveries that waited are enqueued again later, because their rows are due.
            drop(self.release(None, Instant::now()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Waiting {
        (DeliveryId::new(), "tea".parse().unwrap())
    }

    fn acquire<'a>(limiter: &'a EndpointLimiter, destination: &str, now: Instant) -> Permit<'a> {
        match limiter.acquire(destination, somebody(), now) {
            Turn::Now(permit) => permit,
            Turn::Full => panic!("full"),
            Turn::Later(pause) => panic!("paused for {pause:?}"),
        }
    }

    fn pause(limiter: &EndpointLimiter, destination: &str, now: Instant) -> Option<u64> {
        match limiter.acquire(destination, somebody(), now) {
            Turn::Later(pause) => Some(pause.as_secs()),
            _ => None,
        }
    }

    #[test]
    fn a_delivery_that_was_enqueued_twice_takes_nobodys_turn() {
        let (limiter, now) = (EndpointLimiter::new(10, 1), Instant::now());
        let (called, early) = (somebody(), somebody());
        let first = acquire(&limiter, "a", now);
        for who in [&called, &early] {
            assert!(matches!(limiter.acquire("a", who.clone(), now), Turn::Full));
        }
        assert_eq!(first.used(false, now), std::slice::from_ref(&called));
        let Turn::Now(second) = limiter.acquire("a", early, now) else { panic!("no permit") };
        assert!(matches!(limiter.acquire("a", called.clone(), now), Turn::Full));
        assert_eq!(second.used(false, now), [called], "not the one that was in flight");
    }

    #[test]
    fn a_delivery_that_finds_the_limit_reached_is_returned_when_a_permit_is_released() {
        let (limiter, now) = (EndpointLimiter::new(10, 2), Instant::now());
        let (first, second, waiting) = (acquire(&limiter, "a", now), acquire(&limiter, "a", now), somebody());
        assert!(matches!(limiter.acquire("a", waiting.clone(), now), Turn::Full));
        assert!(
            matches!(limiter.acquire("a", waiting.clone(), now), Turn::Full),
            "asking twice is noted once"
        );
        let other = acquire(&limiter, "b", now);
        assert_eq!(other.used(false, now), []);
        assert_eq!(first.used(false, now), [waiting]);
        assert_eq!(second.unused(), []);
        assert!(limiter.lock().destinations.is_empty());
    }

    #[test]
    fn a_delivery_that_went_to_another_process_keeps_nobody_waiting() {
        let (limiter, now) = (EndpointLimiter::new(10, 2), Instant::now());
        let (first, second) = (acquire(&limiter, "a", now), acquire(&limiter, "a", now));
        let waiting = [somebody(), somebody(), somebody(), somebody()];
        for delivery in &waiting {
            assert!(matches!(limiter.acquire("a", delivery.clone(), now), Turn::Full));
        }
        assert_eq!(limiter.take_those_with_room(), [], "all permits are in use");
        assert_eq!(first.used(false, now), waiting[..1]);
        assert_eq!(second.used(false, now), waiting[1..2]);
        // Neither comes back to this process.
        assert_eq!(limiter.take_those_with_room(), waiting[2..]);
        assert_eq!(limiter.take_those_with_room(), []);
    }

    #[test]
    fn one_destination_does_not_take_every_permit() {
        let (limiter, now) = (EndpointLimiter::new(3, 2), Instant::now());
        let _hanging = (acquire(&limiter, "dead", now), acquire(&limiter, "dead", now));
        assert!(matches!(limiter.acquire("dead", somebody(), now), Turn::Full));
        let (last, waiting) = (acquire(&limiter, "b", now), somebody());
        assert!(matches!(limiter.acquire("c", waiting.clone(), now), Turn::Full));
        assert_eq!(last.used(false, now), [waiting]);
    }

    #[test]
    fn an_unavailable_destination_gets_a_pause_that_doubles_and_one_trial_at_a_time() {
        let (limiter, mut now) = (EndpointLimiter::new(10, 10), Instant::now());
        let together: Vec<_> = (0..5).map(|_| acquire(&limiter, "dead", now)).collect();
        together.into_iter().for_each(|permit| drop(permit.used(true, now)));
        assert_eq!(pause(&limiter, "dead", now), Some(5), "failures at the same time count once");
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            now += LONGEST_PAUSE;
            let trial = acquire(&limiter, "dead", now);
            assert_eq!(pause(&limiter, "dead", now), Some(5), "one at a time");
            trial.used(true, now);
            assert_eq!(pause(&limiter, "dead", now), Some(seconds));
        }
        assert_eq!(pause(&limiter, "alive", now), None);
        now += LONGEST_PAUSE;
        drop(acquire(&limiter, "dead", now));
        acquire(&limiter, "dead", now).used(false, now);
        let _back = (acquire(&limiter, "dead", now), acquire(&limiter, "dead", now));
    }

    #[test]
    fn destinations_that_failed_are_forgotten_in_the_end() {
        let (limiter, mut now) = (EndpointLimiter::new(10, 10), Instant::now());
        for number in 0..500 {
            acquire(&limiter, &format!("shaky {number}"), now).used(true, now);
        }
        let hanging = acquire(&limiter, "hangs", now);
        assert_eq!(limiter.lock().destinations.len(), 501);
        now += FORGOTTEN;
        drop(acquire(&limiter, "alive", now).used(false, now));
        assert_eq!(
            limiter.lock().destinations.keys().collect::<Vec<_>>(),
            ["hangs"],
            "a callback to it is in flight"
        );
        drop(hanging.used(false, now));
        assert!(limiter.lock().destinations.is_empty());
    }

    #[test]
    fn no_more_destinations_are_remembered_than_there_is_room_for() {
        let (limiter, now) = (EndpointLimiter::new(10, 10), Instant::now());
        for number in 0..MOST + 10 {
            acquire(&limiter, &format!("shaky {number}"), now).used(true, now);
        }
        assert!(limiter.lock().destinations.len() <= MOST);
    }

    #[test]
    fn a_success_between_failures_prevents_a_pause() {
        let (limiter, now) = (EndpointLimiter::new(10, 10), Instant::now());
        for is_unavailable in [true, true, false, true, true] {
            acquire(&limiter, "shaky", now).used(is_unavailable, now);
        }
        assert_eq!(pause(&limiter, "shaky", now), None);
    }
}
