//! Chooses a route for a mail: of those that may take it now, one with the lowest priority, by weight among equals. And where
//! none may, what the mail waits for.

use std::{
    sync::{Mutex, PoisonError},
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
    turns: Mutex<Vec<Turns>>,
}

/// The turns of one route.
#[derive(Clone, Copy, Default)]
struct Turns {
    /// How far it is behind its share (smooth weighted round robin).
    behind: i64,
    /// It had its turn with a mail that then did not go: it has it with the next.
    is_kept: bool,
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
        Self { turns: Mutex::new(vec![Turns::default(); routes.len()]), routes }
    }

    /// Keeps the turn of a route that was chosen for a mail which then did not go. The mail is decided about once more, and
    /// without that it would always be another route's turn by then.
    pub(super) fn keep_turn(&self, route: usize) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)[route].is_kept = true;
    }

    /// Chooses a route by which of them may take the mail.
    pub(super) fn choose(&self, availability: impl Fn(usize) -> RouteAvailability) -> Choice {
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
            Some(best) if are_equal => Choice::Take(self.by_turns(best, availability)),
            Some(best) => Choice::Take(best),
            None => tally.verdict(),
        }
    }

    /// Whose turn it is among the routes of the priority of `first` that are free; `first` is one of them.
    fn by_turns(&self, first: usize, availability: impl Fn(usize) -> RouteAvailability) -> usize {
        let priority = self.routes[first].priority;
        let is_among = |route: &usize| {
            self.routes[*route].priority == priority && availability(*route) == RouteAvailability::Free
        };
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let among: Vec<usize> = (first..self.routes.len()).filter(is_among).collect();
        if let Some(&kept) = among.iter().find(|route| turns[**route].is_kept) {
            turns[kept].is_kept = false;
            return kept;
        }
        let (mut chosen, mut total) = (first, 0);
        for route in among {
            let weight = i64::from(self.routes[route].weight);
            turns[route].behind += weight;
            total += weight;
            if turns[route].behind > turns[chosen].behind {
                chosen = route;
            }
        }
        turns[chosen].behind -= total;
        chosen
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
            assert_eq!(chooser.choose(|route| availabilities[route]), expected, "{availabilities:?}");
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
                let Take(route) = chooser.choose(|route| availabilities[route]) else {
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
    fn a_turn_that_was_not_used_is_kept_for_the_next_mail() {
        let chooser = Chooser::new([(10, 1), (10, 3)]);
        let free = |_| Free;
        let mut times = [0; 2];
        for _ in 0..40 {
            let Take(mut route) = chooser.choose(free) else { panic!("all are free") };
            if route == 0 {
                chooser.keep_turn(route);
                let Take(again) = chooser.choose(free) else { panic!("all are free") };
                route = again;
            }
            times[route] += 1;
        }
        assert_eq!(times, [10, 30]);
    }
}
