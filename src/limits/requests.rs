//! How many requests a merchant may send in a while: governor, in each process by itself. A round trip to Redis for each
//! request would cost more than what it protects; see docs/decisions/0026.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::HashMapStateStore,
};

use super::Rate;
use crate::mail::MerchantId;

/// How many merchants are kept before those whose allowance is whole again are looked for.
const SWEEP_ABOVE: usize = 1_024;
/// A burst, unless the rate says otherwise: what comes in this time.
const BURST: Duration = Duration::from_secs(1);

/// One allowance of requests for each merchant.
pub struct RequestLimits<C: Clock = DefaultClock> {
    limiter: RateLimiter<MerchantId, HashMapStateStore<MerchantId>, C, StateInformationMiddleware>,
    clock: C,
    rate: Rate,
    sweep_at: AtomicUsize,
}

/// What a merchant's allowance is after a request, as the fields `RateLimit-Policy` and `RateLimit` tell it
/// (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestQuota {
    /// The most requests in a window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
    /// How many more may come now.
    pub left: u32,
    /// Until the allowance is whole again; for a request that was refused, until the next may come.
    pub reset: Duration,
    /// Whether the request may come.
    pub is_granted: bool,
}

impl RequestLimits {
    /// Grants each merchant this rate; its burst is what comes in a second, unless it has its own.
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RequestLimits<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        let limiter = RateLimiter::new(quota(rate), HashMapStateStore::default(), clock.clone());
        Self { limiter, clock, rate, sweep_at: AtomicUsize::new(SWEEP_ABOVE) }
    }

    /// Takes one request of a merchant, or tells how long until it may come.
    pub fn take(&self, merchant: &MerchantId) -> RequestQuota {
        self.sweep();
        let (quota, window) = self.rate.quota();
        match self.limiter.check_key(merchant) {
            Ok(state) => {
                let (burst, left) = (state.quota().burst_size().get(), state.remaining_burst_capacity());
                let reset = state.quota().replenish_interval() * burst.saturating_sub(left);
                RequestQuota { quota, window, left, reset, is_granted: true }
            }
            Err(refused) => {
                let reset = refused.wait_time_from(self.clock.now());
                RequestQuota { quota, window, left: 0, reset, is_granted: false }
            }
        }
    }

    /// Forgets merchants whose allowance is whole again: one that is forgotten earlier could be spent twice.
    fn sweep(&self) {
        let sweep_at = self.sweep_at.load(Ordering::Relaxed);
        if self.limiter.len() < sweep_at {
            return;
        }
        self.limiter.retain_recent();
        self.sweep_at.store(SWEEP_ABOVE.max(2 * self.limiter.len()), Ordering::Relaxed);
    }
}

pub(super) fn quota(rate: Rate) -> Quota {
    let (count, unit) = rate.quota();
    let each = unit / count;
    let quota = Quota::with_period(each).unwrap_or(Quota::per_second(NonZeroU32::MAX));
    quota.allow_burst(rate.burst_within(BURST))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn requests(rate: &str) -> (RequestLimits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RequestLimits::with_clock(rate.parse().unwrap(), clock.clone()), clock)
    }

    fn merchant(name: &str) -> MerchantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_merchant_is_told_what_is_left_of_its_requests_and_when_there_is_more() {
        let (limits, clock) = requests("2/s");
        let (own, other) = (merchant("tea-co"), merchant("other"));
        let seen = |quota: RequestQuota| (quota.is_granted, quota.left, quota.reset.as_millis());
        assert_eq!(seen(limits.take(&own)), (true, 1, 500));
        assert_eq!(seen(limits.take(&own)), (true, 0, 1_000));
        assert_eq!(seen(limits.take(&own)), (false, 0, 500));
        assert_eq!(seen(limits.take(&other)), (true, 1, 500), "another has its own");
        clock.advance(Duration::from_millis(500));
        assert_eq!(seen(limits.take(&own)), (true, 0, 1_000));
        assert_eq!((limits.take(&own).quota, limits.take(&own).window), (2, Duration::from_secs(1)));
    }

    #[test]
    fn an_idle_while_shorter_than_its_period_does_not_reset_an_allowance() {
        let (limits, clock) = requests("10/d");
        let own = merchant("tea-co");
        assert!(limits.take(&own).is_granted);
        for hour in [1, 2] {
            clock.advance(Duration::from_secs(3_600));
            for other in 0..3 * SWEEP_ABOVE {
                limits.take(&merchant(&format!("other-{hour}-{other}")));
            }
            assert!(!limits.take(&own).is_granted, "after {hour} h; one comes each 2.4 h");
        }
        clock.advance(Duration::from_secs(1_440));
        assert!(limits.take(&own).is_granted);
    }

    #[test]
    fn merchants_whose_allowance_is_whole_again_are_forgotten() {
        let (limits, clock) = requests("50/s");
        for number in 0..10 * SWEEP_ABOVE {
            limits.take(&merchant(&format!("m{number}")));
            clock.advance(Duration::from_millis(1));
        }
        assert!(limits.limiter.len() <= 2 * SWEEP_ABOVE, "{}", limits.limiter.len());
    }
}
