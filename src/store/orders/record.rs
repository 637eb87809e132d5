//! What postroom has on record of an order, and the steps that change it.

use crate::{
    mail::{Address, MailId, MailState, MerchantId, Timestamp},
    shop::order::{OrderTemplate, Workflow, WorkflowState},
};

/// A workflow that postroom moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowRow {
    /// Which.
    pub workflow: Workflow,
    /// Where it is.
    pub state: WorkflowState,
    /// The mail that it follows; `None` when none was needed.
    pub mail: Option<MailId>,
}

/// An e-mail entry of an order.
#[derive(Clone, Debug)]
pub struct OrderEmail {
    /// What was asked for and chosen.
    pub entry: NewOrderEmail,
    /// Where the mail is.
    pub state: MailState,
    /// The id that the relay gave the mail, else its `Message-ID`; `None` until a relay took it.
    pub email_id: Option<String>,
}

/// An e-mail entry to record with its mail.
#[derive(Clone, Debug)]
pub struct NewOrderEmail {
    /// The mail.
    pub mail: MailId,
    /// What was asked for.
    pub template: OrderTemplate,
    /// The name of the definition that was chosen.
    pub definition: String,
    /// Whom it is for.
    pub recipient: Address,
    /// The payment it is about.
    pub payment: Option<String>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

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
}

/// A workflow that moves.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowStep {
    /// The row as the rules saw it.
    pub was: Option<WorkflowRow>,
    /// The row as it shall be.
    pub becomes: WorkflowRow,
}
