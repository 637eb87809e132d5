//! A connection that is opened for a mail while others are at work. The mail takes one of these that comes free before its
//! own is open: a relay may be slow to greet a new connection, or never do so, and serve those that it has. The one that is
//! being opened goes to a mail after it, and if it cannot be opened, only the breaker hears of it.
//!
//! A mail that opens a connection is served before those in the [queue](super::connection_queue): it had its slot first.

use std::sync::Arc;

use tokio::time::Instant;

use super::{connection::Connection, pool_slot::PoolSlot, ready::NotReady, route::Route};
use crate::clock;

/// What a mail goes on with: its slot, the connection, and whether that was used before.
type Opened = (PoolSlot, Connection, bool);

impl Route {
    /// Opens a connection for a mail that has a slot, or takes one that comes free before it is open.
    ///
    /// # Errors
    /// When there is none. That is no attempt while other connections work: one of these will serve the mail.
    pub(super) async fn open_or_take(
        self: Arc<Self>,
        mut slot: PoolSlot,
        started: Instant,
    ) -> Result<Opened, NotReady> {
        let mut waiting = slot.wait_for_connection();
        // One may have come free right before.
        if let Some(connection) = slot.take_at_once() {
            return Ok((slot, connection, true));
        }
        let route = Arc::clone(&self);
        let mut opening = Box::pin(async move { route.open(started).await });
        let opened = tokio::select! {
            biased;
            Ok(handed) = &mut waiting => {
                let next = slot.handed(handed);
                tokio::spawn(async move {
                    if let Ok(connection) = opening.await {
                        slot.keep(connection);
                    }
                });
                return self.go_on(next, started).await;
            }
            opened = &mut opening => opened,
        };
        waiting.close();
        match (opened, waiting.try_recv()) {
            (Ok(connection), Err(_)) => Ok((slot, connection, false)),
            (opened, Ok(handed)) => {
                let next = slot.handed(handed);
                match opened {
                    Ok(connection) => slot.keep(connection),
                    Err(_) => drop(slot),
                }
                self.go_on(next, started).await
            }
            (Err(NotReady::Failed(_)), Err(_)) if self.has_ready_connections() => {
                Err(NotReady::Away(clock::now() + self.pause().unwrap_or_default()))
            }
            (Err(why), Err(_)) => Err(why),
        }
    }

    /// Goes on in a slot that was handed over.
    async fn go_on(&self, mut slot: PoolSlot, started: Instant) -> Result<Opened, NotReady> {
        match slot.take().await {
            Some((connection, _)) => Ok((slot, connection, true)),
            None => Ok((slot, self.open(started).await?, false)),
        }
    }
}
