//! The order e-mail family: which mail of an order may be sent again, when, about which payment, from which template.
//!
//! `http/orders/` asks in this order: [`OrderTemplate::named`], [`StoreSettings::switches_off`],
//! [`OrderTemplate::check`], [`OrderTemplate::is_needless`], [`OrderTemplate::payment`],
//! [`StoreSettings::definition`] and [`mail_values`]. All of it is pure: the caller knows the time, and hands in the
//! order with its workflows as postroom knows them. `order/tests.rs` is the source document as a table.

mod document;
mod linked_data;
mod mail_values;
mod settings;
mod template;
mod workflow;

#[cfg(test)]
mod tests;

pub use document::{Cancellation, EndUser, Item, Order, Payment, PaymentStatus, ResumeOffer, Subscription};
pub use mail_values::mail_values;
pub use settings::{Binding, Cooldown, StoreSettings};
pub use template::{NotEligible, OrderTemplate, PaymentError, TemplateError};
pub use workflow::{Workflow, WorkflowState};
