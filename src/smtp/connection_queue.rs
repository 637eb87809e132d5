//! The mails that wait for a connection with their message ready: single mails before those of batches, and of each lane first
//! come first served.
//!
//! Whoever sends a mail looks here right before it sends the message: the envelope of the first that waits leaves in the same
//! write, and the connection is handed to that mail with the relay's answers to come. Otherwise the first that waits gets the
//! connection when the mail before it is done.
//!
//! A mail may leave the queue at any moment. What was handed to it is then dropped: the connection closes, and the slot is
//! given back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{connection::Connection, shared::ConnectionsFreed, transaction::Envelope};
use crate::mail::{Address, MailLane, Message};

/// So many mails for each busy connection wait for one of these before another connection is used.
pub(super) const QUEUED_PER_CONNECTION: usize = 5;
/// After so many single mails one of a batch has its turn, where one waits: the queue gives it about as many turns.
const SINGLES_IN_A_ROW: usize = 13;

/// A mail that waits: what has to be known of it to begin it.
#[derive(Debug)]
pub struct WaitingMail {
    lane: MailLane,
    sender: Option<Address>,
    recipient: Address,
    pub(super) size: usize,
    pub(super) is_ascii: bool,
    good_until: Option<Instant>,
}

impl WaitingMail {
    /// A mail of this lane with this message. Where its rates say so, it may be begun only before `good_until`.
    pub fn new(
        lane: MailLane,
        envelope: &Envelope<'_>,
        message: &Message,
        good_until: Option<Instant>,
    ) -> Self {
        Self {
            lane,
            sender: envelope.sender.cloned(),
            recipient: envelope.recipient.clone(),
            size: message.size(),
            is_ascii: message.is_ascii(),
            good_until,
        }
    }

    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { sender: self.sender.as_ref(), recipient: &self.recipient }
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.good_until.is_none_or(|until| now < until)
    }
}

/// The mails that wait for a connection of one route; they are claimed, so this is not the queue of jobs. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct ConnectionQueue(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    singles: VecDeque<Waiter>,
    bulk: VecDeque<Waiter>,
    /// So many single mails were served since one of a batch was.
    in_a_row: usize,
    /// The connections that are at work, or soon will be: each of them serves the queue when its mail is done.
    busy: usize,
    last_number: u64,
}

/// A mail in the queue. Dropped, it tells the mail to join again.
pub(super) struct Waiter {
    number: u64,
    mail: Arc<WaitingMail>,
    hand: oneshot::Sender<HandedConnection>,
}

/// A slot that one mail hands to the next, and perhaps its connection.
pub(super) struct HandedConnection {
    // The order matters: the connection closes before the slot is given back, and then somebody is told.
    /// With the connection in it, unless that was lost.
    pub(super) connection: Option<Connection>,
    /// When MAIL, RCPT and DATA of the mail were sent, where they were: their answers are still to be read.
    pub(super) begun: Option<Instant>,
    pub(super) busy: Option<Busy>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) freed: Freed,
}

/// Tells that a slot is free again when it is dropped.
pub(super) struct Freed(pub(super) Arc<ConnectionsFreed>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// A connection is at work for as long as this lives.
pub(super) struct Busy(ConnectionQueue);

/// A mail's own end of its position in the queue. Dropped, it leaves.
pub(super) struct QueuePosition {
    queue: ConnectionQueue,
    lane: MailLane,
    number: u64,
    /// What it is handed.
    pub(super) handed: oneshot::Receiver<HandedConnection>,
    /// Whether the connections that are at work will soon serve it.
    pub(super) is_soon: bool,
}

impl ConnectionQueue {
    /// Notes that a connection is at work.
    pub(super) fn begin(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    /// Puts a mail at the end of its lane.
    pub(super) fn join(&self, mail: &Arc<WaitingMail>) -> QueuePosition {
        let (hand, handed) = oneshot::channel();
        let mut state = self.state();
        state.last_number += 1;
        let number = state.last_number;
        state.of(mail.lane).push_back(Waiter { number, mail: Arc::clone(mail), hand });
        let before = match mail.lane {
            MailLane::Transactional => state.singles.len(),
            MailLane::Bulk => state.len(),
        };
        let is_soon = before <= QUEUED_PER_CONNECTION * state.busy;
        drop(state);
        QueuePosition { queue: self.clone(), lane: mail.lane, number, handed, is_soon }
    }

    /// Takes the first mail, if it is like this.
    pub(super) fn take_first_if(&self, is_like_this: impl FnOnce(&WaitingMail) -> bool) -> Option<Waiter> {
        let mut state = self.state();
        let lane = state.next_lane();
        let first = state.of(lane).front()?;
        if is_like_this(&first.mail) { state.take(lane) } else { None }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, lane: MailLane) -> &mut VecDeque<Waiter> {
        match lane {
            MailLane::Transactional => &mut self.singles,
            MailLane::Bulk => &mut self.bulk,
        }
    }

    fn len(&self) -> usize {
        self.singles.len() + self.bulk.len()
    }

    /// Whose turn it is.
    fn next_lane(&self) -> MailLane {
        let is_bulk = self.singles.is_empty() || self.in_a_row >= SINGLES_IN_A_ROW && !self.bulk.is_empty();
        if is_bulk { MailLane::Bulk } else { MailLane::Transactional }
    }

    fn take(&mut self, lane: MailLane) -> Option<Waiter> {
        self.in_a_row = match lane {
            MailLane::Transactional => self.in_a_row + 1,
            MailLane::Bulk => 0,
        };
        self.of(lane).pop_front()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        // One that counted on this connection looks for another one.
        let is_too_long = state.len() > QUEUED_PER_CONNECTION * state.busy;
        let lane = state.next_lane();
        let first = if is_too_long { state.take(lane) } else { None };
        drop(state);
        drop(first);
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        self.leave();
    }
}

impl QueuePosition {
    /// Leaves the queue. False when the mail is not in it any more: somebody is about to hand it something, or has.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.queue.state();
        let waiting = state.of(self.lane);
        // The numbers of a lane rise.
        let at = waiting.binary_search_by_key(&self.number, |waiter| waiter.number);
        at.is_ok_and(|at| waiting.remove(at).is_some())
    }
}

impl Waiter {
    pub(super) fn mail(&self) -> &WaitingMail {
        &self.mail
    }

    /// Hands it a slot, or gives that back when the mail is gone.
    pub(super) fn hand(self, slot: HandedConnection) -> Result<(), Box<HandedConnection>> {
        self.hand.send(slot).map_err(Box::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Arc<WaitingMail> {
        mail_of(MailLane::Transactional)
    }

    fn mail_of(lane: MailLane) -> Arc<WaitingMail> {
        let recipient: Address = "bob@example.net".parse().unwrap();
        let envelope = Envelope { sender: None, recipient: &recipient };
        Arc::new(WaitingMail::new(lane, &envelope, &Message::new(b"hi".to_vec()), None))
    }

    #[test]
    fn mails_wait_for_busy_connections_up_to_a_few_for_each() {
        let (queue, mail) = (ConnectionQueue::default(), mail());
        assert!(!queue.join(&mail).is_soon, "nobody is at work");
        let busy = [queue.begin(), queue.begin()];
        let waiting: Vec<_> = (0..2 * QUEUED_PER_CONNECTION).map(|_| queue.join(&mail)).collect();
        assert!(waiting.iter().all(|waiting| waiting.is_soon));
        assert!(!queue.join(&mail).is_soon);
        assert_eq!(queue.len(), 2 * QUEUED_PER_CONNECTION, "who is dropped leaves");
        drop(busy);
        assert_eq!(
            queue.len(),
            2 * QUEUED_PER_CONNECTION - 2,
            "of those that are too many each looks for another connection"
        );
    }

    #[test]
    fn single_mails_pass_those_of_batches_but_for_a_turn_now_and_then() {
        let (queue, single, bulk) = (ConnectionQueue::default(), mail(), mail_of(MailLane::Bulk));
        let _busy = queue.begin();
        let of_batch: Vec<_> = (0..2 * QUEUED_PER_CONNECTION).map(|_| queue.join(&bulk)).collect();
        let singles: Vec<_> = (0..2 * SINGLES_IN_A_ROW).map(|_| queue.join(&single)).collect();
        let are_soon = singles.iter().map(|single| single.is_soon);
        assert_eq!(
            are_soon.filter(|is_soon| *is_soon).count(),
            QUEUED_PER_CONNECTION,
            "a batch keeps no single mail waiting"
        );
        let served: Vec<_> =
            std::iter::from_fn(|| queue.take_first_if(|_| true)).map(|waiter| waiter.mail.lane).collect();
        assert_eq!(served.len(), of_batch.len() + singles.len());
        let turns_of_batches: Vec<_> =
            (0..served.len()).filter(|turn| served[*turn] == MailLane::Bulk).take(2).collect();
        assert_eq!(turns_of_batches, [SINGLES_IN_A_ROW, 2 * SINGLES_IN_A_ROW + 1]);
    }

    #[test]
    fn the_first_is_served_first_and_only_if_it_is_fit() {
        let (queue, mail) = (ConnectionQueue::default(), mail());
        let [mut first, second] = [queue.join(&mail), queue.join(&mail)];
        assert!(queue.take_first_if(|_| false).is_none());
        let waiter = queue.take_first_if(|mail| mail.size == 4).unwrap();
        assert!(!first.leave() && second.leave() && queue.len() == 0);
        drop(waiter);
        assert!(first.handed.try_recv().is_err(), "it is told to join again");
    }
}
