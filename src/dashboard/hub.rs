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

type Channel = Arc<watch::Sender<Drawn>>;

/// Somebody draws a page. However that ends, its channel is closed: those who look begin anew.
pub(super) struct Drawing {
    hub: Arc<Hub>,
    pub(super) key: Key,
    channel: Channel,
}

impl Drawing {
    /// Shows those who look what is news.
    pub(super) fn show(&self, drawn: Drawn) {
        self.channel.send_if_modified(|shown| {
            let is_news = *shown != drawn;
            *shown = drawn;
            is_news
        });
    }

    /// Ends if nobody looks any more; returns whether it has.
    pub(super) fn end_if_unwatched(&self) -> bool {
        let mut channels = self.hub.channels();
        let is_over = self.channel.receiver_count() == 0;
        if is_over {
            self.close(&mut channels);
        }
        is_over
    }

    fn close(&self, channels: &mut HashMap<Key, Channel>) {
        // Another may be drawing the page already.
        if channels.get(&self.key).is_some_and(|channel| Arc::ptr_eq(channel, &self.channel)) {
            channels.remove(&self.key);
        }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.close(&mut self.hub.channels());
    }
}

/// Who looks at what.
#[derive(Default)]
pub(super) struct Hub {
    channels: Mutex<HashMap<Key, Channel>>,
}

impl Hub {
    fn channels(&self) -> MutexGuard<'_, HashMap<Key, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a page shows from now on, and what draws it where nobody does yet.
    pub(super) fn look(self: &Arc<Self>, key: Key) -> (watch::Receiver<Drawn>, Option<Drawing>) {
        let mut channels = self.channels();
        if let Some(channel) = channels.get(&key) {
            let mut receiver = channel.subscribe();
            receiver.mark_changed();
            return (receiver, None);
        }
        let (sender, receiver) = watch::channel(Drawn::NotYet);
        let channel = Arc::new(sender);
        channels.insert(key.clone(), Arc::clone(&channel));
        (receiver, Some(Drawing { hub: Arc::clone(self), key, channel }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { page: "overview".to_owned(), merchant: None, role: OperatorRole::Viewer }
    }

    #[tokio::test]
    async fn a_drawing_that_panics_leaves_no_dead_channel() {
        let hub = Arc::new(Hub::default());
        let (mut receiver, drawing) = hub.look(key());
        let drawing = drawing.unwrap();
        let drawn = tokio::spawn(async move {
            drawing.show(Drawn::Slow);
            panic!("a fault in what is drawn");
        });
        assert!(drawn.await.is_err());
        assert!(receiver.changed().await.is_ok() && *receiver.borrow_and_update() == Drawn::Slow);
        assert!(receiver.changed().await.is_err(), "whoever looks is told that it is over");
        assert!(hub.look(key()).1.is_some(), "whoever comes next draws it again");
    }

    #[test]
    fn a_page_is_drawn_once_for_all_until_nobody_looks() {
        let hub = Arc::new(Hub::default());
        let (first, drawing) = hub.look(key());
        let drawing = drawing.unwrap();
        let (second, other) = hub.look(key());
        assert!(other.is_none() && !drawing.end_if_unwatched());
        drop((first, second));
        assert!(drawing.end_if_unwatched());
        let (_, next) = hub.look(key());
        drop(drawing);
        assert!(hub.look(key()).1.is_none(), "the one that ended closes its own channel alone");
        drop(next);
        assert!(hub.look(key()).1.is_some());
    }
}
