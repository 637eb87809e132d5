//! An open connection for one mail, and what becomes of the mail on it.
//!
//! While one mail is sent, the next may wait for its connection with its message ready. Then its MAIL, RCPT and DATA leave in
//! the write that ends this message, and this connection goes to it with their answers to come: each mail costs one round trip.
//! What becomes of one mail says nothing about the other. If the connection is lost, only the one whose final dot was sent may
//! have arrived; the other takes another connection at once.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    attempt_error::AttemptError,
    connection::Connection,
    line::Wish,
    place::{Following, Place},
    route::Route,
    transaction::{self, Envelope, Fence, Transaction},
    wire::ServerReply,
};
use crate::{
    mail::{AttemptOutcome, Consequence, Judgement, Message, Phase, Reply, ReplyScope, Timestamp},
    telemetry::{METRICS, metrics::RouteStopLabels},
};

/// An open connection for one mail.
pub struct Ready {
    // The order matters: the connection closes before the place is given back.
    connection: Connection,
    is_reused: bool,
    /// When the envelope of this mail was sent over it, where that was done already.
    begun: Option<Instant>,
    /// How long it took to open the connection.
    opening: Duration,
    place: Place,
    route: Arc<Route>,
    _trial: Option<Trial>,
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

impl Ready {
    /// Takes the connection that there is for the place, or opens one.
    pub(super) async fn open(
        route: Arc<Route>,
        mut place: Place,
        trial: Option<Trial>,
    ) -> Result<Self, NotReady> {
        let idle = place.take().await;
        let started = Instant::now();
        let (place, connection, begun, is_reused) = match idle {
            Some((connection, begun)) => (place, connection, begun, true),
            None => {
                // Boxed, as it is rare: else every mail would carry the room for it.
                let opened = Box::pin(Arc::clone(&route).open_or_take(place, started)).await?;
                (opened.0, opened.1, None, opened.2)
            }
        };
        let opening = if is_reused { Duration::ZERO } else { started.elapsed() };
        Ok(Self { connection, is_reused, begun, opening, place, route, _trial: trial })
    }

    /// With a connection that was there.
    pub(super) fn with(
        connection: Connection,
        route: Arc<Route>,
        place: Place,
        trial: Option<Trial>,
    ) -> Self {
        let (begun, opening) = (None, Duration::ZERO);
        Self { connection, is_reused: true, begun, opening, place, route, _trial: trial }
    }

    /// Whether the relay has been told of this mail, which counts as sent by its rates.
    pub fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Hands a finished message to the relay, if the fence allows.
    ///
    /// The future may be dropped: the connection is then closed, and the relay may have the mail if the fence was asked
    /// whether it may be offered.
    pub async fn send(self, envelope: &Envelope<'_>, message: &Message, fence: &dyn Fence) -> Sent {
        let Self { connection, is_reused, begun, opening, place, route, _trial: _until_sent } = self;
        let started = begun.unwrap_or_else(Instant::now);
        let sender = envelope.sender.map_or("", |sender| sender.domain());
        if begun.is_none()
            && let Err(until) = route.with_senders(|senders| senders.take_turn(sender, started))
        {
            place.keep(connection);
            return Sent::SenderWaits(until.saturating_duration_since(started));
        }
        // The order matters, as above: what is declared last is dropped first.
        let (place, mut following, mut connection) = (place, None, connection);
        let mail = Transaction { envelope, message, fence };
        let is_begun = begun.is_some();
        let mut next = |connection: &mut Connection| following = route.begin_next(connection, fence);
        let mut said = transaction::deliver(&mut connection, &mail, is_begun, &mut next).await;
        if is_begun && said.as_ref().is_err_and(AttemptError::is_out_of_step) {
            route.note_failed_group();
        }
        let is_old = is_reused && said.as_ref().is_err_and(AttemptError::is_about_an_old_connection);
        // In a group MAIL may be refused because of what came before it. Asked alone, the relay says what it has against the mail.
        let is_doubtful = is_begun && said.as_ref().is_err_and(AttemptError::is_refused_at_mail);
        if is_old || is_doubtful {
            if is_old || !connection.is_usable() {
                // The old one closes before the new one opens, so that the relay never sees one too many.
                drop(connection);
                connection = match route.open(started).await {
                    Ok(connection) => connection,
                    Err(NotReady::Failed(reply)) => return Sent::Answered(reply),
                    Err(NotReady::Away(_)) => return Sent::Withheld,
                };
            }
            said = transaction::deliver(&mut connection, &mail, false, &mut next).await;
            let is_taken_alone = said.as_ref().map_or_else(|error| error.phase != Phase::MailFrom, |_| true);
            if is_doubtful && is_taken_alone {
                route.note_failed_group();
            }
        }
        let domains = [sender, envelope.recipient.domain()];
        let said = said.map_err(|error| {
            let mut error = route.relay.dialer.with_transcript(error, &connection.transcript);
            error.judge(&route.shared.rules(), route.name(), &domains);
            error
        });
        if said.as_ref().is_err_and(AttemptError::is_about_us) {
            connection.abandon(); // another connection signs in anew
        }
        route.note_answer(sender, envelope.recipient.domain(), &said);
        place.hand_on(connection, following);
        let took = opening + started.elapsed();
        match said {
            Ok(said) => Sent::Answered(accepted(&route, &said, took)),
            Err(error) if error.is_withheld() => Sent::Withheld,
            Err(error) => Sent::Answered(error.into_reply(route.name(), took)),
        }
    }

    /// Leaves the connection for another mail.
    pub fn keep(mut self) {
        if self.is_begun() {
            // The relay waits for the message of this mail.
            self.connection.abandon();
        }
        self.place.keep(self.connection);
    }
}

impl Route {
    /// Puts the envelope of the mail that waits first behind what is about to be sent, if it may go along.
    fn begin_next(&self, connection: &mut Connection, fence: &dyn Fence) -> Option<Following> {
        let now = Instant::now();
        let may_follow = |wish: &Wish| {
            let envelope = wish.envelope();
            let sender = envelope.sender.map_or("", |sender| sender.domain());
            fence.may_begin_next()
                && self.pause().is_none()
                && transaction::can_carry(connection, &envelope, wish.size, wish.is_ascii)
                && self.with_senders(|senders| senders.take_turn(sender, now)).is_ok()
        };
        let waiter = self.relay.pool.pooled().take_following(connection, may_follow)?;
        let wish = waiter.wish();
        transaction::begin(connection, &wish.envelope(), wish.size, wish.is_ascii);
        Some(Following { waiter, begun: Some(now) })
    }

    /// Notes that the relay lost what came right behind a message: nothing comes there for a while.
    fn note_failed_group(&self) {
        if self.relay.pool.pooled().grouping.failed(Instant::now()) {
            tracing::info!(
                route = self.name(),
                "the relay does not take the next mail right behind a message: for ten minutes each mail waits for the answer to the one before it"
            );
        }
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
        let words = self.relay.dialer.words_for_the_log(error);
        tracing::error!(route, host, port, phase, code, %class, %scope, words, "the relay refuses us: mails wait until this is mended");
    }

    /// Tells operators that there is no connection, in the relay's own words less our credentials.
    fn note_failure(&self, error: &AttemptError, failures: u32) {
        let Some(times) = self.relay.away.failed() else { return };
        let (route, phase, code) = (self.name(), error.phase.as_str(), error.code());
        let (host, port) = self.relay.dialer.place();
        let reason = self.relay.dialer.words_for_the_log(error);
        tracing::warn!(route, host, port, phase, code, reason, failures, times, "no connection to the relay");
    }

    pub(super) async fn open(&self, started: Instant) -> Result<Connection, NotReady> {
        let leave = self.breaker().ask(Instant::now()).map_err(NotReady::Away)?;
        // Boxed, as it is rare: else every mail would carry the room for a handshake.
        match Box::pin(self.relay.dialer.dial()).await {
            Ok(connection) => {
                if leave.succeeded() {
                    tracing::info!(route = self.name(), "the relay can be reached again");
                }
                Ok(connection)
            }
            Err(mut error) => {
                error.judge(&self.shared.rules(), self.name(), &[]);
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
