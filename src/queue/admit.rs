//! What decides how many mails a worker fetches, beside the places that it has free, and which of them start.
//!
//! The fetcher asks it before each fetch and about what it fetched. The daemon hands in
//! [`Admission`](crate::admission::Admission); the queue does not know what is weighed.

use std::future::Future;

use super::{Lease, Line};

/// Says which mails may start now: before any is fetched how many, and then which.
pub trait Admit: Send + Sync + 'static {
    /// Permission for one mail, which its job takes along. Dropped, it makes room for another.
    type Permit: Send + 'static;
    /// What was reserved before the mails are known. Dropped, what was not used is free again.
    type Reservation: Send;

    /// Whether this worker may begin what it fetches. If not, it leaves all that waits to the others.
    fn may_begin(&self) -> bool {
        true
    }

    /// Reserves what up to `most` mails need, without waiting, and says for how many.
    fn reserve(&self, most: usize) -> (usize, Self::Reservation);

    /// Decides about mails that were fetched, all at once and in their order; they are no more than there was room for. Takes
    /// a bounded time, and has a decision for each.
    fn decide(
        &self,
        reservation: Self::Reservation,
        mails: &[Lease],
    ) -> impl Future<Output = Vec<Decision<Self::Permit>>> + Send;

    /// Returns when there may be more room than the last call got; sometimes there is not.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// What is to become of a mail that was fetched.
#[derive(Debug)]
pub enum Decision<P> {
    /// It starts.
    Now(P),
    /// It waits in this line.
    Later(Line),
    /// This worker must not send; the mail goes back to where others find it.
    NotHere,
}
