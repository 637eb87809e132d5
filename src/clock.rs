//! The one place that asks the system for the time.

use crate::mail::Timestamp;

/// The time now.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
