//! The states of a mail and the only function that knows the moves between them.
//!
//! `docs/mail-states.md` draws the same table for people and is tested against it.

/// Defines an enum whose variants have one fixed spelling in JSON, in SQL and in metrics.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every member, in the order of the definition.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The spelling in JSON, in SQL and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .enum_values(Some([$($text,)+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::mail::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::mail::UnknownWord {
                        word: text.to_owned(),
                        allowed: &[$($text,)+],
                    }),
                }
            }
        }
    };
}
pub(crate) use closed_set;

closed_set! {
    /// Where a mail is on its way.
    MailState {
        /// Recorded; waits for a worker.
        Queued = "queued",
        /// A worker has claimed it.
        Sending = "sending",
        /// Waits for another attempt.
        Deferred = "deferred",
        /// A relay took it.
        Sent = "sent",
        /// Refused for good, or out of attempts: the dead letters.
        Failed = "failed",
        /// Taken by the relay, later returned.
        Bounced = "bounced",
        /// Not sent: the address is on the merchant's suppression list.
        Suppressed = "suppressed",
        /// Taken back by the merchant or an operator before it was sent.
        Cancelled = "cancelled",
        /// Its time ran out before a relay took it.
        Expired = "expired",
        /// A crash left the outcome unknown and the template's policy is to ask a person.
        Held = "held",
    }
}

closed_set! {
    /// What happens to a mail.
    MailEvent {
        /// A worker takes it.
        Claimed = "claimed",
        /// A relay took it.
        Accepted = "accepted",
        /// The attempt failed for now.
        PutOff = "put_off",
        /// Refused for good, or out of attempts.
        Refused = "refused",
        /// The queue did not take it in time and its request got an error.
        Undispatched = "undispatched",
        /// Its maximum age passed before a relay took it.
        TimedOut = "timed_out",
        /// What it was asked for is not so any more.
        Lapsed = "lapsed",
        /// The worker died and the policy is to send again.
        LostAndResent = "lost_and_resent",
        /// The worker died and the policy is to ask a person, or it was rescued often enough.
        LostAndHeld = "lost_and_held",
        /// The worker gives it back before it offered it to a relay.
        GivenBack = "given_back",
        /// The recipient's address is suppressed.
        Suppressed = "suppressed",
        /// The merchant or an operator takes it back.
        Cancelled = "cancelled",
        /// A person asks for another try.
        Retried = "retried",
        /// The relay returned it after it took it.
        Returned = "returned",
    }
}

impl MailState {
    /// The state after `event`, or `None` where the event cannot happen in this state.
    pub const fn after(self, event: MailEvent) -> Option<Self> {
        use MailEvent as E;
        use MailState as S;
        Some(match (self, event) {
            (S::Queued | S::Deferred, E::Claimed) => S::Sending,
            (S::Sending, E::Accepted) => S::Sent,
            (S::Sending, E::PutOff) => S::Deferred,
            (S::Sending, E::Refused) | (S::Queued, E::Undispatched) => S::Failed,
            (S::Queued | S::Deferred | S::Sending, E::TimedOut) => S::Expired,
            (S::Sending, E::LostAndResent | E::GivenBack) => S::Queued,
            (S::Sending, E::LostAndHeld) => S::Held,
            (S::Queued | S::Deferred | S::Sending, E::Suppressed) => S::Suppressed,
            (S::Queued | S::Deferred | S::Held, E::Cancelled) | (S::Sending, E::Lapsed) => S::Cancelled,
            (S::Failed | S::Held | S::Expired | S::Cancelled | S::Deferred, E::Retried) => S::Queued,
            (S::Sent, E::Returned) => S::Bounced,
            (
                S::Queued
                | S::Sending
                | S::Deferred
                | S::Sent
                | S::Failed
                | S::Bounced
                | S::Suppressed
                | S::Cancelled
                | S::Expired
                | S::Held,
                _,
            ) => return None,
        })
    }

    /// The states that `event` may happen in: what an `UPDATE` that writes it starts from.
    pub fn sources(event: MailEvent) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |state| state.after(event).is_some())
    }

    /// Whether a relay has the mail, or may still get it.
    pub const fn went_or_may_go(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::Deferred | Self::Sent | Self::Held => true,
            Self::Failed | Self::Bounced | Self::Suppressed | Self::Cancelled | Self::Expired => false,
        }
    }

    /// Whether postroom itself does nothing more with the mail.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Deferred)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_mail_moves_only_when_a_person_or_the_relay_says_so() {
        for &state in MailState::ALL.iter().filter(|state| state.is_settled()) {
            for &event in MailEvent::ALL {
                let by_worker =
                    !matches!(event, MailEvent::Retried | MailEvent::Returned | MailEvent::Cancelled);
                assert!(!(by_worker && state.after(event).is_some()), "{state} moved by {event}");
            }
        }
    }

    #[test]
    fn a_sent_mail_is_never_queued_again() {
        for &event in MailEvent::ALL {
            assert!(matches!(MailState::Sent.after(event), None | Some(MailState::Bounced)), "{event}");
        }
    }

    #[test]
    fn every_word_parses_back() {
        for &state in MailState::ALL {
            assert_eq!(state.as_str().parse::<MailState>().unwrap(), state);
        }
        assert!("sended".parse::<MailState>().unwrap_err().to_string().contains("queued"));
    }
}
