//! What a shop is and what it may ask for: values and pure rules, no clock, no network, no database.

mod ability;
mod delivery;
pub mod event;
pub mod format;
pub mod language;
pub mod letters;
pub mod mailing;
mod money;
pub mod order;
mod resource;
mod template;
mod text;

pub use ability::{Abilities, Ability};
pub use delivery::{CallbackOutcome, CallbackReply, CallbackVerdict, DeliveryState};
pub use event::EventKind;
pub use money::{Amount, Currency};
pub use resource::ResourceKind;
pub use template::{TemplateClass, TemplateSource, TemplateVersion};
pub use text::Line;
