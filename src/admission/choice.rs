//! Chooses a route for a mail: of those that may take it now, one with the lowest priority, by weight among equals. And where
//! none may, what the mail waits for.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Whether a route may take a mail, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteAvailability {
    /// It does not take such mails.
    NotForIt,
    /// An operator drained it.
    Drained,
    /// An operator paused it.
    Paused,
    /// Its relay is away, or refuses us, for this long.
    Away(Duration),
    /// Its relay takes nothing from the mail's sender for this long.
    RefusesSender(Duration),
    /// It has no free connection.
    Full,
    /// Its rate is used up.
    NoRate,
    /// It may take it now.
    Free,
}

/// What comes of it. Routes are named by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The mail goes over this route.
    Take(usize),
    /// No route may take it, now or later; this one would, if it were not drained.
    NoRoute(Option<usize>),
    /// It waits for the end of a pause of this route.
    Paused(usize),
    /// It waits for this relay, for this long.
    Away(usize, Duration),
    /// It waits until a relay may take its sender again, for this long.
    RefusesSender(Duration),
    /// It waits for a connection of this route.
    NoConnection(usize),
    /// It waits for the rate of this route.
    Rate(usize),
}

/// The order of preference among routes, and whose turn it is among equals.
pub(super) struct Chooser {
    routes: Vec<Share>,
    /// How far each route is behind its share (smooth weighted round robin).
    behind: Mutex<Vec<i64>>,
}

/// The turn that a route had among equals with a mail. Where the mail then does not go it is [given back](Chooser::give_back).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    chosen: usize,
    /// Those that were free. None where there was only one.
    among: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Share {
    priority: u32,
    weight: u32,
}

impl Chooser {
    /// For routes with these priorities and weights.
    pub(super) fn new(routes: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let routes: Vec<_> =
            routes.into_iter().map(|(priority, weight)| Share { priority, weight }).collect();
        Self { behind: Mutex::new(vec![0; routes.len()]), routes }
    }

    /// Gives back the turn of a mail that did not go: as if it had never been decided about. It is decided about once more, and
    /// without that it would always be another route's turn by then.
    pub(super) fn give_back(&self, turn: Turn) {
        self.move_on(&mut self.behind(), &turn, -1);
    }

    fn behind(&self) -> MutexGuard<'_, Vec<i64>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a turn, or takes it back.
    fn move_on(&self, behind: &mut [i64], turn: &Turn, sign: i64) {
        for &route in &turn.among {
            let weight = i64::from(self.routes[route].weight) * sign;
            behind[route] += weight;
            behind[turn.chosen] -= weight;
        }
    }

    /// Chooses a route by which of them may take the mail, and says which turn that takes.
    pub(super) fn choose(&self, availability: impl Fn(usize) -> RouteAvailability) -> (Choice, Turn) {
        let mut tally = Tally::default();
        let mut best: Option<usize> = None;
        let mut are_equal = false;
        for route in 0..self.routes.len() {
            let available = availability(route);
            tally.note(self, route, available);
            if available != RouteAvailability::Free {
                continue;
            }
            match best.map(|best| self.routes[route].priority.cmp(&self.routes[best].priority)) {
                None | Some(std::cmp::Ordering::Less) => (best, are_equal) = (Some(route), false),
                Some(std::cmp::Ordering::Equal) => are_equal = true,
                Some(std::cmp::Ordering::Greater) => {}
            }
        }
        match best {
            Some(best) if are_equal => {
                let turn = self.by_turns(best, availability);
                (Choice::Take(turn.chosen), turn)
            }
            Some(best) => (Choice::Take(best), Turn::default()),
            None => (tally.verdict(), Turn::default()),
        }
    }

    /// Whose turn it is among the routes of the priority of `first` that are free; `first` is one of them.
    fn by_turns(&self, first: usize, availability: impl Fn(usize) -> RouteAvailability) -> Turn {
        let priority = self.routes[first].priority;
        let is_among = |route: &usize| {
            self.routes[*route].priority == priority && availability(*route) == RouteAvailability::Free
        };
        let mut behind = self.behind();
        let among: Vec<usize> = (first..self.routes.len()).filter(is_among).collect();
        let with_its_share = |route: usize| behind[route] + i64::from(self.routes[route].weight);
        let further_behind = |chosen: usize, route: usize| {
            if with_its_share(route) > with_its_share(chosen) { route } else { chosen }
        };
        let turn = Turn { chosen: among.iter().copied().fold(first, further_behind), among };
        self.move_on(&mut behind, &turn, 1);
        turn
    }
}

/// Of the routes that take such mails, the first of each kind, by priority.
#[derive(Default)]
struct Tally {
    drained: Option<usize>,
    paused: Option<usize>,
    away: Option<(usize, Duration)>,
    refuses_sender: Option<Duration>,
    full: Option<usize>,
    no_rate: Option<usize>,
}

impl Tally {
    fn note(&mut self, chooser: &Chooser, route: usize, available: RouteAvailability) {
        let first = |known: &mut Option<usize>| {
            let is_first =
                known.is_none_or(|known| chooser.routes[route].priority < chooser.routes[known].priority);
            if is_first {
                *known = Some(route);
            }
        };
        match available {
            RouteAvailability::NotForIt | RouteAvailability::Free => {}
            RouteAvailability::Drained => first(&mut self.drained),
            RouteAvailability::Paused => first(&mut self.paused),
            RouteAvailability::Full => first(&mut self.full),
            RouteAvailability::NoRate => first(&mut self.no_rate),
            RouteAvailability::RefusesSender(pause) => {
                self.refuses_sender = Some(self.refuses_sender.map_or(pause, |known| known.min(pause)));
            }
            RouteAvailability::Away(pause) => {
                if self.away.is_none_or(|(_, known)| pause < known) {
                    self.away = Some((route, pause));
                }
            }
        }
    }

    /// What is over soonest is waited for: a connection comes free before a rate, and that before a relay is back.
    fn verdict(self) -> Choice {
        match self {
            Self { full: Some(route), .. } => Choice::NoConnection(route),
            Self { no_rate: Some(route), .. } => Choice::Rate(route),
            Self { refuses_sender: Some(pause), away, .. }
                if away.is_none_or(|(_, other)| pause <= other) =>
            {
                Choice::RefusesSender(pause)
            }
            Self { away: Some((route, pause)), .. } => Choice::Away(route, pause),
            Self { paused: Some(route), .. } => Choice::Paused(route),
            Self { drained, .. } => Choice::NoRoute(drained),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Choice::{NoConnection, NoRoute, Rate, Take},
        RouteAvailability::{Away, Drained, Free, Full, NoRate, NotForIt, Paused, RefusesSender},
        *,
    };

    #[test]
    fn the_first_that_may_take_a_mail_takes_it_and_else_we_know_what_it_waits_for() {
        const S: Duration = Duration::from_secs(1);
        const M: Duration = Duration::from_secs(60);
        // The second is preferred to the first and the third.
        let chooser = Chooser::new([(10, 1), (5, 1), (20, 1)]);
        for (availabilities, expected) in [
            ([Free, Free, Free], Take(1)),
            ([Free, Full, Free], Take(0)),
            ([Free, Away(S), Free], Take(0)),
            ([Free, Drained, Free], Take(0)),
            ([Free, Paused, Free], Take(0)),
            ([Free, NoRate, Free], Take(0)),
            ([NotForIt, NotForIt, Free], Take(2)),
            ([NotForIt, NotForIt, NotForIt], NoRoute(None)),
            ([NotForIt, Drained, NotForIt], NoRoute(Some(1))),
            ([Drained, Drained, NotForIt], NoRoute(Some(1))),
            ([Drained, Away(M), Away(S)], away(2, S)),
            ([Away(S), Away(M), NotForIt], away(0, S)),
            ([Full, Full, Away(S)], NoConnection(1)),
            ([Full, NoRate, Away(S)], NoConnection(0)),
            ([NoRate, NoRate, Away(S)], Rate(1)),
            ([Paused, Paused, Drained], paused(1)),
            ([Paused, Away(S), Drained], away(1, S)),
            ([Free, RefusesSender(S), NotForIt], Take(0)),
            ([RefusesSender(M), RefusesSender(S), Away(M)], Choice::RefusesSender(S)),
            ([RefusesSender(M), Away(S), Drained], away(1, S)),
            ([RefusesSender(M), Full, NotForIt], NoConnection(1)),
        ] {
            assert_eq!(chooser.choose(|route| availabilities[route]).0, expected, "{availabilities:?}");
        }
    }

    fn away(route: usize, pause: Duration) -> Choice {
        Choice::Away(route, pause)
    }

    fn paused(route: usize) -> Choice {
        Choice::Paused(route)
    }

    #[test]
    fn equals_share_by_weight_and_take_turns() {
        let chooser = Chooser::new([(10, 1), (10, 3), (10, 4)]);
        let turns = |availabilities: [RouteAvailability; 3], number: usize| {
            let mut times = [0; 3];
            for _ in 0..number {
                let (Take(route), _) = chooser.choose(|route| availabilities[route]) else {
                    panic!("all are free")
                };
                times[route] += 1;
            }
            times
        };
        assert_eq!(turns([Free, Free, NotForIt], 40), [10, 30, 0]);
        assert_eq!(turns([Free, Free, Free], 80), [10, 30, 40]);
        assert_eq!(turns([Free, Full, NotForIt], 5), [5, 0, 0]);
        assert!(turns([Free, Free, NotForIt], 4)[0] <= 2, "nothing is made up for later");
        let once: Vec<_> = (0..4).map(|_| turns([Free, Free, NotForIt], 1)[1]).collect();
        assert_eq!(once.iter().sum::<i32>(), 3, "{once:?}");
    }

    #[test]
    fn a_turn_that_was_not_used_is_given_back_and_comes_again() {
        let chooser = Chooser::new([(10, 1), (10, 3), (10, 9)]);
        let among = |free: [bool; 3]| {
            let (Take(route), turn) = chooser.choose(|route| if free[route] { Free } else { Full }) else {
                panic!("one is free")
            };
            (route, turn)
        };
        let mut times = [0; 3];
        for number in 0..130 {
            // Others are decided about meanwhile and do not go either.
            let (first, turn) = among([true; 3]);
            let (_, other) = among([true, true, number % 3 == 0]);
            chooser.give_back(turn);
            chooser.give_back(other);
            let (again, _) = among([true; 3]);
            assert_eq!(first, again);
            times[again] += 1;
        }
        assert_eq!(times, [10, 30, 90]);
    }
}
