//! When a callback that was not taken is tried again.

use std::time::Duration;

use super::delivery::{CallbackOutcome, CallbackReply, CallbackVerdict};
use crate::mail::{Timestamp, backoff::jittered};

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

/// The wait after each attempt; after the last one there is no other. About three days in all.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
    hours(2),
    hours(5),
    hours(10),
    hours(14),
    hours(20),
    hours(24),
];

/// The longest wait that a receiver may ask for.
const LONGEST_RETRY_AFTER: Duration = hours(24);

/// Judges the reply to attempt number `attempt` since the delivery was recorded or last replayed (the first is 1).
///
/// `jitter` is in `0.0..1.0`: the wait is that share between 80 % and 120 % of the nominal one. A receiver that answers
/// 429 or 503 may ask for a longer wait with `Retry-After`, up to a day; never for a shorter one.
pub fn judge(reply: &CallbackReply, attempt: u32, now: Timestamp, jitter: f64) -> CallbackVerdict {
    if reply.is_taken() {
        return CallbackVerdict::Delivered;
    }
    if reply.status == Some(410) {
        return CallbackVerdict::Gone;
    }
    let nominal = WAITS.get(attempt.saturating_sub(1) as usize);
    let Some(nominal) = nominal.filter(|_| reply.outcome != CallbackOutcome::Disabled) else {
        return CallbackVerdict::Failed;
    };
    let wait = jittered(*nominal, jitter);
    let asked = match reply.status {
        Some(429 | 503) => reply.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER),
        _ => Duration::ZERO,
    };
    CallbackVerdict::Retry(now + wait.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn answered(status: u16, retry_after: Option<u64>) -> CallbackReply {
        CallbackReply {
            status: Some(status),
            retry_after: retry_after.map(Duration::from_secs),
            ..CallbackReply::silent(CallbackOutcome::Answered, "", Duration::ZERO)
        }
    }

    fn wait(reply: &CallbackReply, attempt: u32, jitter: f64) -> Option<u64> {
        match judge(reply, attempt, NOW, jitter) {
            CallbackVerdict::Retry(at) => Some(at.since(NOW).as_millis() as u64 / 1_000),
            _ => None,
        }
    }

    #[test]
    fn retries_come_at_the_promised_times() {
        let failed = answered(500, None);
        let waits: Vec<_> = (1..=10).map(|attempt| wait(&failed, attempt, 0.5)).collect();
        let promised = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(Some);
        assert_eq!(waits[..9], promised);
        assert_eq!(judge(&failed, 10, NOW, 0.5), CallbackVerdict::Failed);
        assert_eq!((wait(&failed, 2, 0.0), wait(&failed, 2, 1.0)), (Some(240), Some(360)));
    }

    #[test]
    fn only_2xx_is_success_and_410_ends_it() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&answered(status, None), 1, NOW, 0.5), CallbackVerdict::Delivered);
        }
        for status in [100, 300, 301, 302, 307, 308, 400, 401, 404, 408, 429, 500, 503] {
            assert!(wait(&answered(status, None), 1, 0.5).is_some(), "{status}");
        }
        assert_eq!(judge(&answered(410, None), 1, NOW, 0.5), CallbackVerdict::Gone);
        let nothing_sent = CallbackReply::silent(CallbackOutcome::Disabled, "", Duration::ZERO);
        assert_eq!(judge(&nothing_sent, 1, NOW, 0.5), CallbackVerdict::Failed);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_within_bounds() {
        assert_eq!(wait(&answered(429, Some(120)), 1, 0.5), Some(120));
        assert_eq!(wait(&answered(503, Some(120)), 1, 0.5), Some(120));
        assert_eq!(wait(&answered(429, Some(1)), 1, 0.5), Some(5), "never shorter than the schedule");
        assert_eq!(wait(&answered(429, Some(10_000_000)), 1, 0.5), Some(86_400), "never longer than a day");
        assert_eq!(wait(&answered(500, Some(120)), 1, 0.5), Some(5), "only with 429 and 503");
    }
}
