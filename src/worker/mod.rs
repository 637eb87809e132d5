//! This process as a worker: its id in claims, whether its heartbeats arrive, and which of its claims were offered to no
//! relay.
//!
//! A row is [at work](Worker::begin) from before its claim until its outcome is recorded. A mail moves on meanwhile:
//! claimed, then offered, which the SMTP dialogue says through the [`Fence`](crate::smtp::Fence). Whatever ends a job that
//! claimed a mail and offered it to nobody (a panic, an error, a stop) gives the claim back: dropping [`AtWork`] is
//! enough, a task does the rest.

mod at_work;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use at_work::AtWork;

use crate::{
    clock,
    mail::{MailId, MailLane, Timestamp, WorkerId},
    store::{GivenBack, Store, StoreError},
    telemetry::chain,
};

/// Between two tries to give claims back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How soon one who waits for a database that is away notices that this worker is not heard any more.
const LOOKS: Duration = Duration::from_millis(250);
/// The most claims in one statement.
const GROUP: usize = 500;

/// This process as a worker.
pub struct Worker {
    /// One start of this process.
    pub id: WorkerId,
    /// Cancelled when this process stops: nothing more is begun.
    pub stopping: CancellationToken,
    /// How many worker processes were alive at the last heartbeat: they share what must be shared while Redis is away.
    pub live_workers: Arc<AtomicUsize>,
    started: Instant,
    heard_at: AtomicI64,
    /// The same in milliseconds since `started`: the clock of the wall may jump.
    heard_after: AtomicI64,
    /// How often it was heard again after it was not.
    lapses: AtomicU64,
    silence: Duration,
    at_work_on: Mutex<HashSet<Uuid>>,
    unoffered: mpsc::UnboundedSender<Unoffered>,
    not_given_back: AtomicUsize,
    changed: Notify,
    may_begin_again: Arc<Notify>,
}

/// A claim to be given back.
pub struct Unoffered {
    mail: MailId,
    lane: MailLane,
    /// The claim was asked for and its answer not waited for: it may yet be granted.
    is_unanswered: bool,
    /// Something broke, and nobody knows whether the mail is the cause.
    is_broken: bool,
    pause: Duration,
}

/// Claims to be given back, as they come.
pub struct UnofferedClaims(mpsc::UnboundedReceiver<Unoffered>);

impl Worker {
    /// A worker that has not been heard yet; `may_begin_again` is told when it is. Whoever keeps the claims must
    /// [give them back](Worker::give_back).
    pub fn new(silence: Duration, may_begin_again: Arc<Notify>) -> (Self, UnofferedClaims) {
        let (unoffered, claims) = mpsc::unbounded_channel();
        let worker = Self {
            id: WorkerId::new(),
            stopping: CancellationToken::new(),
            live_workers: Arc::new(AtomicUsize::new(1)),
            started: Instant::now(),
            heard_at: AtomicI64::new(0),
            heard_after: AtomicI64::new(i64::MIN),
            lapses: AtomicU64::new(0),
            silence,
            at_work_on: Mutex::default(),
            unoffered,
            not_given_back: AtomicUsize::new(0),
            changed: Notify::new(),
            may_begin_again,
        };
        (worker, UnofferedClaims(claims))
    }

    /// Whether this worker is about to claim a mail or a callback, sends it, or has not yet settled it or given it back.
    pub fn is_at_work_on(&self, row: Uuid) -> bool {
        self.rows().contains(&row)
    }

    fn rows(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.at_work_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a heartbeat which began at `at` was committed. `began` is the same moment on the monotonic clock.
    pub fn note_heartbeat(&self, at: Timestamp, began: Instant) {
        if !self.is_heard() {
            self.lapses.fetch_add(1, Ordering::SeqCst);
        }
        self.heard_at.store(at.millis(), Ordering::SeqCst);
        self.heard_after.store(self.after(began), Ordering::SeqCst);
        self.may_begin_again.notify_one();
    }

    /// Whether the others still take this worker for alive, with a margin. If not, its claims may be given away at
    /// any moment and it must not begin to send. Asked of both clocks: one may have jumped, and the other may stand still
    /// while the machine sleeps.
    pub fn is_heard(&self) -> bool {
        let margin = self.silence.mul_f64(0.7);
        let by_wall = clock::now().since(Timestamp(self.heard_at.load(Ordering::SeqCst)));
        let heard_after = self.heard_after.load(Ordering::SeqCst);
        let by_monotonic = self.after(Instant::now()).saturating_sub(heard_after);
        by_wall < margin && u128::try_from(by_monotonic).is_ok_and(|millis| millis < margin.as_millis())
    }

    /// What comes of asking the database, unless the others do not take this worker for alive any more before that: then
    /// what it waits for may be theirs.
    ///
    /// # Errors
    /// Those of `asking`; [`StoreError::TimedOut`] where it was given up.
    pub async fn while_heard<T, E: From<StoreError>>(
        &self,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let unheard = async {
            while self.is_heard() {
                sleep(LOOKS).await;
            }
        };
        tokio::select! {
            biased;
            answer = asking => answer,
            () = unheard => Err(StoreError::TimedOut.into()),
        }
    }

    /// Whether this process sends mails: its heartbeats were heard, as those of an ingress never are.
    pub fn sends(&self) -> bool {
        self.heard_after.load(Ordering::SeqCst) != i64::MIN
    }

    /// Whether this worker may begin to send.
    pub fn may_begin(&self) -> bool {
        !self.stopping.is_cancelled() && self.is_heard()
    }

    fn after(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(i64::MAX)
    }

    /// Gives back claims as they come, each group in one statement, until the process ends. A database that is away is
    /// waited for.
    pub async fn give_back(&self, store: &Store, mut claims: UnofferedClaims, rescues: u32) {
        let mut group = Vec::with_capacity(GROUP);
        while claims.0.recv_many(&mut group, GROUP).await > 0 {
            let mails: Vec<_> = group.iter().map(|claim| claim.mail).collect();
            loop {
                match self.give_back_group(store, &group, rescues).await {
                    Ok(given) => {
                        tracing::info!(
                            mails = mails.len(),
                            given,
                            "claims that were offered to no relay are given back"
                        );
                        break;
                    }
                    Err(StoreError::Closed) => break,
                    Err(error) => {
                        tracing::warn!(
                            mails = mails.len(),
                            error = %chain(&error),
                            "claims could not be given back, trying again"
                        );
                        sleep(RETRY_AFTER).await;
                    }
                }
            }
            self.forget_given_back(&mails);
            group.clear();
        }
    }

    async fn give_back_group(
        &self,
        store: &Store,
        group: &[Unoffered],
        rescues: u32,
    ) -> Result<u64, StoreError> {
        let given_back = |claim: &Unoffered| GivenBack {
            mail: claim.mail,
            pause: claim.pause,
            is_broken: claim.is_broken,
        };
        let (unanswered, granted): (Vec<&Unoffered>, Vec<&Unoffered>) =
            group.iter().partition(|claim| claim.is_unanswered);
        let mut count = 0;
        for claims in [granted, unanswered] {
            // Claims of one lane are granted in the order in which they come: after this one the other is granted, or never is.
            let unanswered = claims.iter().filter(|claim| claim.is_unanswered);
            for again in
                join_all(unanswered.map(|claim| store.claim_mail(claim.mail, self.id, claim.lane))).await
            {
                match again {
                    // One that cannot be read was not claimed.
                    Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let claims: Vec<_> = claims.into_iter().map(given_back).collect();
            if !claims.is_empty() {
                count += store.give_back_mails(self.id, &claims, rescues).await?;
            }
        }
        Ok(count)
    }

    fn forget_given_back(&self, mails: &[MailId]) {
        let mut rows = self.rows();
        for mail in mails {
            rows.remove(&mail.0);
        }
        drop(rows);
        self.not_given_back.fetch_sub(mails.len(), Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Returns when all claims that were dropped so far are given back.
    pub async fn all_given_back(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.not_given_back.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}
