//! One allowance: takes, and gives back what was taken and not used.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};

use super::{Rate, requests};

/// An allowance that fills up again at an even pace, up to its burst.
pub struct Limit<C: Clock = DefaultClock> {
    clock: C,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    burst: u32,
    /// From one to the next.
    each: Duration,
    given_back: Mutex<GivenBack>,
}

/// What governor counts as used although it was not.
struct GivenBack {
    count: u32,
}

impl Limit {
    /// A limit of this rate; its burst is what comes in a second.
    pub fn of(rate: Rate) -> Self {
        Self::new(requests::quota(rate), DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limit<C> {
    pub(super) fn new(quota: Quota, clock: C) -> Self {
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware(),
            clock,
            burst: quota.burst_size().get(),
            each: quota.replenish_interval(),
            given_back: Mutex::new(GivenBack { count: 0 }),
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self) -> Result<(), Duration> {
        let mut given_back = self.given_back();
        let now = self.clock.now();
        match self.limiter.check() {
            Ok(left) => {
                // What is left and what was given back are never more than a burst together.
                let before = left.remaining_burst_capacity().saturating_add(1);
                given_back.count = given_back.count.min(self.burst.saturating_sub(before));
                Ok(())
            }
            Err(_) if given_back.count > 0 => {
                given_back.count -= 1;
                Ok(())
            }
            Err(not_until) => Err(not_until.wait_time_from(now)),
        }
    }

    /// Takes up to `most` and returns how many, and if that is less, how long until there is one more.
    pub fn take_up_to(&self, most: usize) -> (usize, Option<Duration>) {
        for taken in 0..most {
            if let Err(wait) = self.take() {
                return (taken, Some(wait));
            }
        }
        (most, None)
    }

    /// Gives back what was taken `ago` and not used. What is [too old](Limit::good_for) is lost: meanwhile the allowance
    /// may have been whole without it.
    pub fn give_back(&self, count: usize, ago: Duration) {
        if ago < self.good_for() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let mut given_back = self.given_back();
            given_back.count = given_back.count.saturating_add(count).min(self.burst);
        }
    }

    /// How long one that was taken may be used: as long as the whole allowance takes to fill up.
    pub fn good_for(&self) -> Duration {
        self.each * self.burst
    }

    fn given_back(&self) -> MutexGuard<'_, GivenBack> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn two_a_second() -> (Limit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limit::new(Quota::per_second(NonZeroU32::new(2).unwrap()), clock.clone()), clock)
    }

    #[test]
    fn what_was_not_used_can_be_taken_again() {
        let (limit, _clock) = two_a_second();
        assert_eq!(limit.take_up_to(8), (2, Some(SECOND / 2)));
        limit.give_back(1, Duration::ZERO);
        assert_eq!(limit.take_up_to(8), (1, Some(SECOND / 2)));
    }

    #[test]
    fn what_was_given_back_and_what_came_since_are_never_more_than_a_burst() {
        let (limit, clock) = two_a_second();
        assert_eq!(limit.take_up_to(2).0, 2);
        limit.give_back(2, Duration::ZERO);
        for pause in [SECOND / 2, SECOND, 100 * SECOND] {
            clock.advance(pause);
            assert_eq!(limit.take_up_to(8).0, 2, "after {pause:?}");
            limit.give_back(2, Duration::ZERO);
        }
    }

    #[test]
    fn what_was_taken_long_ago_is_not_given_back() {
        let (limit, clock) = two_a_second();
        assert_eq!(limit.take_up_to(2).0, 2);
        clock.advance(SECOND);
        assert_eq!(limit.take_up_to(2).0, 2);
        limit.give_back(2, SECOND);
        assert_eq!(limit.take_up_to(2).0, 0);
    }

    proptest::proptest! {
        /// Whatever is taken and given back at once: never more in any second than two seconds' worth of burst and pace.
        #[test]
        fn never_more_than_the_rate_is_used(steps in proptest::collection::vec((0_u64..900, 0_usize..4, 0_usize..4), 1..60)) {
            let (limit, clock) = two_a_second();
            let (mut now, mut used) = (Duration::ZERO, Vec::new());
            for (pause, wanted, unused) in steps {
                clock.advance(Duration::from_millis(pause));
                now += Duration::from_millis(pause);
                let (taken, _) = limit.take_up_to(wanted);
                let back = unused.min(taken);
                limit.give_back(back, Duration::ZERO);
                used.extend(std::iter::repeat_n(now, taken - back));
            }
            for (index, from) in used.iter().enumerate() {
                let within = used[index..].iter().take_while(|at| **at - *from < SECOND).count();
                proptest::prop_assert!(within <= 4, "{within} within a second from {from:?}");
            }
        }
    }
}
