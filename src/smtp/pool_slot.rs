//! The slot of a mail in its route's pool, from before the mail is claimed until its connection goes to the next one.
//!
//! A relay that answers within milliseconds would idle while the next mail is claimed and rendered. So while mails come
//! and go quickly, a few more are let in ahead of a slot; they wait for it with their message ready. A relay that is slow
//! has none ahead.
//!
//! Where the envelope of a mail that waits may leave with the message of the one before it, a few busy connections carry
//! more than many: then most mails are let in ahead although slots are free, and another slot is taken only as their queue
//! grows.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, timeout},
};

use super::{
    connection::Connection,
    connection_queue::{Busy, Freed, HandedConnection, QUEUED_PER_CONNECTION, Waiter, WaitingMail},
    pooled::Pooled,
};

/// Slots that were taken together and are not used yet. Dropped, they are free again, and a mail that waits to be handed over
/// is told.
pub(super) struct PoolSlots {
    shared: Arc<Pooled>,
    permits: OwnedSemaphorePermit,
    ahead: OwnedSemaphorePermit,
    /// The slots that are taken and the mails that wait for them, where these are to be few and busy.
    taken_and_waiting: Option<(usize, usize)>,
    /// Whether nobody is told of those that are not used.
    are_quiet: bool,
}

/// A slot in the pool, or one ahead of it.
pub(super) struct PoolSlot {
    // The order matters: the connection closes, the slot is given back, and then somebody is told.
    handed: Option<(Connection, Option<Instant>)>,
    busy: Option<Busy>,
    permit: OwnedSemaphorePermit,
    is_ahead: bool,
    shared: Arc<Pooled>,
    freed: Option<Freed>,
}

/// The mail whose envelope was pipelined behind the message of the one before it.
pub(super) struct PipelinedMail {
    pub(super) waiter: Waiter,
    /// Nothing where it did not leave in the end.
    pub(super) begun: Option<Instant>,
}

/// Whether mails may be let in ahead of the slots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    Allowed,
    Never,
}

/// How many of so many mails get a slot, so that at most [`QUEUED_PER_CONNECTION`] wait for each that is taken.
fn slots_for(mails: usize, taken: usize, waiting: usize) -> usize {
    (waiting + mails)
        .saturating_sub(QUEUED_PER_CONNECTION * taken)
        .div_ceil(QUEUED_PER_CONNECTION + 1)
        .min(mails)
}

impl PoolSlots {
    /// Takes up to `most` slots that are free now and, where that is allowed, of a quick relay some ahead of those.
    pub(super) fn reserve(shared: &Arc<Pooled>, most: usize, may_be_ahead: Ahead) -> Self {
        let is_quick = may_be_ahead == Ahead::Allowed && shared.is_quick();
        let taken_and_waiting = (is_quick && shared.grouping.is_on(Instant::now()))
            .then(|| (shared.capacity.taken(), shared.ahead.taken()));
        let few = taken_and_waiting.map_or(most, |(taken, waiting)| slots_for(most, taken, waiting));
        let mut permits = shared.capacity.acquire_up_to(few);
        let ahead = shared.ahead.acquire_up_to(if is_quick { most - permits.num_permits() } else { 0 });
        let left = most - permits.num_permits() - ahead.num_permits();
        if left > 0 && few < most {
            permits.merge(shared.capacity.acquire_up_to(left));
        }
        Self { shared: Arc::clone(shared), permits, ahead, taken_and_waiting, are_quiet: false }
    }

    /// Tells nobody of those that are not used.
    pub(super) fn quietly(&mut self) {
        self.are_quiet = true;
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.permits.num_permits() + self.ahead.num_permits()
    }

    /// Takes one of them, to be used.
    pub(super) fn split(&mut self) -> Option<PoolSlot> {
        let waits =
            self.taken_and_waiting.is_some_and(|(taken, waiting)| waiting < QUEUED_PER_CONNECTION * taken);
        let mut ahead = if waits { self.ahead.split(1) } else { None };
        let permit = if ahead.is_none() { self.permits.split(1) } else { None };
        if permit.is_none() && ahead.is_none() {
            ahead = self.ahead.split(1);
        }
        if let Some((taken, waiting)) = &mut self.taken_and_waiting {
            *taken += usize::from(permit.is_some());
            *waiting += usize::from(ahead.is_some());
        }
        let is_ahead = permit.is_none();
        let mut slot = PoolSlot::new(permit.or(ahead)?, &self.shared);
        slot.is_ahead = is_ahead;
        if !is_ahead {
            slot.begin();
        }
        Some(slot)
    }
}

impl Drop for PoolSlots {
    fn drop(&mut self) {
        let unused = [&mut self.permits, &mut self.ahead].map(|slots| slots.split(slots.num_permits()));
        let are_some = unused.iter().flatten().any(|slots| slots.num_permits() > 0);
        drop(unused);
        if are_some && !self.are_quiet {
            self.shared.freed.hand_over.notify_one();
        }
    }
}

impl PoolSlot {
    pub(super) fn new(permit: OwnedSemaphorePermit, shared: &Arc<Pooled>) -> Self {
        Self {
            handed: None,
            busy: None,
            permit,
            is_ahead: false,
            shared: Arc::clone(shared),
            freed: Some(Freed(Arc::clone(&shared.freed))),
        }
    }

    /// Whether there is no slot for it yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Waits for its slot where it is ahead of it, first come first served.
    pub(super) async fn arrive(&mut self) {
        if self.is_ahead {
            let permit = self.shared.capacity.wait_for_one().await;
            self.take_slot(permit);
        }
    }

    /// The same for a mail whose message is ready. Where connections are at work that will soon serve it, it waits for one of
    /// these, but not for long while there are other slots.
    pub(super) async fn arrive_in_queue(&mut self, mail: WaitingMail) {
        let mail = Arc::new(mail);
        while self.is_ahead {
            let mut waiting = self.shared.queue.join(&mail);
            let patience = if waiting.is_soon && self.shared.grouping.is_on(Instant::now()) {
                self.shared.patience
            } else {
                Duration::ZERO
            };
            let handed = match timeout(patience, &mut waiting.handed).await {
                Ok(handed) => handed.ok(),
                Err(_) => tokio::select! {
                    biased;
                    handed = &mut waiting.handed => handed.ok(),
                    permit = self.shared.capacity.wait_for_one() => {
                        if waiting.leave() {
                            self.take_slot(permit);
                            return;
                        }
                        drop(permit); // it is being handed one
                        (&mut waiting.handed).await.ok()
                    }
                },
            };
            // Whoever was to hand it one may be gone: then it joins again.
            if let Some(handed) = handed {
                self.take_over(handed);
            }
        }
    }

    fn take_slot(&mut self, permit: Option<OwnedSemaphorePermit>) {
        let Some(permit) = permit else { return };
        self.permit = permit;
        self.is_ahead = false;
        self.begin();
        self.shared.freed.tell(); // another one may come ahead
    }

    fn take_over(&mut self, handed: HandedConnection) {
        let HandedConnection { connection, begun, busy, permit, freed } = handed;
        self.handed = connection.map(|connection| (connection, begun));
        self.busy = busy;
        self.permit = permit;
        self.is_ahead = false;
        self.freed = Some(freed); // the one before tells that another one may come ahead
    }

    /// Waits for a connection that comes free, while one is opened in this slot.
    pub(super) fn wait_for_connection(&self) -> oneshot::Receiver<HandedConnection> {
        self.shared.openers.join()
    }

    /// The slot that a mail is handed beside this one.
    pub(super) fn handed(&self, handed: HandedConnection) -> Self {
        let HandedConnection { connection, begun, busy, permit, freed } = handed;
        Self {
            handed: connection.map(|connection| (connection, begun)),
            busy,
            permit,
            is_ahead: false,
            shared: Arc::clone(&self.shared),
            freed: Some(freed),
        }
    }

    /// Takes the connection that it was handed, and when the mail was begun on it if it was; or the idle connection that was used
    /// last, if there is one that may be used.
    pub(super) async fn take(&mut self) -> Option<(Connection, Option<Instant>)> {
        if let Some(handed) = self.handed.take() {
            return Some(handed);
        }
        let idle = self.shared.idle().pop()?;
        if self.shared.is_spent(&idle) {
            Box::pin(idle.connection.quit()).await; // boxed, as it is rare
            return None;
        }
        Some((idle.connection, None))
    }

    /// The idle connection alone, without waiting: one that may not be used any more is left to who may wait for its end.
    pub(super) fn take_at_once(&mut self) -> Option<Connection> {
        let mut idle = self.shared.idle();
        idle.pop_if(|idle| !self.shared.is_spent(idle)).map(|idle| idle.connection)
    }

    /// Notes that its connection is at work, or soon will be, and then serves the queue.
    fn begin(&mut self) {
        self.busy = Some(self.shared.queue.begin());
    }

    /// Leaves a connection for the next mail, unless it cannot be used any more.
    pub(super) fn keep(self, connection: Connection) {
        self.hand_on(connection, None);
    }

    /// Hands the connection to the mail that follows, or to the first that opens one or waits, or keeps it. One that cannot be
    /// used any more is closed; then the slot alone goes on.
    pub(super) fn hand_on(mut self, connection: Connection, following: Option<PipelinedMail>) {
        if let Some(PipelinedMail { waiter, begun }) = following {
            let connection = (!connection.is_broken()).then_some(connection);
            connection.iter().for_each(|connection| self.shared.note_kept(connection));
            let begun = begun.filter(|_| connection.is_some());
            self.hand_to(|handed| waiter.hand(handed), connection, begun);
            return;
        }
        let mut connection = connection.is_usable().then_some(connection);
        connection.iter().for_each(|connection| self.shared.note_kept(connection));
        if connection.as_ref().is_some_and(|connection| self.shared.may_go_on(connection))
            && let Some(opener) = self.shared.openers.take_first()
        {
            self.hand_to(|handed| opener.send(handed).map_err(Box::new), connection, None);
            return;
        }
        let first = self.shared.queue.take_first_if(|_| true);
        let may_go_on = |connection: &mut Connection| first.is_some() && self.shared.may_go_on(connection);
        if let Some(idle) = connection.take_if(|connection| !may_go_on(connection)) {
            self.shared.keep(idle);
        }
        if let Some(first) = first {
            self.hand_to(|handed| first.hand(handed), connection, None);
        }
    }

    fn hand_to(
        &mut self,
        hand: impl FnOnce(HandedConnection) -> Result<(), Box<HandedConnection>>,
        connection: Option<Connection>,
        begun: Option<Instant>,
    ) {
        // Where there are fewer slots now, this one may be too many. Then the mail waits for another one.
        self.shared.capacity.settle(&mut self.permit);
        let (Some(permit), Some(freed)) = (self.permit.split(1), self.freed.take()) else { return };
        let handed = HandedConnection { connection, begun, busy: self.busy.take(), permit, freed };
        if let Err(mut handed) = hand(handed)
            // The relay waits for the message of a mail that is gone: only hanging up is sure to deliver nothing.
            && handed.begun.is_none()
            && let Some(connection) = handed.connection.take()
        {
            self.shared.keep(connection);
        }
    }
}

impl Drop for PoolSlot {
    fn drop(&mut self) {
        if !self.is_ahead {
            self.shared.capacity.settle(&mut self.permit);
        }
    }
}
