//! What becomes of a mail after an attempt.

use std::time::Duration;

use serde::Deserialize;

use super::{
    AttemptOutcome, CrashPolicy, Reply, Timestamp,
    backoff::{doubled, jittered},
};

/// When a mail that failed for now is tried again: exponential backoff with jitter, up to a maximum age.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// The wait after the first failed attempt; each further wait is twice as long.
    #[serde(with = "super::duration")]
    pub first: Duration,
    /// The longest wait.
    #[serde(with = "super::duration")]
    pub longest: Duration,
    /// The waits after the first, second, … failed attempt, in place of `first` and `longest`; the last one repeats.
    #[serde(with = "super::duration::list")]
    pub schedule: Vec<Duration>,
    /// How long after it was recorded, or the time that it was scheduled for, a mail is given up: `failed` where a relay refused it, else `expired`.
    #[serde(with = "super::duration")]
    pub max_age: Duration,
    /// How often a mail is sent again after nobody knows whether a relay has it: its worker died, its job panicked, or the relay's
    /// last answer did not arrive. And how often a chunk of a batch is tried again after its worker died.
    pub rescues: u32,
}

/// A mail as it was when it was tried.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// How often it was sent again before although a relay may have had it.
    pub rescues: u32,
    /// What to do when the outcome is unknown.
    pub on_unknown: CrashPolicy,
    /// What its age is counted from.
    pub meant_for: Timestamp,
}

/// What the policy makes of a mail that its worker left behind: it died, or the job panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// It is queued again.
    Resend,
    /// A person shall decide: the template says so.
    Hold,
    /// A person shall decide: it was rescued so many times, and whatever it is may end the next worker too.
    Spent(u32),
    /// A person shall decide: it is older than `max_age`.
    TooOld,
}

/// What the policy makes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A relay took it.
    Sent,
    /// Another attempt, not before this time.
    Retry(Timestamp),
    /// Refused for good, or refused for now and too old for another attempt.
    Failed,
    /// Too old for another attempt, and no relay has refused it: it waited for one that was away, or that refused us.
    Expired,
    /// The outcome is unknown and a person shall decide.
    Held,
    /// The same: the mail was sent again so many times after an unknown outcome, and each time may have been one mail more for
    /// its recipient.
    HeldAfter(u32),
}

impl Verdict {
    /// The same for a mail that is of no use from `expires_at` on: another attempt at or after that comes too late.
    pub fn until(self, expires_at: Option<Timestamp>) -> Self {
        match (self, expires_at) {
            (Self::Retry(due), Some(expires_at)) if due >= expires_at => Self::Expired,
            (verdict, _) => verdict,
        }
    }
}

impl RetryPolicy {
    /// Judges the reply to an attempt. `jitter` is in `0.0..1.0`: the wait is that share between 80 % and 120 % of the
    /// nominal one, so that mails put off together do not return together.
    pub fn judge(&self, reply: &Reply, tried: &Tried, now: Timestamp, jitter: f64) -> Verdict {
        let Tried { attempt, rescues, on_unknown, meant_for } = *tried;
        match (reply.outcome, on_unknown) {
            (AttemptOutcome::Accepted, _) => Verdict::Sent,
            (AttemptOutcome::Permanent, _) => Verdict::Failed,
            (AttemptOutcome::Unknown, CrashPolicy::Hold) => Verdict::Held,
            (AttemptOutcome::Unknown, CrashPolicy::Resend) if rescues >= self.rescues => {
                Verdict::HeldAfter(rescues)
            }
            (AttemptOutcome::Transient, _) | (AttemptOutcome::Unknown, CrashPolicy::Resend) => {
                let due = now + self.wait(attempt, jitter);
                if due.since(meant_for) > self.max_age {
                    return if reply.is_a_refusal() { Verdict::Failed } else { Verdict::Expired };
                }
                let asked =
                    reply.judgement.wait.map(|wait| now + wait.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)));
                // A relay that asks for more time than the mail has left gets one more chance at its end.
                Verdict::Retry(asked.map_or(due, |asked| asked.min(meant_for + self.max_age)))
            }
        }
    }

    /// Judges a mail that was left behind after it had been rescued `rescues` times.
    pub fn judge_lost(
        &self,
        rescues: u32,
        on_crash: CrashPolicy,
        recorded_at: Timestamp,
        now: Timestamp,
    ) -> Rescue {
        match on_crash {
            CrashPolicy::Hold => Rescue::Hold,
            CrashPolicy::Resend if rescues >= self.rescues => Rescue::Spent(rescues),
            CrashPolicy::Resend if now.since(recorded_at) > self.max_age => Rescue::TooOld,
            CrashPolicy::Resend => Rescue::Resend,
        }
    }

    fn wait(&self, attempt: u32, jitter: f64) -> Duration {
        let failed_before = attempt.saturating_sub(1);
        let listed = usize::try_from(failed_before).ok().and_then(|index| self.schedule.get(index));
        let nominal = match listed.or(self.schedule.last()) {
            Some(wait) => *wait,
            None => doubled(self.first, failed_before, self.longest),
        };
        jittered(nominal, jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Consequence, Judgement, Phase, ReplyClass, ReplyScope};

    const POLICY: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(10),
        longest: Duration::from_secs(3600),
        schedule: Vec::new(),
        max_age: Duration::from_secs(86_400),
        rescues: 5,
    };

    const NOW: Timestamp = Timestamp(1_000_000_000);

    /// Tried for the first time at this age.
    fn first_try(age: Duration) -> Tried {
        Tried { attempt: 1, rescues: 0, on_unknown: CrashPolicy::Resend, meant_for: NOW - age }
    }

    fn judge(outcome: AttemptOutcome, attempt: u32, on_unknown: CrashPolicy, age: Duration) -> Verdict {
        let reply = Reply { outcome, ..Reply::silent("main", Phase::RcptTo, "", Duration::ZERO) };
        POLICY.judge(&reply, &Tried { attempt, on_unknown, ..first_try(age) }, NOW, 0.5)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let wait =
            |attempt| match judge(AttemptOutcome::Transient, attempt, CrashPolicy::Resend, Duration::ZERO) {
                Verdict::Retry(at) => at.since(Timestamp(1_000_000_000)).as_secs(),
                other => panic!("{other:?}"),
            };
        assert_eq!([1, 2, 3, 9, 10, 1000].map(wait), [10, 20, 40, 2560, 3600, 3600]);
    }

    #[test]
    fn a_refusal_is_final_and_an_old_mail_is_given_up() {
        let young = Duration::ZERO;
        assert_eq!(judge(AttemptOutcome::Permanent, 1, CrashPolicy::Resend, young), Verdict::Failed);
        assert_eq!(judge(AttemptOutcome::Accepted, 1, CrashPolicy::Hold, young), Verdict::Sent);
        assert_eq!(
            judge(AttemptOutcome::Transient, 1, CrashPolicy::Resend, Duration::from_secs(86_395)),
            Verdict::Expired
        );
    }

    fn refused(then: Consequence, wait: Option<u64>) -> Reply {
        let wait = wait.map(Duration::from_secs);
        let judgement = Judgement { class: ReplyClass::Config, then, scope: ReplyScope::Route, wait };
        Reply { code: Some(450), judgement, ..Reply::silent("main", Phase::RcptTo, "", Duration::ZERO) }
    }

    #[test]
    fn an_old_mail_is_failed_where_it_was_refused_and_expired_where_it_waited() {
        let judge = |reply: &Reply| POLICY.judge(reply, &first_try(Duration::from_secs(86_395)), NOW, 0.5);
        assert_eq!(judge(&refused(Consequence::Retry, None)), Verdict::Failed);
        assert_eq!(judge(&refused(Consequence::Stop, None)), Verdict::Expired);
        assert_eq!(judge(&Reply::silent("main", Phase::Connect, "", Duration::ZERO)), Verdict::Expired);
    }

    #[test]
    fn a_schedule_is_followed_and_its_last_wait_repeats() {
        let schedule = [5, 60, 600].map(Duration::from_secs).to_vec();
        let policy = RetryPolicy { schedule, ..POLICY };
        let reply = refused(Consequence::Retry, None);
        let wait = |attempt, jitter| {
            let tried = Tried { attempt, ..first_try(Duration::ZERO) };
            match policy.judge(&reply, &tried, NOW, jitter) {
                Verdict::Retry(at) => at.since(NOW).as_secs(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([1, 2, 3, 4, 1000].map(|attempt| wait(attempt, 0.5)), [5, 60, 600, 600, 600]);
        assert_eq!([0.0, 1.0].map(|jitter| wait(2, jitter)), [48, 72]);
    }

    #[test]
    fn the_time_that_a_reply_names_is_waited_for_and_not_beyond_the_mails_age() {
        let wait = |seconds, age, jitter| {
            let reply = refused(Consequence::Retry, Some(seconds));
            match POLICY.judge(&reply, &first_try(Duration::from_secs(age)), NOW, jitter) {
                Verdict::Retry(at) => at.since(NOW).as_secs(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((wait(300, 0, 0.0), wait(300, 0, 1.0)), (300, 360));
        assert_eq!(wait(86_400, 86_300, 0.0), 100);
    }

    #[test]
    fn another_attempt_comes_before_the_mail_expires_or_not_at_all() {
        let (due, later) = (Timestamp(1_000), Timestamp(1_001));
        assert_eq!(Verdict::Retry(due).until(None), Verdict::Retry(due));
        assert_eq!(Verdict::Retry(due).until(Some(later)), Verdict::Retry(due));
        assert_eq!(Verdict::Retry(due).until(Some(due)), Verdict::Expired);
        assert_eq!(Verdict::Failed.until(Some(Timestamp(0))), Verdict::Failed);
        assert_eq!(Verdict::Sent.until(Some(Timestamp(0))), Verdict::Sent);
    }

    #[test]
    fn an_unknown_outcome_follows_the_templates_policy() {
        assert_eq!(judge(AttemptOutcome::Unknown, 1, CrashPolicy::Hold, Duration::ZERO), Verdict::Held);
        assert!(matches!(
            judge(AttemptOutcome::Unknown, 1, CrashPolicy::Resend, Duration::ZERO),
            Verdict::Retry(_)
        ));
    }

    #[test]
    fn an_unknown_outcome_too_many_is_held_and_says_how_often_the_mail_was_sent_again() {
        let judge = |outcome, rescues| {
            let reply = Reply { outcome, ..Reply::silent("main", Phase::Final, "", Duration::ZERO) };
            POLICY.judge(&reply, &Tried { rescues, ..first_try(Duration::ZERO) }, NOW, 0.5)
        };
        assert!(matches!(judge(AttemptOutcome::Unknown, 4), Verdict::Retry(_)));
        assert_eq!(judge(AttemptOutcome::Unknown, 5), Verdict::HeldAfter(5));
        // What a relay says counts as ever.
        assert!(matches!(judge(AttemptOutcome::Transient, 5), Verdict::Retry(_)));
        assert_eq!(judge(AttemptOutcome::Accepted, 5), Verdict::Sent);
    }

    #[test]
    fn a_mail_is_rescued_so_many_times_and_while_it_is_young() {
        let judge = |rescues, on_crash, age| {
            let now = Timestamp(1_000_000_000);
            POLICY.judge_lost(rescues, on_crash, now - Duration::from_secs(age), now)
        };
        assert_eq!(judge(0, CrashPolicy::Resend, 1), Rescue::Resend);
        assert_eq!(judge(4, CrashPolicy::Resend, 86_400), Rescue::Resend);
        assert_eq!(judge(5, CrashPolicy::Resend, 1), Rescue::Spent(5));
        assert_eq!(judge(0, CrashPolicy::Resend, 86_401), Rescue::TooOld);
        assert_eq!(judge(0, CrashPolicy::Hold, 1), Rescue::Hold);
    }
}
