//! The sandbox: what becomes of mails that are only tried out. It takes the place of a relay, so that everything before and
//! after is the same, and nothing is delivered.

use std::time::Duration;

use super::{
    Address, AttemptOutcome, Consequence, EnhancedCode, Judgement, MailId, Phase, Reply, ReplyClass,
    ReplyScope,
};

/// The route that attempts in the sandbox have.
pub const ROUTE: &str = "sandbox";
/// The domain whose recipients say what becomes of their mails.
pub const DOMAIN: &str = "sandbox.postroom.test";

/// What becomes of a mail in the sandbox, as its recipient says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxFate {
    /// It is taken.
    Delivered,
    /// It is put off, at each attempt.
    Deferred,
    /// It is refused for good.
    Rejected,
    /// It is taken and returned afterwards.
    Bounced,
    /// No answer comes once the whole mail is there.
    Held,
}

impl SandboxFate {
    /// The fate of a mail to this recipient: the local part at [`DOMAIN`], in any case and with whatever stands after a
    /// plus. Any other recipient takes its mails.
    pub fn of(recipient: &Address) -> Self {
        if recipient.domain() != DOMAIN {
            return Self::Delivered;
        }
        let written = recipient.to_string().to_lowercase();
        let local = written.rsplit_once('@').map_or("", |(local, _)| local);
        match local.split('+').next() {
            Some("deferred") => Self::Deferred,
            Some("rejected") => Self::Rejected,
            Some("bounced") => Self::Bounced,
            Some("held") => Self::Held,
            _ => Self::Delivered,
        }
    }

    /// What a relay would have said.
    pub fn reply(self, mail: MailId, took: Duration) -> Reply {
        let (outcome, code, enhanced, text, judgement) = match self {
            Self::Delivered | Self::Bounced => (
                AttemptOutcome::Accepted,
                Some(250),
                Some((2, 0, 0)),
                "Ok: taken by the sandbox, delivered to nobody",
                Judgement::ACCEPTED,
            ),
            Self::Deferred => (
                AttemptOutcome::Transient,
                Some(451),
                Some((4, 3, 0)),
                "The sandbox puts this recipient off",
                judged(ReplyClass::Temporary, Consequence::Retry),
            ),
            Self::Rejected => (
                AttemptOutcome::Permanent,
                Some(550),
                Some((5, 1, 1)),
                "The sandbox refuses this recipient: no such user here",
                judged(ReplyClass::BadAddress, Consequence::Suppress),
            ),
            Self::Held => (
                AttemptOutcome::Unknown,
                None,
                None,
                "the sandbox did not say whether it took the mail",
                Judgement::CONNECTION,
            ),
        };
        let phase = match self {
            Self::Deferred | Self::Rejected => Phase::RcptTo,
            Self::Delivered | Self::Bounced | Self::Held => Phase::Final,
        };
        Reply {
            outcome,
            code,
            enhanced: enhanced.map(|(class, subject, detail)| EnhancedCode { class, subject, detail }),
            provider_id: (outcome == AttemptOutcome::Accepted).then(|| format!("{ROUTE}-{mail}")),
            judgement,
            ..Reply::silent(ROUTE, phase, text, took)
        }
    }

    /// What the relay of a bounced mail says later: code, enhanced code, words.
    pub const BOUNCE: (u16, &str, &str) = (550, "5.1.1", "The sandbox returns mails to this recipient");
}

const fn judged(class: ReplyClass, then: Consequence) -> Judgement {
    Judgement { class, then, scope: ReplyScope::Recipient, wait: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{CrashPolicy, RetryPolicy, Timestamp, Tried, Verdict};

    const POLICY: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(10),
        longest: Duration::from_secs(3600),
        schedule: Vec::new(),
        max_age: Duration::from_secs(86_400),
        rescues: 5,
    };

    #[test]
    fn a_recipient_says_what_becomes_of_its_mails() {
        for (recipient, fate) in [
            ("delivered@sandbox.postroom.test", SandboxFate::Delivered),
            ("deferred@sandbox.postroom.test", SandboxFate::Deferred),
            ("Rejected@Sandbox.Postroom.Test", SandboxFate::Rejected),
            ("bounced+ann@sandbox.postroom.test", SandboxFate::Bounced),
            ("held@sandbox.postroom.test", SandboxFate::Held),
            ("anybody@sandbox.postroom.test", SandboxFate::Delivered),
            ("rejected@example.net", SandboxFate::Delivered),
            ("held@notsandbox.postroom.test", SandboxFate::Delivered),
        ] {
            assert_eq!(SandboxFate::of(&recipient.parse().unwrap()), fate, "{recipient}");
        }
    }

    #[test]
    fn its_reply_is_judged_as_a_relays_would_be() {
        let now = Timestamp(1_000_000_000);
        let judge = |fate: SandboxFate, age: u64| {
            let reply = fate.reply(MailId::new(), Duration::ZERO);
            assert_eq!(reply.route, ROUTE);
            let meant_for = now - Duration::from_secs(age);
            let tried = Tried { attempt: 1, rescues: 0, on_unknown: CrashPolicy::Hold, meant_for };
            POLICY.judge(&reply, &tried, now, 0.5)
        };
        assert_eq!(judge(SandboxFate::Delivered, 0), Verdict::Sent);
        assert_eq!(judge(SandboxFate::Bounced, 0), Verdict::Sent);
        assert!(matches!(judge(SandboxFate::Deferred, 0), Verdict::Retry(_)));
        assert_eq!(judge(SandboxFate::Deferred, 86_395), Verdict::Failed);
        assert_eq!(judge(SandboxFate::Rejected, 0), Verdict::Failed);
        assert_eq!(judge(SandboxFate::Held, 0), Verdict::Held);
    }
}
