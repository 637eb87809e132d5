//! What keeps mails from an address: why, and which mails.

use super::state::closed_set;

closed_set! {
    /// Why an address is suppressed.
    SuppressionReason {
        /// The merchant or an operator wants it so.
        Manual = "manual",
        /// The recipient unsubscribed.
        Unsubscribed = "unsubscribed",
        /// Relays said more than once that there is no such address.
        HardBounce = "hard_bounce",
        /// The recipient complained about a mail.
        Complaint = "complaint",
    }
}

closed_set! {
    /// Which mails a suppressed address does not get.
    SuppressionScope {
        /// None at all.
        All = "all",
        /// No promotional ones.
        Promotional = "promotional",
    }
}

impl SuppressionReason {
    /// The scope where none is named: who unsubscribes still wants to hear of an order.
    pub const fn usual_scope(self) -> SuppressionScope {
        match self {
            Self::Unsubscribed => SuppressionScope::Promotional,
            Self::Manual | Self::HardBounce | Self::Complaint => SuppressionScope::All,
        }
    }
}
