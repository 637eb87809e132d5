//! What a shop is and what it may ask for: values and pure rules, no clock, no network, no database.

mod ability;
pub mod builtin_mails;
pub mod cart;
pub mod consent;
pub mod format;
pub mod language;
mod link;
mod look;
pub mod mailing;
mod moment;
mod money;
mod months;
mod operator;
pub mod order;
pub mod pass;
mod quantity;
pub mod reasons;
pub mod recovery_link;
mod resource;
pub mod subscription;
mod template;
mod text;
mod unsubscribe_words;

pub use ability::{Abilities, Ability};
pub use link::Link;
pub use look::{Colour, Look, PostalAddress};
pub use moment::{Moment, Timezone};
pub use money::{Amount, Currency};
pub use operator::OperatorRole;
pub use quantity::Quantity;
pub use resource::ResourceKind;
pub use template::{TemplateClass, TemplateSource, TemplateVersion};
pub use text::{SingleLine, full_name};
pub use unsubscribe_words::UnsubscribeWords;
