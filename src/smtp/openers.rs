//! The mails that open a connection, first come first served. Each is handed one that comes free before its own is open.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::connection_queue::HandedConnection;

/// Those of one route. One that has its connection is gone.
#[derive(Default)]
pub(super) struct Openers(Mutex<VecDeque<oneshot::Sender<HandedConnection>>>);

impl Openers {
    /// Waits behind the others for a slot with a connection in it.
    pub(super) fn join(&self) -> oneshot::Receiver<HandedConnection> {
        let (hand, handed) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.retain(|hand| !hand.is_closed());
        waiting.push_back(hand);
        handed
    }

    pub(super) fn are_waiting(&self) -> bool {
        self.lock().iter().any(|hand| !hand.is_closed())
    }

    /// Takes the first of them.
    pub(super) fn take_first(&self) -> Option<oneshot::Sender<HandedConnection>> {
        let mut waiting = self.lock();
        std::iter::from_fn(|| waiting.pop_front()).find(|hand| !hand.is_closed())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<HandedConnection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_served_first_and_who_is_gone_is_passed_over() {
        let openers = Openers::default();
        let (gone, mut first, mut second) = (openers.join(), openers.join(), openers.join());
        drop(gone);
        drop(openers.take_first().unwrap());
        assert!(first.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(second.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        assert!(openers.are_waiting());
        second.close();
        assert!(!openers.are_waiting() && openers.take_first().is_none());
    }
}
