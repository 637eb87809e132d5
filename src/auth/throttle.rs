//! How often something may fail: a bounded table of allowances that fill up again by themselves.
//!
//! The generic cell rate algorithm: of each key only one time is kept, when its allowance is full again.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;

/// The most keys that are remembered.
const MOST_KEYS: u64 = 10_000;

/// Allowances by key.
pub(super) struct Throttle<K> {
    burst: u32,
    each: Duration,
    started: Instant,
    full_at: Cache<K, Arc<AtomicU64>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Throttle<K> {
    /// `burst` at once, one more after `each`.
    pub(super) fn new(burst: u32, each: Duration) -> Self {
        let full_at = Cache::builder().max_capacity(MOST_KEYS).time_to_idle(each * burst).build();
        Self { burst, each, started: Instant::now(), full_at }
    }

    /// Takes one at a moment.
    ///
    /// # Errors
    /// How long until there is one again.
    pub(super) fn take(&self, key: K, at: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.get_with(key, Arc::default);
        let (now, each) = (micros(at.saturating_duration_since(self.started)), micros(self.each));
        let most = each * u64::from(self.burst);
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now) + each;
            (next - now <= most).then_some(next)
        });
        taken.map(drop).map_err(|full_at| Duration::from_micros((full_at + each).saturating_sub(now + most)))
    }

    /// Gives one back that was taken for nothing.
    pub(super) fn give_back(&self, key: &K) {
        if let Some(full_at) = self.full_at.get(key) {
            let each = micros(self.each);
            let _ = full_at
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| full_at.checked_sub(each));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_and_fills_up_again() {
        let (throttle, mut now) = (Throttle::new(3, Duration::from_secs(2)), Instant::now());
        now += Duration::from_secs(1);
        for _ in 0..3 {
            throttle.take("ann", now).unwrap();
        }
        assert_eq!(throttle.take("ann", now), Err(Duration::from_secs(2)));
        assert_eq!(throttle.take("bob", now), Ok(()), "another key has its own");
        throttle.give_back(&"ann");
        assert_eq!(throttle.take("ann", now), Ok(()));
        now += Duration::from_secs(5);
        assert_eq!(throttle.take("ann", now).and(throttle.take("ann", now)), Ok(()));
        assert_eq!(throttle.take("ann", now), Err(Duration::from_secs(1)));
    }
}
