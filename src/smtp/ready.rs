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
    connection_queue::WaitingMail,
    consequences::Asked,
    fence::Fence,
    pool_slot::{PipelinedMail, PoolSlot},
    route::Route,
    transaction::{self, BeforeFinalDot, Envelope, Transaction},
    wire::ServerReply,
};
use crate::{
    clock,
    mail::{AttemptOutcome, Judgement, Message, Phase, Reply, Timestamp},
};

/// An open connection for one mail.
pub struct Ready {
    // The order matters: the connection closes before the slot is given back.
    connection: Connection,
    is_reused: bool,
    /// When the envelope of this mail was sent over it, where that was done already.
    begun: Option<Instant>,
    /// How long it took to open the connection.
    opening: Duration,
    slot: PoolSlot,
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
    /// Nothing of the message was sent and nothing is known about it: the fence said no.
    Withheld,
    /// The route went away, or its relay gets too much. Nothing of the message was sent.
    RouteWaits,
    /// The relay refuses the sender's domain; for this long it is not asked again. Nothing of the message was sent.
    SenderWaits(Duration),
}

/// How a mail is tried once more within its attempt.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    /// Over a new connection: what was said was about the one that was used before.
    Elsewhere,
    /// Over the same, without a message before it: in a group MAIL may be refused because of what came before it. Asked alone, the
    /// relay says what it has against the mail.
    Alone,
}

impl Again {
    fn after(error: &AttemptError, is_reused: bool, is_begun: bool) -> Option<Self> {
        if is_reused && error.is_about_a_used_connection() {
            Some(Self::Elsewhere)
        } else if is_begun && error.is_refused_at_mail() && !error.is_about_our_rate() {
            Some(Self::Alone)
        } else {
            None
        }
    }
}

impl Ready {
    /// Takes the connection that there is for the slot, or opens one.
    pub(super) async fn open(
        route: Arc<Route>,
        mut slot: PoolSlot,
        trial: Option<Trial>,
    ) -> Result<Self, NotReady> {
        let idle = slot.take().await;
        let started = Instant::now();
        let (slot, connection, begun, is_reused) = match idle {
            Some((connection, begun)) => (slot, connection, begun, true),
            None => {
                // Boxed, as it is rare: else every mail would carry the room for it.
                let opened = Box::pin(Arc::clone(&route).open_or_take(slot, started)).await?;
                (opened.0, opened.1, None, opened.2)
            }
        };
        let opening = if is_reused { Duration::ZERO } else { started.elapsed() };
        Ok(Self { connection, is_reused, begun, opening, slot, route, _trial: trial })
    }

    /// With a connection that was there.
    pub(super) fn with(
        connection: Connection,
        route: Arc<Route>,
        slot: PoolSlot,
        trial: Option<Trial>,
    ) -> Self {
        let (begun, opening) = (None, Duration::ZERO);
        Self { connection, is_reused: true, begun, opening, slot, route, _trial: trial }
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
        let Self { connection, is_reused, begun, opening, slot, route, _trial: _until_sent } = self;
        let started = begun.unwrap_or_else(Instant::now);
        let sender = envelope.sender.map_or("", |sender| sender.domain());
        if begun.is_none()
            && let Some(waits) = route.keeps_waiting(sender, started)
        {
            slot.keep(connection);
            return waits;
        }
        // The order matters, as above: what is declared last is dropped first.
        let (slot, mut following, mut connection) = (slot, None, connection);
        let mail = Transaction { envelope, message, fence };
        let (is_begun, mut is_fresh) = (begun.is_some(), !is_reused);
        let mut before_final_dot =
            |connection: &mut Connection| following = route.begin_next(connection, fence);
        let mut said = route.deliver(&mut connection, &mail, is_begun, &mut before_final_dot).await;
        if let Some(again) = said.as_ref().err().and_then(|error| Again::after(error, is_reused, is_begun)) {
            if again == Again::Elsewhere || !connection.is_usable() {
                connection = match Box::pin(route.replace(connection, started)).await {
                    Ok(connection) => connection,
                    Err(NotReady::Failed(reply)) => return Sent::Answered(reply),
                    Err(NotReady::Away(_)) => return Sent::RouteWaits,
                };
                is_fresh = true;
            }
            said = route.deliver(&mut connection, &mail, false, &mut before_final_dot).await;
            let is_taken_alone = said.as_ref().map_or_else(|error| error.phase != Phase::MailFrom, |_| true);
            if again == Again::Alone && is_taken_alone {
                route.note_failed_group();
            }
        }
        let error = said.as_ref().err();
        if error.is_some_and(AttemptError::stops_the_route) {
            connection.abandon(); // another connection signs in anew
        }
        connection.is_full |= error.is_some_and(AttemptError::is_about_a_full_connection);
        let recipient = envelope.recipient.domain();
        route.note_answer(&Asked { sender, recipient, is_fresh }, &said);
        slot.hand_on(connection, following);
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
        self.slot.keep(self.connection);
    }
}

impl Route {
    /// Puts the envelope of the mail that waits first behind what is about to be sent, if it may go along.
    fn begin_next(&self, connection: &mut Connection, fence: &dyn Fence) -> Option<PipelinedMail> {
        let now = Instant::now();
        let may_follow = |mail: &WaitingMail| {
            let envelope = mail.envelope();
            let sender = envelope.sender.map_or("", |sender| sender.domain());
            fence.may_begin_next()
                && self.pause().is_none()
                && transaction::can_carry(connection, &envelope, mail.size, mail.is_ascii)
                && self.with_senders(|senders| senders.take_turn(sender, now)).is_ok()
        };
        let waiter = self.relay.pool.pooled().take_following(connection, may_follow)?;
        let mail = waiter.mail();
        transaction::pipeline_envelope(connection, &mail.envelope(), mail.size, mail.is_ascii);
        Some(PipelinedMail { waiter, begun: Some(now) })
    }

    /// Why a mail from this sender may not go now; else it takes its turn.
    fn keeps_waiting(&self, sender: &str, now: Instant) -> Option<Sent> {
        if self.breaker().most_at_this_pace(1, now) == 0 {
            return Some(Sent::RouteWaits);
        }
        if let Err(until) = self.with_senders(|senders| senders.take_turn(sender, now)) {
            return Some(Sent::SenderWaits(until.saturating_duration_since(now)));
        }
        (!self.breaker().take_turn(now)).then_some(Sent::RouteWaits)
    }

    /// Hands over the message, if the fence allows, and judges a refusal.
    async fn deliver(
        &self,
        connection: &mut Connection,
        mail: &Transaction<'_>,
        is_begun: bool,
        before_final_dot: &mut BeforeFinalDot<'_>,
    ) -> Result<ServerReply, AttemptError> {
        if !is_begun {
            connection.is_stepwise = !self.relay.pool.pooled().grouping.takes_envelopes(Instant::now());
        }
        let said = transaction::deliver(connection, mail, is_begun, before_final_dot).await;
        said.map_err(|error| {
            if error.is_out_of_step() && is_begun {
                self.note_failed_group();
            } else if error.is_out_of_step() && error.phase != Phase::MailFrom && connection.takes_groups() {
                self.note_failed_envelope();
            }
            let mut error = self.relay.dialer.with_transcript(error, &connection.transcript);
            let sender = mail.envelope.sender.map_or("", |sender| sender.domain());
            error.judge(&self.shared.rules(), self.name(), &[sender, mail.envelope.recipient.domain()]);
            error
        })
    }

    /// Opens a connection in place of one that is of no use. That closes first, so that the relay never sees one too many.
    async fn replace(&self, old: Connection, started: Instant) -> Result<Connection, NotReady> {
        old.quit().await;
        self.open(started).await
    }

    pub(super) async fn open(&self, started: Instant) -> Result<Connection, NotReady> {
        if self.breaker().most_at_this_pace(1, Instant::now()) == 0 {
            return Err(NotReady::Away(clock::now() + self.pause().unwrap_or_default()));
        }
        let permit = self.breaker().ask(Instant::now()).map_err(NotReady::Away)?;
        // Boxed, as it is rare: else every mail would carry the room for a handshake.
        match Box::pin(self.relay.dialer.dial()).await {
            Ok(connection) => {
                if permit.succeeded() {
                    tracing::info!(route = self.name(), "the relay can be reached again");
                }
                Ok(connection)
            }
            Err(mut error) => {
                error.judge(&self.shared.rules(), self.name(), &[]);
                let now = Instant::now();
                if error.stops_the_route() && self.breaker().refused(&error, now) {
                    self.note_stop(&error);
                }
                // While it takes others of us, it is not away, whatever it says to one too many.
                let wait = error.judgement.wait.filter(|_| self.has_none_open());
                if let Some(failures) = permit.failed(&error, wait, now) {
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
