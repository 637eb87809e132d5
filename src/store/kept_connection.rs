//! The connection of one who asks or writes again and again, kept while one statement or transaction follows another closely.
//!
//! A pool hands its connections out in turns, so that each of a server's sessions makes the same plans and keeps the same
//! things in mind; and it asks each that is given back whether it still answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Any, pool::PoolConnection};
use tokio::time::Instant;

use super::connections::{Deaths, give_back};

/// A place for one connection.
#[derive(Debug)]
pub(super) struct KeptConnection {
    deaths: Arc<Deaths>,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    /// One that answered then.
    Kept(PoolConnection<Any>, Instant),
    /// Nothing is kept any more: a pool closes when it has all its connections.
    Closed,
}

impl KeptConnection {
    pub(super) fn new(deaths: Arc<Deaths>) -> Self {
        Self { deaths, place: Mutex::default() }
    }

    /// The connection, where it answered so recently that nobody asks whether it lives.
    pub(super) fn take(&self) -> Option<PoolConnection<Any>> {
        let (connection, answered) = self.empty()?;
        if self.deaths.trust(answered.elapsed()) {
            return Some(connection);
        }
        give_back(connection);
        None
    }

    /// Keeps a connection that has just answered.
    pub(super) fn keep(&self, connection: PoolConnection<Any>) {
        let mut place = self.place();
        match *place {
            Place::Empty => *place = Place::Kept(connection, Instant::now()),
            Place::Kept(..) | Place::Closed => give_back(connection),
        }
    }

    /// Gives it back to its pool.
    pub(super) fn let_go(&self) {
        self.empty().into_iter().for_each(|(connection, _)| give_back(connection));
    }

    /// Gives it back, and keeps none from now on.
    pub(super) fn close(&self) {
        if let Place::Kept(connection, _) = std::mem::replace(&mut *self.place(), Place::Closed) {
            give_back(connection);
        }
    }

    fn empty(&self) -> Option<(PoolConnection<Any>, Instant)> {
        let mut place = self.place();
        match std::mem::take(&mut *place) {
            Place::Kept(connection, answered) => Some((connection, answered)),
            Place::Empty => None,
            Place::Closed => {
                *place = Place::Closed;
                None
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
