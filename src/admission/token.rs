//! One of each of a mail's rates, from the decision until it is used or given back.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::exhausted::ExhaustedRates;
use crate::limits::{Answer, Limiter, Tokens};

/// What rates are asked at.
pub(super) struct Rates {
    pub(super) limiter: Limiter,
    pub(super) exhausted: Arc<ExhaustedRates>,
}

/// One of each of a mail's rates, given back unless it is used.
pub(super) struct Token {
    tokens: Option<Tokens>,
    rates: Arc<Rates>,
}

impl Token {
    pub(super) fn new(tokens: Tokens, rates: &Arc<Rates>) -> Self {
        Self { tokens: Some(tokens), rates: Arc::clone(rates) }
    }

    /// Takes another one where this was taken so long ago that it is no longer good; false when there is none.
    pub(super) async fn try_renew(&mut self) -> bool {
        let Some(tokens) = self.tokens.take() else { return false };
        if tokens.are_good() {
            self.tokens = Some(tokens);
            return true;
        }
        match self.rates.limiter.renew(tokens).await {
            Answer::Granted(tokens) => {
                self.tokens = Some(tokens);
                true
            }
            Answer::Denied { .. } => false,
        }
    }

    /// The same, or another one for which it waits where this is no longer good.
    pub(super) async fn wait_and_renew(mut self) -> Self {
        let Some(tokens) = self.tokens.take() else { return self };
        if tokens.are_good() {
            self.tokens = Some(tokens);
            return self;
        }
        let ask = tokens.ask();
        drop(tokens);
        loop {
            match self.rates.limiter.take(std::slice::from_ref(&ask)).await.pop() {
                Some(Answer::Granted(tokens)) => {
                    self.tokens = Some(tokens);
                    return self;
                }
                Some(Answer::Denied { wait, .. }) => sleep(wait).await,
                None => return self, // not reached: each ask is answered
            }
        }
    }

    /// Until when it may be used; `None`: at any time.
    pub(super) fn good_until(&self) -> Option<Instant> {
        let left = self.tokens.as_ref().and_then(Tokens::good_for)?;
        Instant::now().checked_add(left)
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
            self.rates.exhausted.note_unused(&ask);
        }
    }
}
