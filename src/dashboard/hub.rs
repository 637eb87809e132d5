//! Who looks at what: a channel for each page and set of rights, while somebody looks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{mail::MerchantId, shop::OperatorRole};

/// What is drawn once: a page, for those with the same rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) page: String,
    pub(super) merchant: Option<MerchantId>,
    pub(super) role: OperatorRole,
}

/// What a page shows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    NotYet,
    Html(Arc<str>),
    Slow,
}

pub(super) type Channel = Arc<watch::Sender<Drawn>>;

/// Who looks at what.
#[derive(Default)]
pub(super) struct Hub {
    channels: Mutex<HashMap<Key, Channel>>,
}

impl Hub {
    fn channels(&self) -> MutexGuard<'_, HashMap<Key, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a page shows from now on, and the channel where nobody draws it yet.
    pub(super) fn look(&self, key: &Key) -> (watch::Receiver<Drawn>, Option<Channel>) {
        let mut channels = self.channels();
        if let Some(channel) = channels.get(key) {
            let mut receiver = channel.subscribe();
            receiver.mark_changed();
            return (receiver, None);
        }
        let (sender, receiver) = watch::channel(Drawn::NotYet);
        let channel = Arc::new(sender);
        channels.insert(key.clone(), Arc::clone(&channel));
        (receiver, Some(channel))
    }

    /// Closes a channel at which nobody looks any more, or where that does not matter; returns whether it is closed.
    pub(super) fn close(&self, key: &Key, channel: &Channel, is_over: bool) -> bool {
        let mut channels = self.channels();
        let closes = is_over || channel.receiver_count() == 0;
        if closes {
            channels.remove(key);
        }
        closes
    }
}
