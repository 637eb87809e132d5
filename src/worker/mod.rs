//! This process as a worker: its id in claims, whether its heartbeats arrive, and which of its claims were offered to no
//! relay.
//!
//! A row is [at work](Worker::begin) from before its claim until its outcome is recorded. A mail moves on meanwhile:
//! claimed, then offered, which the SMTP dialogue says through the [`Fence`]. Whatever ends a job that claimed a mail and
//! offered it to nobody (a panic, an error, a stop) gives the claim back: dropping [`AtWork`] is enough, a task does the
//! rest.

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock,
    mail::{MailId, MailLane, Timestamp, WorkerId},
    smtp::Fence,
    store::{GivenBack, Store, StoreError},
};

/// A mail whose claim was given back because something broke is due again after this; otherwise it would break at once
/// again.
const BROKEN: Duration = Duration::from_secs(60);
/// The scheduler leaves a mail to the job that goes back to the queue for so long.
const IN_THE_QUEUE: Duration = Duration::from_secs(15);
/// Between two tries to give claims back.
const AGAIN: Duration = Duration::from_secs(1);
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

/// How far a row has come.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Not claimed, or not a mail, or settled.
    Free,
    Claiming,
    Claimed,
    Offered,
}

/// A worker is at work on a mail or a callback for as long as this lives.
pub struct AtWork {
    worker: Arc<Worker>,
    row: Uuid,
    lane: MailLane,
    stage: AtomicU8,
    /// The worker's lapses when the claim was asked for.
    lapses: AtomicU64,
    /// When the mail may be claimed again, in milliseconds from its giving back; negative: something is broken.
    pause: AtomicI64,
}

impl AtWork {
    /// Notes that the mail is about to be claimed.
    pub fn claims(&self) {
        self.lapses.store(self.worker.lapses.load(Ordering::SeqCst), Ordering::Relaxed);
        self.move_to(Stage::Claiming);
    }

    /// Notes that the mail is this worker's.
    pub fn has_claimed(&self) {
        self.move_to(Stage::Claimed);
    }

    /// Notes that there is nothing to give back: the claim was refused, or what came of it is on record.
    pub fn is_over(&self) {
        self.move_to(Stage::Free);
    }

    /// Notes that the mail has to wait once more, for so long, and that nothing is broken.
    pub fn puts_off(&self, pause: Duration) {
        self.pause.store(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Gives the claim back now, where the mail only has to wait its turn once more: then its job keeps its place in the
    /// queue. False where it has to wait for longer, or the database does not take it in time: it is given back later.
    pub async fn gives_back(&self, store: &Store, rescues: u32) -> bool {
        let only_its_turn = self.pause.load(Ordering::Relaxed) == 0 && self.is_in(Stage::Claimed);
        if !only_its_turn || self.worker.stopping.is_cancelled() {
            return false;
        }
        let back = [GivenBack { mail: MailId(self.row), pause: IN_THE_QUEUE, is_broken: false }];
        let is_given = timeout(AGAIN, store.give_back_mails(self.worker.id, &back, rescues)).await;
        let is_given = matches!(is_given, Ok(Ok(_)));
        if is_given {
            self.is_over();
        }
        is_given
    }

    /// Whether a relay was, or may have been, offered the mail.
    pub fn is_offered(&self) -> bool {
        self.is_in(Stage::Offered)
    }

    /// Whether the others have taken this worker for alive ever since it asked for the claim: one that is heard again may have
    /// lost it meanwhile.
    fn is_still_its(&self) -> bool {
        // In this order: who is heard again has counted that before.
        self.worker.is_heard()
            && self.worker.lapses.load(Ordering::SeqCst) == self.lapses.load(Ordering::Relaxed)
    }

    fn move_to(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is_in(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }
}

impl Fence for AtWork {
    fn may_begin(&self) -> bool {
        let may = !self.worker.stopping.is_cancelled() && self.is_still_its();
        if !may {
            self.puts_off(Duration::ZERO);
        }
        may
    }

    fn may_begin_next(&self) -> bool {
        self.worker.may_begin()
    }

    fn may_offer(&self) -> bool {
        let may = self.is_still_its();
        if may {
            self.move_to(Stage::Offered);
        } else {
            self.puts_off(Duration::ZERO);
        }
        may
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let is_unanswered = self.is_in(Stage::Claiming);
        if !is_unanswered && !self.is_in(Stage::Claimed) {
            self.worker.rows().remove(&self.row);
            return;
        }
        let (pause, is_broken) = match u64::try_from(self.pause.load(Ordering::Relaxed)) {
            Ok(millis) => (Duration::from_millis(millis), false),
            Err(_) if self.worker.stopping.is_cancelled() => (Duration::ZERO, false),
            // The database did not say whether it is claimed: that is no fault of the mail's.
            Err(_) if is_unanswered => (AGAIN, false),
            Err(_) => (BROKEN, true),
        };
        self.worker.not_given_back.fetch_add(1, Ordering::SeqCst);
        // The row stays at work, so that nobody takes it for lost meanwhile.
        let unoffered =
            Unoffered { mail: MailId(self.row), lane: self.lane, is_unanswered, is_broken, pause };
        if self.worker.unoffered.send(unoffered).is_err() {
            self.worker.gave_back(&[MailId(self.row)]);
        }
    }
}

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

    /// Notes that this worker will claim a mail, in this lane, or a callback; nothing where it is at work on it already.
    pub fn begin(self: &Arc<Self>, row: Uuid, lane: MailLane) -> Option<AtWork> {
        let is_new = self.rows().insert(row);
        is_new.then(|| AtWork {
            worker: Arc::clone(self),
            row,
            lane,
            stage: AtomicU8::new(0),
            lapses: AtomicU64::new(self.lapses.load(Ordering::SeqCst)),
            pause: AtomicI64::new(-1),
        })
    }

    /// Whether this worker is about to claim a mail or a callback, sends it, or has not yet settled it or given it back.
    pub fn is_at_work_on(&self, row: Uuid) -> bool {
        self.rows().contains(&row)
    }

    fn rows(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.at_work_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a heartbeat which began at `at` was committed. `began` is the same moment on the monotonic clock.
    pub fn was_heard(&self, at: Timestamp, began: Instant) {
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
                        let error = format!("{:#}", anyhow::Error::from(error));
                        tracing::warn!(
                            mails = mails.len(),
                            error,
                            "claims could not be given back, trying again"
                        );
                        sleep(AGAIN).await;
                    }
                }
            }
            self.gave_back(&mails);
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

    fn gave_back(&self, mails: &[MailId]) {
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
