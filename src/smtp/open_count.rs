//! How many connections of a route are open, and how many of them are ready for mail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many connections are open. Counts what exists, not what somebody meant to open or close.
#[derive(Debug, Default)]
pub(super) struct Opened {
    all: AtomicUsize,
    ready: AtomicUsize,
}

/// Counts one connection for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenCount {
    opened: Arc<Opened>,
    is_ready: bool,
}

impl Opened {
    pub(super) fn count(self: &Arc<Self>) -> OpenCount {
        self.all.fetch_add(1, Ordering::Relaxed);
        OpenCount { opened: Arc::clone(self), is_ready: false }
    }

    pub(super) fn now(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Those that have come to where MAIL may follow.
    pub(super) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }
}

impl OpenCount {
    /// Notes that MAIL may follow.
    pub(super) fn note_ready(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.opened.ready.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.opened.all.fetch_sub(1, Ordering::Relaxed);
        if self.is_ready {
            self.opened.ready.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
