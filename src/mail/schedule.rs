//! When a mail may go, and until when: what a merchant may say of a mail's time.

use std::time::Duration;

use super::Timestamp;

/// When a mail may go, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Not before this time; `None`: at once.
    pub send_at: Option<Timestamp>,
    /// From this time on it is of no use to its recipient, and expires.
    pub expires_at: Option<Timestamp>,
}

/// Why a mail cannot be scheduled so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// `send_at` is too far ahead.
    #[error("must be at most 30 days ahead")]
    TooFarAhead,
    /// `expires_at` leaves no time to send it.
    #[error("must be later than send_at, and than now")]
    ExpiresFirst,
}

impl Schedule {
    /// How far ahead a mail may be scheduled.
    pub const FARTHEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Takes the times of a request that came at `now`. A time in the past means at once.
    ///
    /// # Errors
    /// When the first is more than [`Schedule::FARTHEST`] ahead, or the second leaves no time between.
    pub fn new(
        send_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, ScheduleError> {
        if send_at.is_some_and(|at| at > now + Self::FARTHEST) {
            return Err(ScheduleError::TooFarAhead);
        }
        let send_at = send_at.filter(|at| *at > now);
        if expires_at.is_some_and(|at| at <= send_at.unwrap_or(now)) {
            return Err(ScheduleError::ExpiresFirst);
        }
        Ok(Self { send_at, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_goes_at_once_or_within_30_days_and_expires_after_that() {
        let now = Timestamp(1_000_000_000_000);
        let day = Duration::from_secs(86_400);
        let at = |days: i64| Timestamp(now.millis() + days * 86_400_000);
        let schedule = |send_at, expires_at| Schedule::new(send_at, expires_at, now);
        for (send_at, expires_at, expected) in [
            (None, None, Ok((None, None))),
            (Some(at(-1)), None, Ok((None, None))),
            (Some(now), None, Ok((None, None))),
            (Some(at(1)), None, Ok((Some(at(1)), None))),
            (Some(at(30)), None, Ok((Some(at(30)), None))),
            (Some(Timestamp(at(30).millis() + 1)), None, Err(ScheduleError::TooFarAhead)),
            (Some(at(31)), Some(at(40)), Err(ScheduleError::TooFarAhead)),
            (Some(at(1)), Some(at(2)), Ok((Some(at(1)), Some(at(2))))),
            (Some(at(2)), Some(at(1)), Err(ScheduleError::ExpiresFirst)),
            (Some(at(2)), Some(at(2)), Err(ScheduleError::ExpiresFirst)),
            (Some(at(-3)), Some(at(-1)), Err(ScheduleError::ExpiresFirst)),
            (None, Some(now), Err(ScheduleError::ExpiresFirst)),
            (None, Some(at(400)), Ok((None, Some(at(400))))),
        ] {
            let expected = expected.map(|(send_at, expires_at)| Schedule { send_at, expires_at });
            assert_eq!(schedule(send_at, expires_at), expected, "{send_at:?} {expires_at:?}");
        }
        assert_eq!(Schedule::FARTHEST, 30 * day);
    }
}
