//! The one place that asks the system for the time, so that a test can turn the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::mail::Timestamp;

static OFFSET: AtomicI64 = AtomicI64::new(0);

/// The time now.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond() + OFFSET.load(Ordering::Relaxed))
}

/// Turns this process's clock forward. For tests; monotonic timers are not moved.
pub fn advance(by: Duration) {
    OFFSET.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
}
