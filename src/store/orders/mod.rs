//! Orders as postroom follows them: their e-mail workflows, their e-mail entries, and who asked for what.
//!
//! The order document, as its merchant sent it, is a resource. A workflow has a row here once postroom moved it. The row
//! overrides the document's field and follows its mail: code that moves mails calls [`follow`] in the same transaction.

mod audit;
mod cool_down;
mod look_up;
mod moves;
mod step;

pub use audit::{AuditEntry, NewAuditEntry};
pub use look_up::OrderRecord;
pub use step::{OrderStep, WorkflowStep};

pub(super) use audit::audit;
pub(super) use moves::{follow, forget_settled, take_steps};
