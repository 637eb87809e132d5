//! A connection that is opened for a mail while others are at work. The mail takes one of these that comes free before its
//! own is open: a relay may be slow to greet a new connection, or never do so, and serve those that it has. The one that is
//! being opened goes to a mail after it, and if it cannot be opened, only the breaker hears of it.
//!
//! A mail that opens a connection is served before those in the [line](super::line): it had its place first.

use std::sync::Arc;

use tokio::time::Instant;

use super::{connection::Connection, place::Place, ready::NotReady, route::Route};
use crate::clock;

/// What a mail goes on with: its place, the connection, and whether that was used before.
type Opened = (Place, Connection, bool);

impl Route {
    /// Opens a connection for a mail that has a place, or takes one that comes free before it is open.
    ///
    /// # Errors
    /// When there is none. That is no attempt while other connections work: one of these will serve the mail.
    pub(super) async fn open_or_take(
        self: Arc<Self>,
        mut place: Place,
        started: Instant,
    ) -> Result<Opened, NotReady> {
        let mut waiting = place.wait_for_connection();
        // One may have come free right before.
        if let Some(connection) = place.take_at_once() {
            return Ok((place, connection, true));
        }
        let route = Arc::clone(&self);
        let mut opening = Box::pin(async move { route.open(started).await });
        let opened = tokio::select! {
            biased;
            Ok(handed) = &mut waiting => {
                let next = place.handed(handed);
                tokio::spawn(async move {
                    if let Ok(connection) = opening.await {
                        place.keep(connection);
                    }
                });
                return self.go_on(next, started).await;
            }
            opened = &mut opening => opened,
        };
        waiting.close();
        match (opened, waiting.try_recv()) {
            (Ok(connection), Err(_)) => Ok((place, connection, false)),
            (opened, Ok(handed)) => {
                let next = place.handed(handed);
                match opened {
                    Ok(connection) => place.keep(connection),
                    Err(_) => drop(place),
                }
                self.go_on(next, started).await
            }
            (Err(NotReady::Failed(_)), Err(_)) if self.has_ready_connections() => {
                Err(NotReady::Away(clock::now() + self.pause().unwrap_or_default()))
            }
            (Err(why), Err(_)) => Err(why),
        }
    }

    /// Goes on in a place that was handed over.
    async fn go_on(&self, mut place: Place, started: Instant) -> Result<Opened, NotReady> {
        match place.take().await {
            Some((connection, _)) => Ok((place, connection, true)),
            None => Ok((place, self.open(started).await?, false)),
        }
    }
}
