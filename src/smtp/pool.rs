//! The connections of one route: at most so many at a time, the one used last is used first, and the ones that lie idle
//! are closed by a task that the pool owns.
//!
//! A pool whose route was changed or removed is retired: the mails that have its slots finish, and no connection is kept for
//! another one.

use std::sync::{Arc, OnceLock};

use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::{
    capacity::Capacity,
    pool_slot::{Ahead, PoolSlot, PoolSlots},
    pooled::{Pooled, most_ahead},
};

/// The slots and the idle connections of one route.
pub(super) struct Pool {
    shared: Arc<Pooled>,
    reaper: OnceLock<AbortOnDropHandle<()>>,
}

impl Pool {
    /// A pool of what its slots share.
    pub(super) fn new(shared: Pooled) -> Self {
        Self { shared: Arc::new(shared), reaper: OnceLock::new() }
    }

    /// The slots, to be shared with the pool that comes after this one.
    pub(super) fn capacity(&self) -> &Arc<Capacity> {
        &self.shared.capacity
    }

    /// Changes the number of slots. Those that are too many go when they are given back.
    pub(super) fn resize(&self, slots: usize) {
        self.shared.capacity.resize(slots);
        self.shared.ahead.resize(most_ahead(slots));
    }

    /// Keeps no connection any more: those that lie idle are closed, and the others when their mail is sent.
    pub(super) fn retire(&self) {
        self.shared.retired.cancel();
    }

    /// Takes up to `most` slots that are free now and, where that is allowed, of a quick relay some ahead of those.
    pub(super) fn reserve_slots(&self, most: usize, ahead: Ahead) -> PoolSlots {
        self.reaper.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(reap(Arc::clone(&self.shared)))));
        PoolSlots::reserve(&self.shared, most, ahead)
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

    /// What its slots share.
    pub(super) fn pooled(&self) -> &Pooled {
        &self.shared
    }
}

/// Closes connections whose idle time is over, one after the other, each in a slot of its own.
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
                let slot = PoolSlot::new(permit, &shared);
                let expired = shared.take_expired();
                if let Some(idle) = expired {
                    idle.connection.quit().await;
                }
                drop(slot);
            }
        }
    }
}
