//! What a pool and its slots share: the slots, the connections that lie idle, and the queue of mails that wait.
//!
//! A slot in the pool (a permit of its [`Capacity`]) is held while a connection is used or closed. A connection is idle
//! before its slot is given back, so idle and busy connections together never exceed the slots. A caller that finds no
//! slot waits for a [`Notify`] that all pools share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    capacity::Capacity,
    connection::Connection,
    connection_queue::{ConnectionQueue, Waiter, WaitingMail},
    grouping::Grouping,
    openers::Openers,
    shared::ConnectionsFreed,
    tuning::Tuning,
};

/// The most mails ahead of each slot, and of all slots.
const AHEAD_OF_EACH: usize = 16;
const MOST_AHEAD: usize = 256;

/// The slots, connections and waiting mails of one route.
pub(super) struct Pooled {
    pub(super) capacity: Arc<Capacity>,
    /// Room for mails that have no slot yet.
    pub(super) ahead: Capacity,
    /// Those that wait with their message ready.
    pub(super) queue: ConnectionQueue,
    /// Those that have a slot and open a connection.
    pub(super) openers: Openers,
    /// Whether the first of these may be begun with the message of another mail.
    pub(super) grouping: Grouping,
    /// A mail that finds connections at work waits for one of these for so long.
    pub(super) patience: Duration,
    /// Who waits for a slot that is given back.
    pub(super) freed: Arc<ConnectionsFreed>,
    idle: Mutex<Vec<Idle>>,
    /// There is an idle connection again.
    pub(super) filled: Notify,
    pub(super) idle_for: Duration,
    pub(super) mails_per_connection: u32,
    /// Cancelled when no further mail comes.
    pub(super) retired: CancellationToken,
    quick: Duration,
    /// When a mail last left its connection to the next one, in milliseconds since `began` and one; zero: never.
    kept_after: AtomicU64,
    began: Instant,
}

/// A connection that waits for a mail.
pub(super) struct Idle {
    pub(super) connection: Connection,
    pub(super) since: Instant,
}

pub(super) fn most_ahead(slots: usize) -> usize {
    (AHEAD_OF_EACH * slots).min(MOST_AHEAD)
}

impl Pooled {
    /// The slots of `capacity`, which may be another pool's too. `freed` is told when one of them is given back.
    pub(super) fn new(
        capacity: Arc<Capacity>,
        tuning: &Tuning,
        mails_per_connection: u32,
        freed: Arc<ConnectionsFreed>,
    ) -> Self {
        Self {
            ahead: Capacity::new(most_ahead(capacity.slots())),
            capacity,
            queue: ConnectionQueue::default(),
            openers: Openers::default(),
            grouping: Grouping::default(),
            patience: tuning.patience,
            freed,
            idle: Mutex::default(),
            filled: Notify::new(),
            idle_for: tuning.idle,
            mails_per_connection,
            retired: CancellationToken::new(),
            quick: tuning.quick,
            kept_after: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// Whether a mail has lately left its connection to the next one: the slots come free before a mail that is ahead waits
    /// for long.
    pub(super) fn is_quick(&self) -> bool {
        let kept_after = self.kept_after.load(Ordering::Relaxed);
        kept_after > 0 && Duration::from_millis(self.now().saturating_sub(kept_after)) < self.quick
    }

    /// Notes that a mail leaves its connection to the next one, and what it showed of the relay.
    pub(super) fn note_kept(&self, connection: &Connection) {
        self.kept_after.store(self.now(), Ordering::Relaxed);
        self.grouping.note(connection.takes_groups() && connection.final_took < self.quick);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for the next mail.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        idle.push(Idle { connection, since: Instant::now() });
        if idle.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Whether the connection may carry another mail.
    pub(super) fn may_go_on(&self, connection: &Connection) -> bool {
        connection.has_room(self.mails_per_connection) && !self.retired.is_cancelled()
    }

    /// Takes the first mail that waits if its envelope may leave with the message that is about to be sent over the connection.
    /// None does while another mail opens a connection: this one goes to that mail.
    pub(super) fn take_following(
        &self,
        connection: &Connection,
        may_follow: impl FnOnce(&WaitingMail) -> bool,
    ) -> Option<Waiter> {
        let now = Instant::now();
        let may_group = |mail: &WaitingMail| {
            connection.takes_groups()
                && self.may_go_on(connection)
                && self.grouping.is_on(now)
                && mail.is_good(now)
        };
        if self.openers.are_waiting() {
            return None;
        }
        self.queue.take_first_if(|mail| may_group(mail) && may_follow(mail))
    }

    pub(super) fn is_spent(&self, idle: &Idle) -> bool {
        !self.may_go_on(&idle.connection) || self.is_over(idle)
    }

    fn is_over(&self, idle: &Idle) -> bool {
        self.retired.is_cancelled() || idle.since.elapsed() >= self.idle_for
    }

    /// Takes the connection that lies there longest, if its time is over.
    pub(super) fn take_expired(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let is_due = idle.first().is_some_and(|idle| self.is_over(idle));
        is_due.then(|| idle.remove(0))
    }
}
