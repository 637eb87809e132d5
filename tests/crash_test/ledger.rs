//! What callers were told: every promise, and every refusal that is one too.

use std::sync::{Mutex, MutexGuard};

use postroom::mail::Timestamp;
use serde_json::Value;

/// What became of a request, as its caller knows it.
#[derive(Clone, Debug)]
pub enum Said {
    /// It was answered with success.
    Yes(Value),
    /// It was refused by a rule.
    No(u16, Value),
    /// It was answered 503, or no connection was made: it is not recorded, and nothing is sent.
    Never,
    /// There was no answer, or none that says which it was.
    Unknown,
}

/// How a mail may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The relay takes it.
    Sent,
    /// The relay takes it once at most; it may be held if nobody knows.
    SentOrHeld,
    /// The relay refuses it.
    Failed,
    /// It is cancelled.
    Cancelled,
    /// It is suppressed.
    Suppressed,
    /// It may have gone before somebody stopped it.
    Either,
}

impl Ends {
    /// Whether a mail may be in this state in the end.
    pub fn allow(self, state: &str) -> bool {
        match self {
            Self::Sent => state == "sent",
            Self::SentOrHeld => matches!(state, "sent" | "held"),
            Self::Failed => state == "failed",
            Self::Cancelled => state == "cancelled",
            Self::Suppressed => state == "suppressed",
            Self::Either => matches!(state, "sent" | "cancelled" | "suppressed"),
        }
    }
}

/// A request for one mail.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Nobody else is asked for a mail to this address.
    pub recipient: String,
    /// What the caller knows.
    pub said: Said,
    /// How it may end if it was promised.
    pub ends: Ends,
    /// When the answer was there.
    pub at: Timestamp,
    /// It may not go before.
    pub not_before: Option<Timestamp>,
    /// The order that it is about.
    pub order: Option<String>,
    /// What the merchant is told beside the mail's own event, if it is sent.
    pub also: Option<&'static str>,
    /// The relay is asked to take its time, or to refuse it at first.
    pub is_delayed: bool,
}

/// A request for a batch.
#[derive(Clone, Debug)]
pub struct PromisedBatch {
    /// Its id, if it was promised.
    pub id: Option<String>,
    /// What the caller knows.
    pub said: Said,
    /// Who gets a mail.
    pub recipients: Vec<String>,
    /// Whether somebody cancelled it before its end, or after.
    pub may_be_cancelled: bool,
}

/// All that was promised.
#[derive(Default)]
pub struct Ledger {
    promises: Mutex<Vec<Promise>>,
    batches: Mutex<Vec<PromisedBatch>>,
    oddities: Mutex<Vec<String>>,
}

impl Ledger {
    /// The promises so far.
    pub fn promises(&self) -> MutexGuard<'_, Vec<Promise>> {
        self.promises.lock().unwrap()
    }

    /// The batches so far.
    pub fn batches(&self) -> MutexGuard<'_, Vec<PromisedBatch>> {
        self.batches.lock().unwrap()
    }

    /// Answers that no caller should ever get.
    pub fn oddities(&self) -> MutexGuard<'_, Vec<String>> {
        self.oddities.lock().unwrap()
    }
}
