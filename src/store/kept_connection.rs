//! The connection of one who asks or writes again and again, kept while one statement or transaction follows another closely.
//!
//! A pool hands its connections out in turns, so that each of a server's sessions makes the same plans and keeps the same
//! things in mind; and it asks each that is given back whether it still answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Any, pool::PoolConnection};
use tokio::time::Instant;

use super::connections::{Deaths, give_back};

/// One connection, or none.
#[derive(Debug)]
pub(super) struct KeptConnection {
    deaths: Arc<Deaths>,
    state: Mutex<KeptState>,
}

#[derive(Debug, Default)]
enum KeptState {
    #[default]
    Empty,
    /// One that answered then.
    Kept(PoolConnection<Any>, Instant),
    /// Nothing is kept any more: a pool closes when it has all its connections.
    Closed,
}

impl KeptConnection {
    pub(super) fn new(deaths: Arc<Deaths>) -> Self {
        Self { deaths, state: Mutex::default() }
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
        let mut state = self.state();
        match *state {
            KeptState::Empty => *state = KeptState::Kept(connection, Instant::now()),
            KeptState::Kept(..) | KeptState::Closed => give_back(connection),
        }
    }

    /// Gives it back to its pool.
    pub(super) fn release(&self) {
        self.empty().into_iter().for_each(|(connection, _)| give_back(connection));
    }

    /// Gives it back, and keeps none from now on.
    pub(super) fn close(&self) {
        if let KeptState::Kept(connection, _) = std::mem::replace(&mut *self.state(), KeptState::Closed) {
            give_back(connection);
        }
    }

    fn empty(&self) -> Option<(PoolConnection<Any>, Instant)> {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            KeptState::Kept(connection, answered) => Some((connection, answered)),
            KeptState::Empty => None,
            KeptState::Closed => {
                *state = KeptState::Closed;
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, KeptState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
