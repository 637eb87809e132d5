//! Those who run an installation.

use crate::mail::closed_set;

closed_set! {
    /// What an operator may do.
    OperatorRole {
        /// Look.
        Viewer = "viewer",
        /// Look, and act on mails, batches and the queue.
        Operator = "operator",
        /// All of that, and change merchants, credentials and operators.
        Admin = "admin",
    }
}
