//! How many callbacks are under way, to each destination and in all, and a pause for destinations that are away. In
//! memory, for one process: it keeps one dead receiver from holding all workers; the truth stays in the database.
//!
//! Whoever finds the gate full is noted in a line, and its bell is to be rung again when somebody leaves. Whoever finds
//! it shut is to be put off in the database. Neither costs an attempt.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::mail::{DeliveryId, MerchantId};

/// Failures in a row after which a destination is taken for away.
const FAILURES: u32 = 3;
/// The first pause; each trial that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The most that wait in one line. Who finds no room is rung for by the waker, a minute later.
const LINE: usize = 1_000;

/// A destination is forgotten when nothing was sent to it for so long: longer than any pause.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Between two looks for destinations to forget.
const SWEEP: Duration = Duration::from_secs(60);
/// The most destinations that are remembered; beyond that those that nothing is under way to are forgotten at once.
const MOST: usize = 10_000;

/// Who waits, for ringing its bell.
pub type Waiting = (DeliveryId, MerchantId);

/// Counts who is inside.
pub struct Gate {
    most: usize,
    most_each: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    inside: usize,
    destinations: HashMap<String, Destination>,
    /// Those who found the whole gate full.
    line: VecDeque<Waiting>,
    swept_at: Option<Instant>,
}

impl Inner {
    /// Forgets destinations that were not asked for lately; it comes by itself once in a while.
    fn sweep(&mut self, now: Instant) {
        let is_full = self.destinations.len() >= MOST;
        let swept_at = *self.swept_at.get_or_insert(now);
        if now.saturating_duration_since(swept_at) < SWEEP && !is_full {
            return;
        }
        self.swept_at = Some(now);
        self.destinations.retain(|_, place| {
            let age = now.saturating_duration_since(place.asked_at);
            place.is_busy() || (!is_full && age < FORGOTTEN)
        });
    }
}

struct Destination {
    asked_at: Instant,
    inside: usize,
    /// Those who found the destination full.
    line: VecDeque<Waiting>,
    failures: u32,
    away: Option<Away>,
}

#[derive(Clone, Copy)]
struct Away {
    pause: Duration,
    until: Instant,
    is_being_tried: bool,
}

/// What somebody finds at the gate.
pub enum Door<'a> {
    /// Go ahead.
    Open(Pass<'a>),
    /// Too many are inside; whoever leaves says whose turn it is.
    Full,
    /// The destination is away: not before so much time has passed.
    Shut(Duration),
}

/// Leave to send one callback. Dropped without a word it makes room.
pub struct Pass<'a> {
    gate: &'a Gate,
    destination: String,
    is_trial: bool,
    is_out: bool,
}

impl Gate {
    /// A gate for `most` in all and `most_each` to one destination.
    pub fn new(most: usize, most_each: usize) -> Self {
        Self { most: most.max(1), most_each: most_each.max(1), inner: Mutex::default() }
    }

    /// Asks for a place at `destination`.
    pub fn enter(&self, destination: &str, who: Waiting, now: Instant) -> Door<'_> {
        let mut inner = self.lock();
        inner.sweep(now);
        let Inner { inside, destinations, line, .. } = &mut *inner;
        let place = destinations.entry(destination.to_owned()).or_insert_with(|| Destination::new(now));
        place.asked_at = now;
        if let Some(away) = place.away.filter(|away| away.is_being_tried || now < away.until) {
            let left = away.until.saturating_duration_since(now);
            return Door::Shut(left.max(FIRST_PAUSE));
        }
        if place.inside >= self.most_each {
            note(&mut place.line, who);
            return Door::Full;
        }
        if *inside >= self.most {
            note(line, who);
            forget_idle(destinations, destination);
            return Door::Full;
        }
        // Its bell rang twice: called once more it would have nothing to do, and those behind it would wait in vain.
        place.line.retain(|waiting| *waiting != who);
        line.retain(|waiting| *waiting != who);
        let is_trial = place.away.is_some();
        if let Some(away) = &mut place.away {
            away.is_being_tried = true;
        }
        place.inside += 1;
        *inside += 1;
        Door::Open(Pass { gate: self, destination: destination.to_owned(), is_trial, is_out: false })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(line: &mut VecDeque<Waiting>, who: Waiting) {
    if line.len() < LINE && !line.contains(&who) {
        line.push_back(who);
    }
}

/// Forgets a destination that there is nothing to say of.
fn forget_idle(destinations: &mut HashMap<String, Destination>, destination: &str) {
    let is_idle = |place: &Destination| !place.is_busy() && place.failures == 0 && place.away.is_none();
    if destinations.get(destination).is_some_and(is_idle) {
        destinations.remove(destination);
    }
}

impl Pass<'_> {
    /// Nothing was sent after all. Returns whose turn it is.
    pub fn unused(mut self) -> Vec<Waiting> {
        self.go_out(None, Instant::now())
    }

    /// The destination answered, whatever it said, or it `is_away`. Returns whose turn it is.
    pub fn used(mut self, is_away: bool, now: Instant) -> Vec<Waiting> {
        self.go_out(Some(is_away), now)
    }

    fn go_out(&mut self, is_away: Option<bool>, now: Instant) -> Vec<Waiting> {
        self.is_out = true;
        let mut inner = self.gate.lock();
        let Inner { inside, destinations, line, .. } = &mut *inner;
        *inside = inside.saturating_sub(1);
        let mut next: Vec<_> = line.pop_front().into_iter().collect();
        if let Some(place) = destinations.get_mut(&self.destination) {
            place.inside = place.inside.saturating_sub(1);
            place.note(is_away, self.is_trial, now);
            next.extend(place.line.pop_front());
            if place.away.is_some() {
                place.line.clear(); // the one that is called finds the door shut and puts all of them off
            }
        }
        forget_idle(destinations, &self.destination);
        next
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_out {
            // Who waited is rung for by the waker.
            drop(self.go_out(None, Instant::now()));
        }
    }
}

impl Destination {
    fn new(now: Instant) -> Self {
        Self { asked_at: now, inside: 0, line: VecDeque::new(), failures: 0, away: None }
    }

    fn is_busy(&self) -> bool {
        self.inside > 0 || !self.line.is_empty()
    }

    fn note(&mut self, is_away: Option<bool>, is_trial: bool, now: Instant) {
        match (is_away, &mut self.away) {
            (Some(false), _) => {
                self.failures = 0;
                self.away = None;
            }
            (None, Some(away)) if is_trial => away.is_being_tried = false,
            (Some(true), Some(away)) if is_trial => {
                let pause = (away.pause * 2).min(LONGEST_PAUSE);
                *away = Away { pause, until: now + pause, is_being_tried: false };
            }
            // Of several that failed at the same time, those that come after the door was shut do not count.
            (None, _) | (Some(true), Some(_)) => {}
            (Some(true), None) => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    let pause = FIRST_PAUSE;
                    self.away = Some(Away { pause, until: now + pause, is_being_tried: false });
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

    fn enter<'a>(gate: &'a Gate, destination: &str, now: Instant) -> Pass<'a> {
        match gate.enter(destination, somebody(), now) {
            Door::Open(pass) => pass,
            Door::Full => panic!("full"),
            Door::Shut(pause) => panic!("shut for {pause:?}"),
        }
    }

    fn pause(gate: &Gate, destination: &str, now: Instant) -> Option<u64> {
        match gate.enter(destination, somebody(), now) {
            Door::Shut(pause) => Some(pause.as_secs()),
            _ => None,
        }
    }

    #[test]
    fn whoever_came_in_by_another_bell_is_not_called_in_the_place_of_others() {
        let (gate, now) = (Gate::new(10, 1), Instant::now());
        let (called, early) = (somebody(), somebody());
        let first = enter(&gate, "a", now);
        for who in [&called, &early] {
            assert!(matches!(gate.enter("a", who.clone(), now), Door::Full));
        }
        assert_eq!(first.used(false, now), std::slice::from_ref(&called));
        let Door::Open(second) = gate.enter("a", early, now) else { panic!("not open") };
        assert!(matches!(gate.enter("a", called.clone(), now), Door::Full));
        assert_eq!(second.used(false, now), [called], "not the one that was inside");
    }

    #[test]
    fn whoever_finds_it_full_is_called_when_somebody_leaves() {
        let (gate, now) = (Gate::new(10, 2), Instant::now());
        let (first, second, waiting) = (enter(&gate, "a", now), enter(&gate, "a", now), somebody());
        assert!(matches!(gate.enter("a", waiting.clone(), now), Door::Full));
        assert!(matches!(gate.enter("a", waiting.clone(), now), Door::Full), "asking twice is noted once");
        let other = enter(&gate, "b", now);
        assert_eq!(other.used(false, now), []);
        assert_eq!(first.used(false, now), [waiting]);
        assert_eq!(second.unused(), []);
        assert!(gate.lock().destinations.is_empty());
    }

    #[test]
    fn one_destination_does_not_take_every_place() {
        let (gate, now) = (Gate::new(3, 2), Instant::now());
        let _hanging = (enter(&gate, "dead", now), enter(&gate, "dead", now));
        assert!(matches!(gate.enter("dead", somebody(), now), Door::Full));
        let (last, waiting) = (enter(&gate, "b", now), somebody());
        assert!(matches!(gate.enter("c", waiting.clone(), now), Door::Full));
        assert_eq!(last.used(false, now), [waiting]);
    }

    #[test]
    fn a_destination_that_is_away_gets_a_pause_that_doubles_and_one_trial_at_a_time() {
        let (gate, mut now) = (Gate::new(10, 10), Instant::now());
        let together: Vec<_> = (0..5).map(|_| enter(&gate, "dead", now)).collect();
        together.into_iter().for_each(|pass| drop(pass.used(true, now)));
        assert_eq!(pause(&gate, "dead", now), Some(5), "failures at the same time count once");
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            now += LONGEST_PAUSE;
            let trial = enter(&gate, "dead", now);
            assert_eq!(pause(&gate, "dead", now), Some(5), "one at a time");
            trial.used(true, now);
            assert_eq!(pause(&gate, "dead", now), Some(seconds));
        }
        assert_eq!(pause(&gate, "alive", now), None);
        now += LONGEST_PAUSE;
        drop(enter(&gate, "dead", now));
        enter(&gate, "dead", now).used(false, now);
        let _back = (enter(&gate, "dead", now), enter(&gate, "dead", now));
    }

    #[test]
    fn destinations_that_failed_are_forgotten_in_the_end() {
        let (gate, mut now) = (Gate::new(10, 10), Instant::now());
        for number in 0..500 {
            enter(&gate, &format!("shaky {number}"), now).used(true, now);
        }
        let hanging = enter(&gate, "hangs", now);
        assert_eq!(gate.lock().destinations.len(), 501);
        now += FORGOTTEN;
        drop(enter(&gate, "alive", now).used(false, now));
        assert_eq!(
            gate.lock().destinations.keys().collect::<Vec<_>>(),
            ["hangs"],
            "something is under way to it"
        );
        drop(hanging.used(false, now));
        assert!(gate.lock().destinations.is_empty());
    }

    #[test]
    fn no_more_destinations_are_remembered_than_there_is_room_for() {
        let (gate, now) = (Gate::new(10, 10), Instant::now());
        for number in 0..MOST + 10 {
            enter(&gate, &format!("shaky {number}"), now).used(true, now);
        }
        assert!(gate.lock().destinations.len() <= MOST);
    }

    #[test]
    fn a_success_between_failures_keeps_the_door_open() {
        let (gate, now) = (Gate::new(10, 10), Instant::now());
        for is_away in [true, true, false, true, true] {
            enter(&gate, "shaky", now).used(is_away, now);
        }
        assert_eq!(pause(&gate, "shaky", now), None);
    }
}
