//! Leave for one mail: a connection and one of each of its rates, from the decision until the relay has the message. And the
//! routes that are tried after the chosen one, within the same attempt, while nobody has anything of the message.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    token::{Rates, Token},
    way::Way,
};
use crate::{
    limits::{Answer, Ask},
    mail::{Consequence, MailLane, Message, Phase, Reply},
    smtp::{self, Envelope, Fence, NotReady, Ready, Sent, Wish},
};

/// Leave for one mail to be sent over a route now.
pub struct Permit {
    // The order matters: what was not used of the rates is given back before somebody is told that there is a place.
    token: Option<Token>,
    connection: smtp::Permit,
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
    pub(super) fn new(token: Option<Token>, connection: smtp::Permit, others: Others) -> Self {
        Self { token, connection, others }
    }

    #[cfg(test)]
    pub(super) fn into_token(self) -> Token {
        self.token.expect("it has rates")
    }

    /// Uses it up without a relay.
    #[cfg(test)]
    pub(super) fn spend(self) {
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
        self.connection.arrive(Wish::new(lane, envelope, message, good_until)).await;
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
        others.connect(why).await
    }

    /// Gets a connection that is open already; `None` when there is none. The rates were asked this moment.
    pub(super) fn connect_at_once(self) -> Option<Offer> {
        let Self { token, connection, others } = self;
        Some(Offer { token, ready: connection.connect_at_once()?, others })
    }
}

impl Offer {
    /// What a mail goes with, where its rates still let it go.
    pub(super) async fn new(token: Option<Token>, ready: Ready, others: Others) -> Result<Self, NotAdmitted> {
        let mut offer = Self { token, ready, others };
        let is_good = match &mut offer.token {
            None => true,
            Some(token) => token.renew().await,
        };
        if is_good {
            return Ok(offer);
        }
        offer.keep();
        Err(NotAdmitted::Later)
    }

    /// Waits until the mail may go by its rates where its leave has become old, as after a claim for which the database took
    /// long: many that were held up together must not go together. `None` when that would take longer than `longest`; then the
    /// connection is left to another mail.
    pub async fn in_rate(self, longest: Duration) -> Option<Self> {
        let Self { token, ready, others } = self;
        let Some(token) = token else { return Some(Self { token: None, ready, others }) };
        match timeout(longest, token.renewed()).await {
            Ok(token) => Some(Self { token: Some(token), ready, others }),
            Err(_) => {
                ready.keep();
                None
            }
        }
    }

    /// Hands a finished message to the relay, if the fence allows; see [`Ready::send`]. Where the relay refuses us, or the sender's
    /// domain, before it has anything of the message, the other routes that may take the mail are tried.
    pub async fn send(self, envelope: &Envelope<'_>, message: &Message, fence: &dyn Fence) -> Sent {
        let mut offer = self;
        loop {
            let Self { token, ready, others } = offer;
            if let Some(token) = token {
                token.spend();
            }
            let sent = ready.send(envelope, message, fence).await;
            if !may_go_elsewhere(&sent) {
                return sent;
            }
            match others.connect(NotAdmitted::Later).await {
                Ok(next) => offer = next,
                Err(NotAdmitted::Failed(reply)) => return Sent::Answered(reply),
                Err(NotAdmitted::Later) => return sent,
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
        Sent::Answered(reply) => {
            reply.judgement.then == Consequence::Stop
                && matches!(reply.phase, Phase::MailFrom | Phase::RcptTo)
        }
        Sent::SenderWaits(_) | Sent::RouteWaits => true,
        Sent::Withheld => false,
    }
}

/// Routes that may take a mail in place of the one that was chosen, in their order.
pub(super) struct Others {
    rates: Arc<Rates>,
    /// The last of them is the next.
    ways: Vec<(Arc<Way>, Ask)>,
}

impl Others {
    pub(super) fn new(rates: &Arc<Rates>) -> Self {
        Self { rates: Arc::clone(rates), ways: Vec::new() }
    }

    /// Adds a route behind those that are there, and what is asked for it.
    pub(super) fn add(&mut self, way: Arc<Way>, ask: Ask) {
        self.ways.insert(0, (way, ask));
    }

    /// Gets a connection of the next of them that has one, and one of each of its rates.
    ///
    /// # Errors
    /// When there is none: what the last relay said that was tried, or that the mail is to wait because one of them is
    /// only busy.
    pub(super) async fn connect(self, why: NotAdmitted) -> Result<Offer, NotAdmitted> {
        // Boxed, as it is rare: else every mail would carry the room for another route.
        Box::pin(self.connect_to_next(why)).await
    }

    async fn connect_to_next(mut self, mut why: NotAdmitted) -> Result<Offer, NotAdmitted> {
        let mut is_one_busy = false;
        while let Some((way, ask)) = self.ways.pop() {
            if way.is_drained() {
                continue;
            }
            let Some(connection) = way.route.permit_now() else {
                is_one_busy |= way.route.pause().is_none();
                continue;
            };
            let answer = self.rates.limiter.take(std::slice::from_ref(&ask)).await.pop();
            let Some(Answer::Granted(tokens)) = answer else {
                is_one_busy = true;
                continue;
            };
            let token = (!ask.is_empty()).then(|| Token::new(tokens, &self.rates));
            match connection.connect().await {
                Ok(ready) => return Offer::new(token, ready, self).await,
                Err(NotReady::Away(_)) => {}
                Err(NotReady::Failed(reply)) => why = NotAdmitted::Failed(reply),
            }
        }
        Err(if is_one_busy { NotAdmitted::Later } else { why })
    }
}
