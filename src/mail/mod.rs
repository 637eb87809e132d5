//! What a mail is and how it may move: values and pure functions, no clock, no network, no database.
//!
//! A merchant asks with a draft; [`NewMail`] is valid and ready to be recorded, [`Mail`] is a recorded row that a
//! worker has claimed, a [`Message`] is the bytes. An attempt gets a [`Reply`], [`RetryPolicy::judge`] makes a
//! [`Verdict`] of it, and [`MailState::after`] alone knows which states follow.

pub mod action;
mod address;
pub mod backoff;
mod batch;
mod cancel_reason;
pub mod duration;
mod extras;
mod id;
mod lane;
mod message;
mod new_mail;
mod pause;
mod reply;
mod reply_class;
mod retry;
mod rfc3339;
pub mod sandbox;
mod schedule;
pub mod search;
mod state;
mod suppression;
mod timestamp;
mod trace_parent;
mod unsubscribe;
mod waiting;

pub use action::{ActionEvent, ActionKind, ActionResult, ActionState, ActionWish};
pub use address::{Address, AddressError, Mailbox, NOBODYS_DOMAIN, domain_name};
pub use batch::{BatchAction, BatchEvent, BatchState};
pub use cancel_reason::CancelReason;
pub use extras::{AttachedFile, Extras};
pub use id::{
    ActionId, BatchId, DeliveryId, EndpointId, EventId, IdError, MailId, MerchantId, TokenId, WorkerId,
};
pub use lane::{Lane, MailLane};
pub use message::{Mark, Message, MessageWriter, first_line};
pub use new_mail::{ClaimFacts, CrashPolicy, Facts, Mail, MailDraft, NewMail, Origin, PinnedTemplate};
pub use pause::{PauseScope, PauseScopeError};
pub use reply::{AttemptOutcome, EnhancedCode, Phase, Reply};
pub use reply_class::{Consequence, Judgement, ReplyClass, ReplyScope};
pub use retry::{Rescue, RetryPolicy, Tried, Verdict};
pub use schedule::{Schedule, ScheduleError};
pub(crate) use state::closed_set;
pub use state::{MailEvent, MailState};
pub use suppression::{SuppressionReason, SuppressionScope};
pub use timestamp::Timestamp;
pub use trace_parent::{NoTraceParent, TraceParent};
pub use unsubscribe::{Unsubscribe, UnsubscribeToken};
pub use waiting::WaitReason;

/// A word that is not a member of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of {}", allowed.join(", "))]
pub struct UnknownWord {
    /// The word that was given.
    pub word: String,
    /// The words that are allowed.
    pub allowed: &'static [&'static str],
}
