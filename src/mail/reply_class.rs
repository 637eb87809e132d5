//! What a reply means: its class, what it is about, and what follows.

use std::time::Duration;

use super::state::closed_set;

closed_set! {
    /// Why an attempt ended as it did.
    ReplyClass {
        /// The relay took the mail.
        Accepted = "accepted",
        /// There is no such mailbox.
        BadAddress = "bad_address",
        /// The mailbox has no room.
        MailboxFull = "mailbox_full",
        /// Somebody's rules forbid this mail.
        PolicyBlock = "policy_block",
        /// The content looks like spam, or is dangerous.
        SpamContent = "spam_content",
        /// The sending machine or the sender's domain has a bad name.
        Reputation = "reputation",
        /// Too much in too short a time, or beyond a quota.
        RateLimited = "rate_limited",
        /// Strangers have to come back later.
        Greylist = "greylist",
        /// SPF, DKIM, DMARC or the reverse DNS name of our side.
        AuthFailure = "auth_failure",
        /// How we are set up: credentials, relaying, TLS, EHLO, the sender's domain.
        Config = "config",
        /// The recipient's whole domain takes no mail.
        DomainWide = "domain_wide",
        /// A fault of the relay that passes.
        Temporary = "temporary",
        /// The message is too large or malformed.
        MessageFault = "message_fault",
        /// No relay said anything: no connection, a time-out, a broken dialogue.
        Connection = "connection",
        /// A refusal that no rule knows, or a worker that died.
        Unknown = "unknown",
    }
}

closed_set! {
    /// What follows from a reply.
    Consequence {
        /// The mail is delivered.
        Done = "done",
        /// Another attempt, later.
        Retry = "retry",
        /// Another attempt, and the scope is slowed down.
        Slow = "slow",
        /// The scope stops and the operator is told. The mail waits.
        Stop = "stop+alarm",
        /// The mail has failed.
        Fail = "fail",
        /// The mail has failed, and its address counts towards suppression.
        Suppress = "fail+suppress",
    }
}

closed_set! {
    /// What a reply is about.
    ReplyScope {
        /// This mail.
        Message = "message",
        /// The recipient.
        Recipient = "recipient",
        /// Everybody at the recipient's domain.
        RecipientDomain = "recipient_domain",
        /// Everything that the sender's domain sends over this route.
        SenderDomain = "sender_domain",
        /// Everything that goes over this route.
        Route = "route",
    }
}

/// What is made of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Why.
    pub class: ReplyClass,
    /// What follows.
    pub then: Consequence,
    /// What it is about.
    pub scope: ReplyScope,
    /// How long the reply asks us to wait: 1 second to 24 hours.
    pub wait: Option<Duration>,
}

impl Judgement {
    /// A relay took the mail.
    pub const ACCEPTED: Self = Self::of(ReplyClass::Accepted, Consequence::Done, ReplyScope::Message);
    /// No relay said anything.
    pub const CONNECTION: Self = Self::of(ReplyClass::Connection, Consequence::Retry, ReplyScope::Route);
    /// The message itself can never be sent.
    pub const MESSAGE_FAULT: Self =
        Self::of(ReplyClass::MessageFault, Consequence::Fail, ReplyScope::Message);

    const fn of(class: ReplyClass, then: Consequence, scope: ReplyScope) -> Self {
        Self { class, then, scope, wait: None }
    }

    /// The same of words that another server said and the relay repeats in a reply with this code. Whoever gets mail may choose
    /// them, so they are about this mail alone, and stop or slow nothing else.
    #[must_use]
    pub const fn not_about_us(self, code: u16) -> Self {
        if !matches!(self.scope, ReplyScope::Route | ReplyScope::SenderDomain) {
            return self;
        }
        let then = match self.then {
            Consequence::Stop | Consequence::Slow if code >= 500 => Consequence::Fail,
            Consequence::Stop | Consequence::Slow => Consequence::Retry,
            then => then,
        };
        Self { then, scope: ReplyScope::Recipient, ..self }
    }

    /// Whether the mail has failed for good.
    pub const fn fails_the_mail(&self) -> bool {
        matches!(self.then, Consequence::Fail | Consequence::Suppress)
    }

    /// Whether it says something about us that an operator must mend, so that nothing else goes over this route.
    pub const fn stops_the_route(&self) -> bool {
        matches!((self.then, self.scope), (Consequence::Stop, ReplyScope::Route))
    }
}
