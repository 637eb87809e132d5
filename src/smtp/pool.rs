//! The connections of one route: at most so many at a time, the one used last is used first, and the ones that lie idle
//! are closed by a task that the pool owns.
//!
//! A pool whose route was changed or removed is retired: the mails that have its places finish, and no connection is kept for
//! another one.

use std::sync::{Arc, OnceLock};

use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::{
    capacity::Capacity,
    place::{Place, Places},
    pooled::{Pooled, most_ahead},
};

/// The places and the idle connections of one route.
pub(super) struct Pool {
    shared: Arc<Pooled>,
    reaper: OnceLock<AbortOnDropHandle<()>>,
}

impl Pool {
    /// A pool of what its places share.
    pub(super) fn new(shared: Pooled) -> Self {
        Self { shared: Arc::new(shared), reaper: OnceLock::new() }
    }

    /// The places, to be shared with the pool that comes after this one.
    pub(super) fn capacity(&self) -> &Arc<Capacity> {
        &self.shared.capacity
    }

    /// Changes the number of places. Those that are too many go when they are given back.
    pub(super) fn resize(&self, places: usize) {
        self.shared.capacity.resize(places);
        self.shared.ahead.resize(most_ahead(places));
    }

    /// Keeps no connection any more: those that lie idle are closed, and the others when their mail is sent.
    pub(super) fn retire(&self) {
        self.shared.retired.cancel();
    }

    /// Takes up to `most` places that are free now and, with `may_be_ahead`, of a quick relay some ahead of those.
    pub(super) fn take(&self, most: usize, may_be_ahead: bool) -> Places {
        self.reaper.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(reap(Arc::clone(&self.shared)))));
        Places::take(&self.shared, most, may_be_ahead)
    }

    pub(super) fn idle(&self) -> usize {
        self.shared.idle().len()
    }

    pub(super) fn busy(&self) -> usize {
        self.shared.capacity.taken()
    }

    /// Says goodbye to the idle connections; busy ones go on and are kept for the next mail as ever.
    pub(super) async fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.shared.idle());
        futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.quit())).await;
    }

    /// What its places share.
    pub(super) fn pooled(&self) -> &Pooled {
        &self.shared
    }
}

/// Closes connections whose idle time is over, one after the other, each in a place of its own.
async fn reap(shared: Arc<Pooled>) {
    loop {
        let oldest = shared.idle().first().map(|idle| idle.since);
        match oldest {
            None => shared.filled.notified().await,
            Some(since) => {
                tokio::select! {
                    () = sleep_until(since + shared.idle_for) => {}
                    () = shared.retired.cancelled() => {}
                }
                let Some(permit) = shared.capacity.wait_for_one().await else { return };
                let place = Place::new(permit, &shared);
                let expired = shared.take_expired();
                if let Some(idle) = expired {
                    idle.connection.quit().await;
                }
                drop(place);
            }
        }
    }
}
