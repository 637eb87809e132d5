//! The permit of one mail: a connection and one of each of its rates, from the decision until the relay has the message. And the
//! routes that are tried after the chosen one, within the same attempt, while nobody has anything of the message.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    admission_route::AdmissionRoute,
    token::{Rates, Token},
};
use crate::{
    limits::{Answer, Ask},
    mail::{AttemptOutcome, Consequence, Judgement, MailLane, Message, Phase, Reply},
    smtp::{self, Envelope, Fence, NotReady, Ready, Sent, WaitingMail},
};

/// Permission for one mail to be sent over a route now.
pub struct Permit {
    // The order matters: what was not used of the rates is given back before somebody is told that there is a connection.
    token: Option<Token>,
    connection: smtp::PoolPermit,
    others: Others,
}

/// An open connection and one of each rate, for one mail.
pub struct Offer {
    // The order matters, as above.
    token: Option<Token>,
    ready: Ready,
    /// Where it goes when this relay refuses us.
    others: Others,
}

/// Why a permit led to no connection.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The mail waits once more. That is no attempt.
    Later,
    /// The relay was tried and could not be reached.
    Failed(Reply),
}

impl Permit {
    pub(in crate::admission) fn new(
        token: Option<Token>,
        connection: smtp::PoolPermit,
        others: Others,
    ) -> Self {
        Self { token, connection, others }
    }

    #[cfg(test)]
    pub(in crate::admission) fn into_token(self) -> Token {
        self.token.expect("it has rates")
    }

    /// Uses it up without a relay.
    #[cfg(test)]
    pub(in crate::admission) fn spend(self) {
        if let Some(token) = self.token {
            token.spend();
        }
    }

    /// Whether the mail is admitted ahead of a connection: it is claimed and rendered while others are sent, and then
    /// waits for its turn.
    pub fn is_ahead(&self) -> bool {
        self.connection.is_ahead()
    }

    /// Waits for the turn of a mail that is ahead, with its message ready.
    pub async fn arrive(&mut self, lane: MailLane, envelope: &Envelope<'_>, message: &Message) {
        let good_until = self.token.as_ref().and_then(Token::good_until);
        self.connection.arrive(WaitingMail::new(lane, envelope, message, good_until)).await;
    }

    /// Gets the connection. Where one has to be opened that may take long; then the rates are asked once more. Where it cannot be
    /// opened, the other routes that may take the mail are tried.
    ///
    /// # Errors
    /// When there is no connection, or it came too late for one of the rates.
    pub async fn connect(self) -> Result<Offer, NotAdmitted> {
        let Self { token, connection, others } = self;
        let why = match connection.connect().await {
            Ok(ready) if ready.is_begun() => {
                if let Some(token) = token {
                    token.spend(); // the relay was told of the mail in time
                }
                return Ok(Offer { token: None, ready, others });
            }
            Ok(ready) => return Offer::new(token, ready, others).await,
            Err(NotReady::Away(_)) => NotAdmitted::Later,
            Err(NotReady::Failed(reply)) => NotAdmitted::Failed(reply),
        };
        drop(token);
        match others.connect().await {
            Ok(offer) => Ok(offer),
            Err(Left { is_one_busy: true, .. }) => Err(NotAdmitted::Later),
            Err(Left { failed, .. }) => Err(failed.map_or(why, NotAdmitted::Failed)),
        }
    }

    /// Gets a connection that is open already; `None` when there is none. The rates were asked this moment.
    pub(in crate::admission) fn connect_at_once(self) -> Option<Offer> {
        let Self { token, connection, others } = self;
        Some(Offer { token, ready: connection.connect_at_once()?, others })
    }
}

impl Offer {
    /// What a mail goes with, where its rates still let it go.
    pub(in crate::admission) async fn new(
        token: Option<Token>,
        ready: Ready,
        others: Others,
    ) -> Result<Self, NotAdmitted> {
        let mut offer = Self { token, ready, others };
        let is_good = match &mut offer.token {
            None => true,
            Some(token) => token.try_renew().await,
        };
        if is_good {
            return Ok(offer);
        }
        offer.keep();
        Err(NotAdmitted::Later)
    }

    /// Waits until the mail may go by its rates where its tokens have become old, as after a claim for which the database took
    /// long: many that were held up together must not go together. `None` when that would take longer than `longest`; then the
    /// connection is left to another mail.
    pub async fn in_rate(self, longest: Duration) -> Option<Self> {
        let Self { token, ready, others } = self;
        let Some(token) = token else { return Some(Self { token: None, ready, others }) };
        match timeout(longest, token.wait_and_renew()).await {
            Ok(token) => Some(Self { token: Some(token), ready, others }),
            Err(_) => {
                ready.keep();
                None
            }
        }
    }

    /// Hands a finished message to the relay, if the fence allows; see [`Ready::send`]. Where it comes to nothing, before the relay
    /// has anything of the message, over something else than the mail, the other routes that may take the mail are tried.
    pub async fn send(self, envelope: &Envelope<'_>, message: &Message, fence: &dyn Fence) -> Sent {
        let mut offer = self;
        let mut before: Option<Box<Sent>> = None;
        loop {
            let Self { token, ready, others } = offer;
            if let Some(token) = token {
                token.spend();
            }
            let sent = ready.send(envelope, message, fence).await;
            if !may_go_elsewhere(&sent) {
                return sent;
            }
            // What a relay cannot carry does not fail a mail that another one only could not take now.
            let sent = match before.take() {
                Some(before) if cannot_carry(&sent) => *before,
                _ => sent,
            };
            match others.connect().await {
                Ok(next) => (offer, before) = (next, Some(Box::new(sent))),
                Err(left) => return left.after(sent),
            }
        }
    }

    /// Leaves connection and rates to another mail.
    pub fn keep(self) {
        drop(self.token);
        self.ready.keep();
    }
}

/// Whether nothing of the message was sent, and it was not the mail that was refused.
fn may_go_elsewhere(sent: &Sent) -> bool {
    match sent {
        Sent::Answered(reply) => match reply.phase {
            Phase::Connect | Phase::Greeting | Phase::Hello | Phase::Tls | Phase::Auth => true,
            // Without a code it is not the relay that says no.
            Phase::MailFrom | Phase::RcptTo | Phase::Data => {
                reply.code.is_none() || reply.judgement.then == Consequence::Stop
            }
            Phase::Render | Phase::Route | Phase::Content | Phase::Final => false,
        },
        Sent::SenderWaits(_) | Sent::RouteWaits => true,
        Sent::Withheld => false,
    }
}

/// Whether the relay lacks what the mail needs, and was not asked.
fn cannot_carry(sent: &Sent) -> bool {
    matches!(sent, Sent::Answered(reply) if reply.code.is_none() && reply.outcome == AttemptOutcome::Permanent)
}

/// Why no other route has a connection for a mail now.
struct Left {
    /// What the last relay said that was tried, and could not be reached.
    failed: Option<Reply>,
    /// One has no free connection, or nothing left of a rate.
    is_one_busy: bool,
    /// One of those that were asked for the mail so far may have them later.
    may_be_later: bool,
}

impl Left {
    /// What comes of a mail that a relay did not take like this.
    fn after(self, sent: Sent) -> Sent {
        match (sent, self.failed) {
            (_, Some(reply)) if !self.is_one_busy => Sent::Answered(reply),
            (Sent::Answered(reply), _) if self.may_be_later && reply.outcome == AttemptOutcome::Permanent => {
                Sent::Answered(Reply {
                    outcome: AttemptOutcome::Transient,
                    enhanced: None,
                    judgement: Judgement { then: Consequence::Retry, ..reply.judgement },
                    text: format!("{}; no other route can take it now", reply.text),
                    ..reply
                })
            }
            (sent, _) => sent,
        }
    }
}

/// Routes that may take a mail in place of the one that was chosen, in their order.
pub(in crate::admission) struct Others {
    rates: Arc<Rates>,
    /// The last of them is the next.
    routes: Vec<(Arc<AdmissionRoute>, Ask)>,
    /// One more may take it later: it is paused, away or busy.
    may_be_later: bool,
}

impl Others {
    pub(in crate::admission) fn new(rates: &Arc<Rates>) -> Self {
        Self { rates: Arc::clone(rates), routes: Vec::new(), may_be_later: false }
    }

    /// Adds a route behind those that are there, and what is asked for it.
    pub(in crate::admission) fn add(&mut self, route: Arc<AdmissionRoute>, ask: Ask) {
        self.routes.insert(0, (route, ask));
    }

    /// Notes that there is one more, which is paused.
    pub(in crate::admission) fn note_paused(&mut self) {
        self.may_be_later = true;
    }

    /// Gets a connection of the next of them that has one, and one of each of its rates.
    ///
    /// # Errors
    /// When there is none, why.
    async fn connect(self) -> Result<Offer, Left> {
        // Boxed, as it is rare: else every mail would carry the room for another route.
        Box::pin(self.connect_to_next()).await
    }

    async fn connect_to_next(mut self) -> Result<Offer, Left> {
        let (mut failed, mut is_one_busy) = (None, false);
        while let Some((route, ask)) = self.routes.pop() {
            if route.is_drained() {
                continue;
            }
            // Unless it comes to be the one that is taken.
            let may_be_later = std::mem::replace(&mut self.may_be_later, true);
            let Some(connection) = route.smtp_route.permit_now() else {
                is_one_busy |= route.smtp_route.pause().is_none();
                continue;
            };
            let answer = self.rates.limiter.take(std::slice::from_ref(&ask)).await.pop();
            let Some(Answer::Granted(tokens)) = answer else {
                is_one_busy = true;
                continue;
            };
            let token = (!ask.is_empty()).then(|| Token::new(tokens, &self.rates));
            match connection.connect().await {
                Ok(ready) => {
                    self.may_be_later = may_be_later;
                    let too_late = |_| Left { failed, is_one_busy: true, may_be_later: true };
                    return Offer::new(token, ready, self).await.map_err(too_late);
                }
                Err(NotReady::Away(_)) => {}
                Err(NotReady::Failed(reply)) => failed = Some(reply),
            }
        }
        Err(Left { failed, is_one_busy, may_be_later: self.may_be_later })
    }
}

#[cfg(test)]
mod tests;
