//! A step of an order that the rules allowed: what must still be so, and what it changes.

use crate::{
    mail::{MerchantId, Timestamp},
    store::order_traces::{NewOrderEmail, WorkflowRow},
};

/// What becomes of an order, if it is still what the rules saw.
#[derive(Clone, Debug)]
pub struct OrderStep {
    /// Whose order.
    pub merchant: MerchantId,
    /// The merchant's id for it.
    pub order: String,
    /// The document as the rules saw it.
    pub was: String,
    /// When that document was stored.
    pub document_updated_at: Timestamp,
    /// The workflow that moves.
    pub workflow: Option<WorkflowStep>,
    /// The entry for the mail that is recorded.
    pub email: Option<NewOrderEmail>,
    /// Whether the mail only goes to the sandbox.
    pub is_test: bool,
    /// Where the store has a cool-down: no like mail may have been recorded since, and of those only what is tried out like it
    /// counts.
    pub quiet_since: Option<Timestamp>,
}

/// A workflow that moves.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowStep {
    /// The row as the rules saw it.
    pub was: Option<WorkflowRow>,
    /// The row as it shall be.
    pub becomes: WorkflowRow,
}
