//! How one callback goes: the states of its delivery, what a receiver said, and what is made of that.

use std::time::Duration;

use crate::mail::{Timestamp, closed_set};

closed_set! {
    /// Where a delivery is on its way.
    DeliveryState {
        /// Recorded; waits for a worker.
        Queued = "queued",
        /// A worker has claimed it.
        Sending = "sending",
        /// Waits for another attempt.
        Deferred = "deferred",
        /// The receiver answered 2xx.
        Delivered = "delivered",
        /// Out of attempts, or the receiver wants no more.
        Failed = "failed",
    }
}

impl DeliveryState {
    /// Whether postroom itself does nothing more with the delivery.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

closed_set! {
    /// How far one POST came.
    CallbackOutcome {
        /// The receiver answered; the status says what.
        Answered = "answered",
        /// Nothing was sent: the URL leads to an address, or by a scheme, that callbacks must not take.
        Forbidden = "forbidden",
        /// The host's name has no address.
        Unresolved = "unresolved",
        /// No connection could be made.
        Unreachable = "unreachable",
        /// The receiver's certificate is not trusted, or the handshake failed.
        Untrusted = "untrusted",
        /// No answer came in time.
        TimedOut = "timed_out",
        /// The connection ended before the answer's status was there, or what came was not HTTP.
        HungUp = "hung_up",
        /// Nothing was sent: the endpoint is disabled.
        Disabled = "disabled",
        /// The worker died; whether the receiver got it is not known.
        Unknown = "unknown",
    }
}

/// The result of one POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackReply {
    /// How far it came.
    pub outcome: CallbackOutcome,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of the answer's body, or why there is none.
    pub text: String,
    /// From the first look at the URL to the last byte that was read.
    pub took: Duration,
}

impl CallbackReply {
    /// A POST that got no answer.
    pub fn silent(outcome: CallbackOutcome, text: impl Into<String>, took: Duration) -> Self {
        Self { outcome, status: None, retry_after: None, text: text.into(), took }
    }

    /// Whether the receiver took it: any 2xx.
    pub fn is_taken(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the receiver is away or overloaded as a whole, rather than unhappy with this one callback.
    pub fn is_away(&self) -> bool {
        match self.outcome {
            CallbackOutcome::Answered => matches!(self.status, Some(429 | 502..=504)),
            CallbackOutcome::Disabled | CallbackOutcome::Unknown => false,
            _ => true,
        }
    }
}

/// What is made of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackVerdict {
    /// The receiver took it.
    Delivered,
    /// Another attempt, not before this time.
    Retry(Timestamp),
    /// Out of attempts.
    Failed,
    /// The receiver wants no more callbacks at all (410).
    Gone,
}

impl CallbackVerdict {
    /// The state that follows.
    pub const fn state(self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::Retry(_) => DeliveryState::Deferred,
            Self::Failed | Self::Gone => DeliveryState::Failed,
        }
    }
}
