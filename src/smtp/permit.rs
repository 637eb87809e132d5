//! What a mail needs of a route before anybody claims it: a place for a connection, then the connection, then a word that
//! it may still be offered.
//!
//! ```text
//! Route::permits ──▶ Permits ── next ──▶ Permit ── connect ──▶ Ready ── send ──▶ Sent
//! ```
//!
//! Whichever of these is dropped gives back what it holds.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    attempt_error::AttemptError,
    connection::Connection,
    pool::{Place, Places},
    provider::provider_id,
    route::Route,
    transaction::{self, Envelope, Fence},
    wire::ServerReply,
};
use crate::mail::{AttemptOutcome, Phase, Reply, Timestamp};

/// Places for mails, taken together.
pub struct Permits {
    route: Arc<Route>,
    places: Places,
}

/// A place for one mail.
pub struct Permit {
    route: Arc<Route>,
    place: Place,
}

/// An open connection for one mail.
pub struct Ready {
    // The order matters: the connection closes before the place is given back.
    connection: Connection,
    is_reused: bool,
    /// How long it took to open the connection.
    opening: Duration,
    permit: Permit,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NotReady {
    /// The route is away and is not tried again before this time. That is no attempt.
    Away(Timestamp),
    /// The relay was tried and could not be reached.
    Failed(Reply),
}

/// The outcome of a mail.
#[derive(Debug)]
pub enum Sent {
    /// The relay was asked, or would have been in vain.
    Answered(Reply),
    /// Nothing of the message was sent and nothing is known about it: the fence said no, or the route went away.
    Withheld,
}

impl Permits {
    pub(super) fn new(route: Arc<Route>, places: Places) -> Self {
        Self { route, places }
    }

    /// Gives up all but so many.
    pub fn leave(&mut self, most: usize) {
        self.places.leave(most);
    }
}

impl Iterator for Permits {
    type Item = Permit;

    fn next(&mut self) -> Option<Permit> {
        let place = self.places.split()?;
        Some(Permit { route: Arc::clone(&self.route), place })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.places.len(), Some(self.places.len()))
    }
}

impl ExactSizeIterator for Permits {}

impl Permit {
    /// Whether the mail has to wait for its place, for as long as a quick relay takes for others.
    pub fn is_ahead(&self) -> bool {
        self.place.is_ahead()
    }

    /// Waits for the place.
    pub async fn arrive(&mut self) {
        self.place.arrive().await;
    }

    /// Takes the idle connection that was used last, or opens one. A mail that is ahead of its place waits for that first.
    ///
    /// # Errors
    /// When there is none and none may be or could be opened.
    pub async fn connect(mut self) -> Result<Ready, NotReady> {
        self.arrive().await;
        let idle = self.place.take().await;
        let (started, is_reused) = (Instant::now(), idle.is_some());
        let connection = match idle {
            Some(connection) => connection,
            None => self.route.open(started).await?,
        };
        Ok(Ready { connection, is_reused, opening: started.elapsed(), permit: self })
    }
}

impl Ready {
    /// Hands a finished message to the relay, if the fence allows.
    ///
    /// The message has CRLF line ends; dots are doubled here. The future may be dropped: the connection is then closed, and the
    /// relay may have the mail if the fence was asked whether it may be offered.
    pub async fn send(self, envelope: &Envelope<'_>, message: &[u8], fence: &dyn Fence) -> Sent {
        let Self { mut connection, is_reused, opening, permit: Permit { route, place } } = self;
        let started = Instant::now();
        let mut said = transaction::deliver(&mut connection, envelope, message, fence).await;
        if is_reused && said.as_ref().is_err_and(AttemptError::is_about_an_old_connection) {
            // The old one closes before the new one opens, so that the relay never sees one too many.
            drop(connection);
            connection = match route.open(started).await {
                Ok(connection) => connection,
                Err(NotReady::Failed(reply)) => return Sent::Answered(reply),
                Err(NotReady::Away(_)) => return Sent::Withheld,
            };
            said = transaction::deliver(&mut connection, envelope, message, fence).await;
        }
        if let Err(error) = &said
            && error.is_about_us()
        {
            connection.abandon(); // another connection signs in anew
            route.was_refused(error);
        }
        place.keep(connection);
        let took = opening + started.elapsed();
        match said {
            Ok(said) => Sent::Answered(accepted(&route, &said, took)),
            Err(error) if error.is_withheld() => Sent::Withheld,
            Err(error) => Sent::Answered(error.into_reply(route.name(), took)),
        }
    }

    /// Leaves the connection for another mail.
    pub fn keep(self) {
        self.permit.place.keep(self.connection);
    }
}

impl Route {
    /// Takes places for up to `most` mails that may be sent now, or soon: a connection of each is idle or may be opened, or
    /// comes free within milliseconds ([`Permit::is_ahead`]).
    /// Never waits. Where there are fewer than asked for, more may be had when a place is given back, or when
    /// [`Route::pause`] is over.
    pub fn permits(self: &Arc<Self>, most: usize) -> Permits {
        let pause = self.breaker().pause(Instant::now());
        let may_open = pause.map_or(most, |pause| self.pool.idle() + usize::from(pause.is_zero()));
        Permits::new(Arc::clone(self), self.pool.take(most.min(may_open), pause.is_none()))
    }

    fn was_refused(&self, error: &AttemptError) {
        if self.breaker().refused(error, Instant::now()) {
            self.note(error, None);
        }
    }

    /// Tells operators of a relay that refuses us, in its own words less our credentials.
    fn note(&self, error: &AttemptError, failures: Option<u32>) {
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let words = self.dialer.words_without_credentials(error);
        match failures {
            Some(_) => tracing::warn!(route, phase, code, words, failures, "no connection to the relay"),
            None => tracing::warn!(route, phase, code, words, "the relay refuses us"),
        }
    }

    /// Opens a connection up to the point where MAIL may follow, and says goodbye: for `postroom check`.
    ///
    /// # Errors
    /// How far it came and why no further, for operators: the relay's own words less our credentials.
    pub async fn try_out(&self) -> Result<(), String> {
        match self.dialer.dial().await {
            Ok(connection) => {
                connection.quit().await;
                Ok(())
            }
            Err(error) => {
                let code = error.code().map(|code| format!("{code} ")).unwrap_or_default();
                Err(format!("{}: {code}{}", error.phase, self.dialer.words_without_credentials(&error)))
            }
        }
    }

    async fn open(&self, started: Instant) -> Result<Connection, NotReady> {
        let leave = self.breaker().ask(Instant::now()).map_err(|(until, _)| NotReady::Away(until))?;
        match self.dialer.dial().await {
            Ok(connection) => {
                if leave.succeeded() {
                    tracing::info!(route = self.name(), "the relay can be reached again");
                }
                Ok(connection)
            }
            Err(error) => {
                if let Some(failures) = leave.failed(&error, Instant::now()) {
                    self.note(&error, Some(failures));
                }
                Err(NotReady::Failed(error.into_reply(self.name(), started.elapsed())))
            }
        }
    }
}

fn accepted(route: &Route, said: &ServerReply, took: Duration) -> Reply {
    let text = said.text();
    Reply {
        route: route.name().to_owned(),
        phase: Phase::Final,
        outcome: AttemptOutcome::Accepted,
        code: Some(said.code),
        enhanced: said.enhanced(),
        provider_id: provider_id(&text),
        text,
        took,
    }
}
