//! The connections of one route: at most so many at a time, the one used last is used first, and the ones that lie idle
//! are closed by a task that the pool owns.
//!
//! A place in the pool (a permit of its [`Capacity`]) is held while a connection is used or closed. A connection lies on the shelf
//! before its place is given back, so idle and busy connections together never exceed the places. A caller that finds no
//! place waits for a [`Notify`] that all pools share.
//!
//! A relay that answers within milliseconds would idle while the next mail is claimed and rendered. So while mails come
//! and go quickly, a few more are let in ahead of a place; they wait for it with their message ready. A relay that is slow
//! has none ahead.
//!
//! A pool whose route was changed or removed is retired: the mails that have its places finish, and no connection is kept for
//! another one.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{capacity::Capacity, connection::Connection};

/// A relay that took a mail within this time is quick: its places come free before a mail that is ahead waits for long.
const QUICK: Duration = Duration::from_millis(250);
/// The most mails ahead of each place, and of all places.
const AHEAD_OF_EACH: usize = 5;
const MOST_AHEAD: usize = 128;

/// The places and the idle connections of one route.
pub(super) struct Pool {
    shared: Arc<Shared>,
    reaper: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    capacity: Arc<Capacity>,
    /// Room for mails that have no place yet.
    ahead: Capacity,
    /// When a mail last left its connection to the next one.
    kept_at: Mutex<Option<Instant>>,
    /// A place was given back.
    freed: Arc<Notify>,
    shelf: Mutex<Vec<Idle>>,
    /// The shelf is no longer empty.
    filled: Notify,
    idle_for: Duration,
    mails_per_connection: u32,
    /// Cancelled when no further mail comes.
    retired: CancellationToken,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Places that were taken together and are not used yet. Dropped, they are free again.
pub(super) struct Places {
    shared: Arc<Shared>,
    permits: OwnedSemaphorePermit,
    ahead: OwnedSemaphorePermit,
}

/// A place in the pool, or one ahead of it. Whoever holds a connection drops that first.
pub(super) struct Place {
    // The order matters: the place is given back, and then somebody is told.
    permit: OwnedSemaphorePermit,
    is_ahead: bool,
    shared: Freed,
}

/// Tells that a place is free again when it is dropped.
struct Freed(Arc<Shared>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.freed.notify_one();
    }
}

impl Pool {
    /// A pool with the places of `capacity`, which may be another one's too. It notifies `freed` when one of its places is
    /// given back.
    pub(super) fn new(
        capacity: Arc<Capacity>,
        idle_for: Duration,
        mails_per_connection: u32,
        freed: Arc<Notify>,
    ) -> Self {
        let shared = Shared {
            ahead: Capacity::new(most_ahead(capacity.places())),
            capacity,
            kept_at: Mutex::default(),
            freed,
            shelf: Mutex::default(),
            filled: Notify::new(),
            idle_for,
            mails_per_connection,
            retired: CancellationToken::new(),
        };
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
        let permits = self.shared.capacity.take(most);
        let more = if may_be_ahead && self.shared.is_quick() { most - permits.num_permits() } else { 0 };
        let ahead = self.shared.ahead.take(more);
        Places { shared: Arc::clone(&self.shared), permits, ahead }
    }

    pub(super) fn idle(&self) -> usize {
        self.shared.shelf().len()
    }

    pub(super) fn busy(&self) -> usize {
        self.shared.capacity.taken()
    }

    /// Says goodbye to the idle connections; busy ones go on and are kept for the next mail as ever.
    pub(super) async fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.shared.shelf());
        futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.quit())).await;
    }
}

fn most_ahead(places: usize) -> usize {
    (AHEAD_OF_EACH * places).min(MOST_AHEAD)
}

impl Shared {
    fn is_quick(&self) -> bool {
        let kept_at = self.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
        kept_at.is_some_and(|at| at.elapsed() < QUICK)
    }

    fn shelf(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_spent(&self, idle: &Idle) -> bool {
        idle.connection.mails >= self.mails_per_connection || self.is_over(idle)
    }

    fn is_over(&self, idle: &Idle) -> bool {
        self.retired.is_cancelled() || idle.since.elapsed() >= self.idle_for
    }

    /// Takes the connection that lies there longest, if its time is over.
    fn take_expired(&self) -> Option<Idle> {
        let mut shelf = self.shelf();
        let is_due = shelf.first().is_some_and(|idle| self.is_over(idle));
        is_due.then(|| shelf.remove(0))
    }
}

impl Places {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.permits.num_permits() + self.ahead.num_permits()
    }

    /// Gives up all but so many, those ahead first.
    pub(super) fn leave(&mut self, most: usize) {
        let too_many = self.len().saturating_sub(most);
        let ahead = too_many.min(self.ahead.num_permits());
        drop(self.ahead.split(ahead));
        drop(self.permits.split(too_many - ahead));
    }

    /// Takes one of them, to be used.
    pub(super) fn split(&mut self) -> Option<Place> {
        let (permit, is_ahead) = match self.permits.split(1) {
            Some(permit) => (permit, false),
            None => (self.ahead.split(1)?, true),
        };
        Some(Place { permit, is_ahead, shared: Freed(Arc::clone(&self.shared)) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.0.capacity.settle(&mut self.permit);
    }
}

impl Place {
    /// Whether there is no place for it yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Waits for its place where it is ahead of it, first come first served. False when the pool is closed.
    pub(super) async fn arrive(&mut self) -> bool {
        if self.is_ahead {
            let Some(permit) = self.shared.0.capacity.wait_for_one().await else { return false };
            self.permit = permit;
            self.is_ahead = false;
            self.shared.0.freed.notify_one(); // another one may come ahead
        }
        true
    }

    /// Takes the idle connection that was used last, if there is one that may be used.
    pub(super) async fn take(&mut self) -> Option<Connection> {
        let idle = self.shared.0.shelf().pop()?;
        if self.shared.0.is_spent(&idle) {
            idle.connection.quit().await;
            return None;
        }
        Some(idle.connection)
    }

    /// The same without waiting: one that may not be used any more is left to who may wait for its end.
    pub(super) fn take_at_once(&mut self) -> Option<Connection> {
        let shared = &self.shared.0;
        let mut shelf = shared.shelf();
        shelf.pop_if(|idle| !shared.is_spent(idle)).map(|idle| idle.connection)
    }

    /// Leaves a connection for the next mail, unless it cannot be used any more.
    pub(super) fn keep(self, connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        *self.shared.0.kept_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut shelf = self.shared.0.shelf();
        shelf.push(Idle { connection, since: Instant::now() });
        if shelf.len() == 1 {
            self.shared.0.filled.notify_one();
        }
    }
}

/// Closes connections whose idle time is over, one after the other, each in a place of its own.
async fn reap(shared: Arc<Shared>) {
    loop {
        let oldest = shared.shelf().first().map(|idle| idle.since);
        match oldest {
            None => shared.filled.notified().await,
            Some(since) => {
                tokio::select! {
                    () = sleep_until(since + shared.idle_for) => {}
                    () = shared.retired.cancelled() => {}
                }
                let Some(permit) = shared.capacity.wait_for_one().await else { return };
                let place = Place { permit, is_ahead: false, shared: Freed(Arc::clone(&shared)) };
                let expired = shared.take_expired();
                if let Some(idle) = expired {
                    idle.connection.quit().await;
                }
                drop(place);
            }
        }
    }
}
