//! The lanes of the queue: who goes first when workers are busy.

use super::state::closed_set;

closed_set! {
    /// One of the queue's lanes, in the order in which workers serve them. A lower lane keeps a quota, so it is
    /// never starved for good.
    Lane {
        /// Single mails: somebody is waiting for them.
        Transactional = "transactional",
        /// Signed POSTs that tell a merchant about an event.
        Callback = "callback",
        /// Fan-out of batches into mails.
        Batch = "batch",
        /// The mails of batches.
        Bulk = "bulk",
    }
}
