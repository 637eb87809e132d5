//! Bulk actions: one thing done to all mails that a query finds, drafted, confirmed, and worked off in steps.
//!
//! The query, the time at which it was drafted and the id before which it looks never change. Each step is one
//! transaction, from the mail that the action has come to: whoever else takes a step from there finds that it is taken.

mod draft;
mod due;
mod forget;
mod look_up;
mod moves;
mod step;
mod suppress;

pub use draft::{NewAction, Selected};
pub use due::DueAction;
pub use look_up::{ActionRecord, MailResult};
pub use moves::ActionMoved;
pub use step::StepTaken;

pub(super) use due::DUE;
