//! What decides how many mails a worker fetches, beside the places that it has free.
//!
//! The fetcher asks it before each fetch, and again when it says that more may start. The daemon hands in
//! [`Admission`](crate::admission::Admission); the queue does not know what is weighed.

use std::future::Future;

/// Says how many mails may start now, before any is fetched.
pub trait Admit: Send + Sync + 'static {
    /// Leave for one mail, which its job takes along. Dropped, it makes room for another.
    type Permit: Send + 'static;
    /// Permits that were taken together. Dropped, those that are left make room again.
    type Permits: ExactSizeIterator<Item = Self::Permit> + Send;

    /// Takes up to `most` permits, without waiting.
    fn admit(&self, most: usize) -> Self::Permits;

    /// Returns when there may be more permits than the last call got; sometimes there are not.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}
