//! How many connections of a route are open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many connections are open. Counts what exists, not what somebody meant to open or close.
#[derive(Debug, Default)]
pub(super) struct Opened(AtomicUsize);

/// Counts one connection for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenCount(Arc<Opened>);

impl Opened {
    pub(super) fn count(self: &Arc<Self>) -> OpenCount {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenCount(Arc::clone(self))
    }

    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
