//! The connection that the group commit keeps while its transactions follow one another closely.
//!
//! A pool hands its connections out in turns, so that each of a server's sessions makes the same plans and keeps the same
//! things in mind; and it asks each that is given back whether it still answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Any, pool::PoolConnection};
use tokio::time::Instant;

use super::connections::{Deaths, give_back};

/// A place for one connection, and when it last answered.
pub(super) struct KeptConnection {
    deaths: Arc<Deaths>,
    kept: Mutex<Option<(PoolConnection<Any>, Instant)>>,
}

impl KeptConnection {
    pub(super) fn new(deaths: Arc<Deaths>) -> Self {
        Self { deaths, kept: Mutex::default() }
    }

    /// The connection, where it answered so recently that nobody asks whether it lives.
    pub(super) fn take(&self) -> Option<PoolConnection<Any>> {
        let (connection, answered) = self.place().take()?;
        if self.deaths.trust(answered.elapsed()) {
            return Some(connection);
        }
        give_back(connection);
        None
    }

    /// Keeps a connection that has just answered.
    pub(super) fn keep(&self, connection: PoolConnection<Any>) {
        let before = self.place().replace((connection, Instant::now()));
        before.into_iter().for_each(|(connection, _)| give_back(connection));
    }

    /// Gives it back to its pool.
    pub(super) fn let_go(&self) {
        let kept = self.place().take();
        kept.into_iter().for_each(|(connection, _)| give_back(connection));
    }

    fn place(&self) -> MutexGuard<'_, Option<(PoolConnection<Any>, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
