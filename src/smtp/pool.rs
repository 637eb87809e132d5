//! The connections of one route: at most so many at a time, the one used last is used first, and the ones that lie idle
//! are closed by a task that the pool owns.
//!
//! A place in the pool (a permit of the semaphore) is held by whoever uses or closes a connection. A connection lies on the shelf
//! before its place is given back, so idle and busy connections together never exceed the places.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;

/// How many connections are open. Counts what exists, not what somebody meant to open or close.
#[derive(Debug, Default)]
pub(super) struct Opened(AtomicUsize);

/// Counts one connection for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenCount(Arc<Opened>);

impl Opened {
    pub(super) fn count(self: &Arc<Self>) -> OpenCount {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenCount(Arc::clone(self))
    }

    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The places and the idle connections of one route.
pub(super) struct Pool {
    shared: Arc<Shared>,
    places: usize,
    reaper: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    free: Semaphore,
    shelf: Mutex<Vec<Idle>>,
    /// The shelf is no longer empty.
    filled: Notify,
    idle_for: Duration,
    mails_per_connection: u32,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A place in the pool. Dropped while it holds a connection, it closes that: its dialogue was cut short.
pub(super) struct Place<'a> {
    // The order matters: the connection closes before the place is given back.
    connection: Option<Connection>,
    shared: &'a Shared,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(places: usize, idle_for: Duration, mails_per_connection: u32) -> Self {
        let shared = Shared {
            free: Semaphore::new(places),
            shelf: Mutex::default(),
            filled: Notify::new(),
            idle_for,
            mails_per_connection,
        };
        Self { shared: Arc::new(shared), places, reaper: OnceLock::new() }
    }

    /// Waits for a place, first come first served; with it comes the idle connection that was used last, if there is one.
    /// Returns nothing once the pool is closed.
    pub(super) async fn place(&self) -> Option<Place<'_>> {
        self.reaper.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(reap(Arc::clone(&self.shared)))));
        let permit = self.shared.free.acquire().await.ok()?;
        let mut place = Place { connection: None, shared: &self.shared, _permit: permit };
        let found = self.shared.shelf().pop();
        if let Some(idle) = found {
            if self.shared.is_spent(&idle) {
                idle.connection.quit().await;
            } else {
                place.connection = Some(idle.connection);
            }
        }
        Some(place)
    }

    pub(super) fn idle(&self) -> usize {
        self.shared.shelf().len()
    }

    pub(super) fn busy(&self) -> usize {
        self.places.saturating_sub(self.shared.free.available_permits())
    }

    /// Says goodbye to the idle connections; busy ones go on and are kept for the next mail as ever.
    pub(super) async fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.shared.shelf());
        futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.quit())).await;
    }
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_spent(&self, idle: &Idle) -> bool {
        idle.connection.mails >= self.mails_per_connection || idle.since.elapsed() >= self.idle_for
    }

    /// Takes the connection that lies there longest, if its time is over.
    fn take_expired(&self) -> Option<Idle> {
        let mut shelf = self.shelf();
        let is_due = shelf.first().is_some_and(|idle| idle.since.elapsed() >= self.idle_for);
        is_due.then(|| shelf.remove(0))
    }
}

impl Place<'_> {
    /// Takes the idle connection that came with the place.
    pub(super) fn take(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Leaves a connection for the next mail, unless it cannot be used any more.
    pub(super) fn keep(self, connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let mut shelf = self.shared.shelf();
        shelf.push(Idle { connection, since: Instant::now() });
        if shelf.len() == 1 {
            self.shared.filled.notify_one();
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
                sleep_until(since + shared.idle_for).await;
                let Ok(_place) = shared.free.acquire().await else { return };
                let expired = shared.take_expired();
                if let Some(idle) = expired {
                    idle.connection.quit().await;
                }
            }
        }
    }
}
