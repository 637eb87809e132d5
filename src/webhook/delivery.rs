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

closed_set! {
    /// What happens to a delivery.
    DeliveryEvent {
        /// A worker takes it.
        Claimed = "claimed",
        /// The receiver took it.
        Taken = "taken",
        /// The attempt failed, and another one follows.
        PutOff = "put_off",
        /// Out of attempts, or the receiver wants no more.
        Refused = "refused",
        /// The worker died.
        Lost = "lost",
        /// The merchant asks for it again.
        Replayed = "replayed",
    }
}

impl DeliveryState {
    /// The state after `event`, or `None` where the event cannot happen in this state. `docs/delivery-states.md` draws
    /// the same table for people and is tested against it.
    pub const fn after(self, event: DeliveryEvent) -> Option<Self> {
        use DeliveryEvent as E;
        Some(match (self, event) {
            (Self::Queued | Self::Deferred, E::Claimed) => Self::Sending,
            (Self::Sending, E::Taken) => Self::Delivered,
            (Self::Sending, E::PutOff | E::Lost) => Self::Deferred,
            (Self::Sending, E::Refused) => Self::Failed,
            (Self::Deferred | Self::Delivered | Self::Failed, E::Replayed) => Self::Queued,
            (Self::Queued | Self::Sending | Self::Deferred | Self::Delivered | Self::Failed, _) => {
                return None;
            }
        })
    }

    /// The states that `event` may happen in: what an `UPDATE` that writes it starts from.
    pub fn sources(event: DeliveryEvent) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |state| state.after(event).is_some())
    }

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
    /// What it means for a delivery that is being sent.
    pub const fn event(self) -> DeliveryEvent {
        match self {
            Self::Delivered => DeliveryEvent::Taken,
            Self::Retry(_) => DeliveryEvent::PutOff,
            Self::Failed | Self::Gone => DeliveryEvent::Refused,
        }
    }

    /// The state that follows.
    pub const fn state(self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::Retry(_) => DeliveryState::Deferred,
            Self::Failed | Self::Gone => DeliveryState::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_leads_where_the_table_says() {
        use CallbackVerdict as V;
        for verdict in [V::Delivered, V::Retry(Timestamp(0)), V::Failed, V::Gone] {
            assert_eq!(DeliveryState::Sending.after(verdict.event()), Some(verdict.state()), "{verdict:?}");
        }
    }

    #[test]
    fn a_settled_delivery_moves_only_when_the_merchant_asks_for_it_again() {
        for &state in DeliveryState::ALL.iter().filter(|state| state.is_settled()) {
            for &event in DeliveryEvent::ALL {
                let next = (event == DeliveryEvent::Replayed).then_some(DeliveryState::Queued);
                assert_eq!(state.after(event), next, "{state} {event}");
            }
        }
    }
}
