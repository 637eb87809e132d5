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
    breaker::StopTrial,
    connection::Connection,
    pool::{Place, Places},
    route::Route,
    transaction::{self, Envelope, Fence},
    wire::ServerReply,
};
use crate::{
    mail::{AttemptOutcome, Consequence, Judgement, Phase, Reply, ReplyScope, Timestamp},
    telemetry::{METRICS, metrics::RouteStopLabels},
};

/// Places for mails, taken together.
pub struct Permits {
    route: Arc<Route>,
    places: Places,
    trial: Option<Trial>,
}

/// A mail that tries whether the relay still refuses us; the next one may when this is dropped.
pub(super) struct Trial(Arc<Route>);

impl Trial {
    pub(super) fn new(route: Arc<Route>) -> Self {
        Self(route)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.breaker().trial_ended();
    }
}

/// A place for one mail.
pub struct Permit {
    route: Arc<Route>,
    place: Place,
    trial: Option<Trial>,
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
    /// The relay refuses the sender's domain; for this long it is not asked again. Nothing of the message was sent.
    SenderWaits(Duration),
}

impl Permits {
    pub(super) fn new(route: Arc<Route>, places: Places, trial: Option<Trial>) -> Self {
        Self { route, places, trial }
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
        Some(Permit { route: Arc::clone(&self.route), place, trial: self.trial.take() })
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

    /// Takes the idle connection that was used last; `None` when there is none, or the mail is ahead of its place.
    pub fn connect_at_once(mut self) -> Option<Ready> {
        let connection = if self.is_ahead() { None } else { self.place.take_at_once() };
        Some(Ready { connection: connection?, is_reused: true, opening: Duration::ZERO, permit: self })
    }
}

impl Ready {
    /// Hands a finished message to the relay, if the fence allows.
    ///
    /// The message has CRLF line ends; dots are doubled here. The future may be dropped: the connection is then closed, and the
    /// relay may have the mail if the fence was asked whether it may be offered.
    pub async fn send(self, envelope: &Envelope<'_>, message: &[u8], fence: &dyn Fence) -> Sent {
        let Self { mut connection, is_reused, opening, permit: Permit { route, place, trial: _trial } } =
            self;
        let started = Instant::now();
        let sender = envelope.sender.map_or("", |sender| sender.domain());
        if let Err(until) = route.with_senders(|senders| senders.take_turn(sender, started)) {
            place.keep(connection);
            return Sent::SenderWaits(until.saturating_duration_since(started));
        }
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
        let said = said.map_err(|error| {
            let mut error = route.relay.dialer.with_transcript(error, &connection.transcript);
            error.judge(&route.shared.rules(), route.name());
            error
        });
        if said.as_ref().is_err_and(AttemptError::is_about_us) {
            connection.abandon(); // another connection signs in anew
        }
        route.note_answer(sender, envelope.recipient.domain(), &said);
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
        let now = Instant::now();
        let pause = self.breaker().pause(now);
        let (may_open, trial) = match pause {
            None => (most, None),
            Some(pause) => match self.breaker().begin_trial(now) {
                StopTrial::NotStopped => (self.relay.pool.idle() + usize::from(pause.is_zero()), None),
                StopTrial::NotNow => (0, None),
                StopTrial::One => (1, Some(Trial::new(Arc::clone(self)))),
            },
        };
        Permits::new(Arc::clone(self), self.relay.pool.take(most.min(may_open), pause.is_none()), trial)
    }

    /// Stops what a refusal says must stop, and lets go on what was taken.
    fn note_answer(&self, sender: &str, recipient: &str, said: &Result<ServerReply, AttemptError>) {
        let now = Instant::now();
        let judgement = said.as_ref().map_or_else(|error| error.judgement, |_| Judgement::ACCEPTED);
        match said {
            Err(error) if error.is_about_us() => {
                if self.breaker().refused(error, now) {
                    self.note_stop(error);
                }
                return;
            }
            // The relay has heard of the mail and said something about it.
            Ok(_) => self.takes_us_again(),
            Err(error) if error.code().is_some() => self.takes_us_again(),
            Err(_) => return,
        }
        let slows = matches!(judgement.then, Consequence::Slow | Consequence::Stop);
        if judgement.then == Consequence::Done || slows && judgement.scope == ReplyScope::RecipientDomain {
            self.with_recipients(|recipients| recipients.note(recipient, &judgement, now));
        }
        let is_news = self.with_senders(|senders| {
            let is_about_sender = judgement.scope == ReplyScope::SenderDomain && !sender.is_empty();
            let is_news = is_about_sender
                && judgement.then == Consequence::Stop
                && senders.not_before(sender, now).is_none();
            if is_about_sender || judgement.then == Consequence::Done {
                senders.note(sender, &judgement, now);
            }
            is_news
        });
        if let (true, Err(error)) = (is_news, said) {
            self.note_stop(error);
        }
    }

    fn takes_us_again(&self) {
        if self.breaker().takes_us() {
            tracing::info!(route = self.name(), "the relay takes us again");
        }
    }

    /// Tells operators that something must be mended before mails go on.
    fn note_stop(&self, error: &AttemptError) {
        let Judgement { class, scope, .. } = error.judgement;
        let labels =
            RouteStopLabels { route: self.name().to_owned(), class: class.as_str(), scope: scope.as_str() };
        METRICS.route_stops.get_or_create(&labels).inc();
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.place();
        let words = self.relay.dialer.words_without_credentials(error);
        tracing::error!(route, host, port, phase, code, %class, %scope, words, "the relay refuses us: mails wait until this is mended");
    }

    /// Tells operators that there is no connection, in the relay's own words less our credentials.
    fn note_failure(&self, error: &AttemptError, failures: u32) {
        let Some(times) = self.relay.away.failed() else { return };
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.place();
        let reason = self.relay.dialer.words_without_credentials(error);
        tracing::warn!(route, host, port, phase, code, reason, failures, times, "no connection to the relay");
    }

    /// Opens a connection up to the point where MAIL may follow, and says goodbye: for `postroom check`.
    ///
    /// # Errors
    /// How far it came and why no further, for operators: the relay's own words less our credentials.
    pub async fn try_out(&self) -> Result<(), String> {
        match self.relay.dialer.dial().await {
            Ok(connection) => {
                connection.quit().await;
                Ok(())
            }
            Err(error) => {
                let code = error.code().map(|code| format!("{code} ")).unwrap_or_default();
                Err(format!("{}: {code}{}", error.phase, self.relay.dialer.words_without_credentials(&error)))
            }
        }
    }

    async fn open(&self, started: Instant) -> Result<Connection, NotReady> {
        let leave = self.breaker().ask(Instant::now()).map_err(|(until, _)| NotReady::Away(until))?;
        match self.relay.dialer.dial().await {
            Ok(connection) => {
                if leave.succeeded() {
                    tracing::info!(route = self.name(), "the relay can be reached again");
                }
                Ok(connection)
            }
            Err(mut error) => {
                error.judge(&self.shared.rules(), self.name());
                let now = Instant::now();
                if error.is_about_us() && self.breaker().refused(&error, now) {
                    self.note_stop(&error);
                }
                if let Some(failures) = leave.failed(&error, now) {
                    self.note_failure(&error, failures);
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
        provider_id: route.provider_ids.find_in(&text),
        text,
        took,
        judgement: Judgement::ACCEPTED,
        transcript: None,
    }
}
