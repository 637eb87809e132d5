//! Why a mail waits, in one word.

use super::state::closed_set;

closed_set! {
    /// What a mail waits for that is neither being sent nor settled.
    WaitReason {
        /// A rate: of the installation, its route, its merchant or its recipient's domain.
        Rate = "rate",
        /// Somebody paused its lane, merchant, route, domain or batch.
        Paused = "paused",
        /// The relay is away.
        RouteAway = "route_away",
        /// All connections of its route are in use.
        NoConnection = "no_connection",
        /// The pause after an attempt.
        Backoff = "backoff",
        /// It is not to be sent before a time.
        Scheduled = "scheduled",
        /// No route may take it.
        NoRoute = "no_route",
        /// Its batch: as many mails are in the queue as may wait there.
        BatchWindow = "batch_window",
        /// A worker: nothing keeps it back.
        Queued = "queued",
    }
}
