//! An order's e-mail workflows, and where each is.

use crate::mail::{MailState, closed_set};

closed_set! {
    /// One of an order's four e-mail workflows, by the field that shows where it is.
    Workflow {
        /// Of the mails that announce a payment.
        Prebilling = "prebillingStatus",
        /// Of the mail that confirms the order.
        Confirmation = "emailConfirmationStatus",
        /// Of the mail that confirms a cancellation.
        Cancellation = "emailCancellationStatus",
        /// Of the mail about a partial refund.
        PartialRefund = "partialRefundEmailStatus",
    }
}

closed_set! {
    /// Where an e-mail workflow is.
    WorkflowState {
        /// Not begun.
        NotBegun = "NONE",
        /// A mail is on its way.
        Pending = "PENDING",
        /// A relay took the mail.
        Completed = "COMPLETED",
        /// The mail will not be delivered.
        Failed = "FAILED",
        /// No mail is needed any more.
        NotRequired = "NOT_REQUIRED",
    }
}

impl WorkflowState {
    /// Where a workflow is whose mail is in this state. A held mail is not decided yet: a person will say. One that bounced was
    /// sent, and its workflow was over then.
    pub const fn following(mail: MailState) -> Self {
        match mail {
            MailState::Queued | MailState::Sending | MailState::Deferred | MailState::Held => Self::Pending,
            MailState::Sent | MailState::Bounced => Self::Completed,
            MailState::Failed | MailState::Suppressed | MailState::Cancelled | MailState::Expired => {
                Self::Failed
            }
        }
    }
}
