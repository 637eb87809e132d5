//! What all routes of a process share, also those that a change of the configuration replaces.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use super::{pace::DomainPace, replies::ReplyRules, tuning::Tuning};

/// Tells of connections that come free: each is told to both.
#[derive(Default)]
pub(super) struct ConnectionsFreed {
    /// The worker, which fetches for them.
    pub(super) worker: Arc<Notify>,
    /// The mails that wait to be handed over, one at a time.
    pub(super) hand_over: Notify,
}

impl ConnectionsFreed {
    pub(super) fn tell(&self) {
        self.worker.notify_one();
        self.hand_over.notify_one();
    }
}

/// What all routes share.
pub(super) struct Shared {
    pub(super) tuning: Tuning,
    pub(super) freed: Arc<ConnectionsFreed>,
    rules: RwLock<Arc<ReplyRules>>,
    recipients: Mutex<DomainPace>,
}

impl Shared {
    pub(super) fn new(tuning: Tuning, rules: ReplyRules) -> Self {
        Self {
            tuning,
            freed: Arc::default(),
            rules: RwLock::new(Arc::new(rules)),
            recipients: Mutex::default(),
        }
    }

    /// What refusals mean, by the rules of the moment.
    pub(super) fn rules(&self) -> Arc<ReplyRules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges by these rules from now on.
    pub(super) fn replace_rules(&self, rules: ReplyRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// How fast the recipients' domains that get too much may go on.
    pub(super) fn with_recipients<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        act(&mut self.recipients.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
