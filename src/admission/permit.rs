//! Leave for one mail: a connection and one of each of its rates, from the decision until the relay has the message.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::closed::Closed;
use crate::{
    limits::{Answer, Limiter, Tokens},
    mail::Reply,
    smtp::{self, Envelope, Fence, NotReady, Ready, Sent},
};

/// Leave for one mail to be sent over a route now.
pub struct Permit {
    // The order matters: what was not used of the rates is given back before somebody is told that there is a place.
    token: Option<Token>,
    connection: smtp::Permit,
}

/// An open connection and one of each rate, for one mail.
pub struct Offer {
    // The order matters, as above.
    token: Option<Token>,
    ready: Ready,
}

/// Why a permit led to no connection.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The mail waits once more. That is no attempt.
    Later,
    /// The relay was tried and could not be reached.
    Failed(Reply),
}

/// One of each of a mail's rates, given back unless it is used.
pub(super) struct Token {
    tokens: Option<Tokens>,
    limiter: Limiter,
    closed: Arc<Closed>,
}

impl Token {
    pub(super) fn new(tokens: Tokens, limiter: &Limiter, closed: &Arc<Closed>) -> Self {
        Self { tokens: Some(tokens), limiter: limiter.clone(), closed: Arc::clone(closed) }
    }

    /// Takes another one where this was taken so long ago that it is no longer good; false when there is none.
    async fn renew(&mut self) -> bool {
        let Some(tokens) = self.tokens.take() else { return false };
        if tokens.are_good() {
            self.tokens = Some(tokens);
            return true;
        }
        match self.limiter.renew(tokens).await {
            Answer::Granted(tokens) => {
                self.tokens = Some(tokens);
                true
            }
            Answer::Denied { .. } => false,
        }
    }

    /// The same, or another one for which it waits where this is no longer good.
    pub(super) async fn renewed(mut self) -> Self {
        let Some(tokens) = self.tokens.take() else { return self };
        if tokens.are_good() {
            self.tokens = Some(tokens);
            return self;
        }
        let ask = tokens.ask();
        drop(tokens);
        loop {
            match self.limiter.take(std::slice::from_ref(&ask)).await.pop() {
                Some(Answer::Granted(tokens)) => {
                    self.tokens = Some(tokens);
                    return self;
                }
                Some(Answer::Denied { wait, .. }) => sleep(wait).await,
                None => return self, // not reached: each ask is answered
            }
        }
    }

    pub(super) fn spend(mut self) {
        if let Some(tokens) = self.tokens.take() {
            tokens.spend();
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(tokens) = self.tokens.take() {
            let ask = tokens.ask();
            drop(tokens);
            self.closed.gave_back(&ask);
        }
    }
}

impl Permit {
    pub(super) fn new(token: Option<Token>, connection: smtp::Permit) -> Self {
        Self { token, connection }
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

    /// Waits for the turn of a mail that is ahead.
    pub async fn arrive(&mut self) {
        self.connection.arrive().await;
    }

    /// Gets the connection. Where one has to be opened that may take long; then the rates are asked once more.
    ///
    /// # Errors
    /// When there is no connection, or it came too late for one of the rates.
    pub async fn connect(self) -> Result<Offer, NotAdmitted> {
        let Self { mut token, connection } = self;
        let ready = match connection.connect().await {
            Ok(ready) => ready,
            Err(NotReady::Away(_)) => return Err(NotAdmitted::Later),
            Err(NotReady::Failed(reply)) => return Err(NotAdmitted::Failed(reply)),
        };
        let is_good = match &mut token {
            None => true,
            Some(token) => token.renew().await,
        };
        if is_good {
            return Ok(Offer { token, ready });
        }
        ready.keep();
        Err(NotAdmitted::Later)
    }
}

impl Offer {
    /// Waits until the mail may go by its rates where its leave has become old, as after a claim for which the database took
    /// long: many that were held up together must not go together. `None` when that would take longer than `longest`; then the
    /// connection is left to another mail.
    pub async fn in_rate(self, longest: Duration) -> Option<Self> {
        let Self { token, ready } = self;
        let Some(token) = token else { return Some(Self { token: None, ready }) };
        match timeout(longest, token.renewed()).await {
            Ok(token) => Some(Self { token: Some(token), ready }),
            Err(_) => {
                ready.keep();
                None
            }
        }
    }

    /// Hands a finished message to the relay, if the fence allows; see [`Ready::send`].
    pub async fn send(self, envelope: &Envelope<'_>, message: &[u8], fence: &dyn Fence) -> Sent {
        let Self { token, ready } = self;
        if let Some(token) = token {
            token.spend();
        }
        ready.send(envelope, message, fence).await
    }

    /// Leaves connection and rates to another mail.
    pub fn keep(self) {
        drop(self.token);
        self.ready.keep();
    }
}
