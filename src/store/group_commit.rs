//! The group commit: one task takes all that is waiting, writes it in one transaction, answers all.
//!
//! A commit costs a disk flush whether it carries one row or five hundred. While one transaction is on its way to the
//! disk the next callers gather, so under load the flushes are shared, and an idle store answers without delay.
//! When a group fails, its members are tried one by one, so one bad row spoils only itself.

use std::sync::Mutex;

use futures_util::FutureExt;
use sqlx::{AnyConnection, AnyPool};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    Doing, StoreError, batches,
    dialect::Dialect,
    gather,
    idempotency::{self, Reservation, ReservationRequest},
    mails::{self, Claim, ClaimRequest, Recorded, Recording, Settled, Settlement},
    on_a_live_connection,
    webhooks::{self, CallbackClaim, CallbackClaimRequest, CallbackSettled, CallbackSettlement},
};

/// The most changes in one transaction.
const GROUP: usize = 512;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One change that waits for its group, with the caller who waits for it.
pub(super) enum Change {
    Record(Recording, Reply<Recorded>),
    Claim(ClaimRequest, Reply<Claim>),
    Settle(Settlement, Reply<Settled>),
    Reserve(ReservationRequest, Reply<Reservation>),
    ClaimCallback(CallbackClaimRequest, Reply<CallbackClaim>),
    SettleCallback(CallbackSettlement, Reply<CallbackSettled>),
}

pub(super) struct GroupCommit {
    waiting: Mutex<Option<mpsc::Sender<Change>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl GroupCommit {
    pub(super) fn start(dialect: Dialect, writers: AnyPool) -> Self {
        let (sender, receiver) = mpsc::channel(4 * GROUP);
        let task = tokio::spawn(run(dialect, writers, receiver));
        Self { waiting: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }

    /// Puts a change into the next group and waits until it is committed.
    pub(super) async fn commit<T>(&self, change: impl FnOnce(Reply<T>) -> Change) -> Result<T, StoreError> {
        let sender = lock(&self.waiting).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        sender.send(change(reply)).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes no more changes and waits until the waiting ones are written.
    pub(super) async fn close(&self) {
        lock(&self.waiting).take();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn run(dialect: Dialect, writers: AnyPool, mut receiver: mpsc::Receiver<Change>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while gather(&mut receiver, &mut waiting, GROUP).await {
        let mut group = Group::default();
        waiting.drain(..).for_each(|change| group.add(change));
        group.commit(dialect, &writers).await;
    }
}

/// The members of one transaction, by kind.
#[derive(Default)]
struct Group {
    records: Members<Recording, Recorded>,
    claims: Members<ClaimRequest, Claim>,
    settles: Members<Settlement, Settled>,
    reserves: Members<ReservationRequest, Reservation>,
    callback_claims: Members<CallbackClaimRequest, CallbackClaim>,
    callback_settles: Members<CallbackSettlement, CallbackSettled>,
}

struct Members<Request, Answer> {
    requests: Vec<Request>,
    replies: Vec<Reply<Answer>>,
}

impl<Request, Answer> Default for Members<Request, Answer> {
    fn default() -> Self {
        Self { requests: Vec::new(), replies: Vec::new() }
    }
}

impl<Request, Answer> Members<Request, Answer> {
    fn add(&mut self, request: Request, reply: Reply<Answer>) {
        self.requests.push(request);
        self.replies.push(reply);
    }

    fn answer(self, answers: Vec<Answer>) {
        for (reply, answer) in self.replies.into_iter().zip(answers) {
            let _ = reply.send(Ok(answer)); // a caller who left is told by its row
        }
    }
}

struct Answers {
    records: Vec<Recorded>,
    claims: Vec<Claim>,
    settles: Vec<Settled>,
    reserves: Vec<Reservation>,
    callback_claims: Vec<CallbackClaim>,
    callback_settles: Vec<CallbackSettled>,
}

impl Group {
    fn add(&mut self, change: Change) {
        match change {
            Change::Record(request, reply) => self.records.add(request, reply),
            Change::Claim(request, reply) => self.claims.add(request, reply),
            Change::Settle(request, reply) => self.settles.add(request, reply),
            Change::Reserve(request, reply) => self.reserves.add(request, reply),
            Change::ClaimCallback(request, reply) => self.callback_claims.add(request, reply),
            Change::SettleCallback(request, reply) => self.callback_settles.add(request, reply),
        }
    }

    fn len(&self) -> usize {
        self.records.requests.len()
            + self.claims.requests.len()
            + self.settles.requests.len()
            + self.reserves.requests.len()
            + self.callback_claims.requests.len()
            + self.callback_settles.requests.len()
    }

    async fn commit(self, dialect: Dialect, writers: &AnyPool) {
        match self.write(dialect, writers).await {
            Ok(answers) => self.answer(answers),
            Err(error) if self.len() > 1 && !is_away(&error) => {
                tracing::warn!(%error, members = self.len(), "a group could not be written together, writing its members alone");
                for alone in self.split() {
                    match alone.write(dialect, writers).await {
                        Ok(answers) => alone.answer(answers),
                        Err(error) => alone.refuse(error),
                    }
                }
            }
            Err(error) => self.refuse(error),
        }
    }

    async fn write(&self, dialect: Dialect, writers: &AnyPool) -> Result<Answers, StoreError> {
        let begin = || async { writers.begin_with(dialect.begin()).await.doing("begin") }.boxed();
        let mut transaction = on_a_live_connection(writers, begin).await?;
        let on: &mut AnyConnection = &mut transaction;
        let answers = Answers {
            settles: mails::settle(dialect, on, &self.settles.requests).await?,
            reserves: idempotency::reserve(dialect, on, &self.reserves.requests).await?,
            records: mails::record(dialect, on, &self.records.requests).await?,
            claims: mails::claim(dialect, on, &self.claims.requests).await?,
            callback_settles: webhooks::settle(dialect, on, &self.callback_settles.requests).await?,
            callback_claims: webhooks::claim(dialect, on, &self.callback_claims.requests).await?,
        };
        let settled = self.settles.requests.iter().zip(&answers.settles);
        let moves: Vec<_> = settled
            .filter(|(_, answer)| matches!(answer, Settled::Now(_)))
            .filter_map(|(settlement, _)| settlement.batch_move())
            .collect();
        batches::follow(dialect, on, &moves).await?; // last: see its module
        transaction.commit().await.doing("commit")?;
        Ok(answers)
    }

    fn answer(self, answers: Answers) {
        self.settles.answer(answers.settles);
        self.reserves.answer(answers.reserves);
        self.records.answer(answers.records);
        self.claims.answer(answers.claims);
        self.callback_settles.answer(answers.callback_settles);
        self.callback_claims.answer(answers.callback_claims);
    }

    fn split(self) -> Vec<Self> {
        let mut alone = Vec::with_capacity(self.len());
        let mut push = |change| {
            let mut group = Self::default();
            group.add(change);
            alone.push(group);
        };
        self.settles.into_pairs().for_each(|(request, reply)| push(Change::Settle(request, reply)));
        self.reserves.into_pairs().for_each(|(request, reply)| push(Change::Reserve(request, reply)));
        self.records.into_pairs().for_each(|(request, reply)| push(Change::Record(request, reply)));
        self.claims.into_pairs().for_each(|(request, reply)| push(Change::Claim(request, reply)));
        self.callback_settles
            .into_pairs()
            .for_each(|(request, reply)| push(Change::SettleCallback(request, reply)));
        self.callback_claims
            .into_pairs()
            .for_each(|(request, reply)| push(Change::ClaimCallback(request, reply)));
        alone
    }

    /// Passes a failure on: the first caller gets it whole, the others its words.
    fn refuse(self, error: StoreError) {
        let mut error = Some(error);
        let mut next = || error.take().unwrap_or(StoreError::Group);
        self.settles.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
        self.reserves.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
        self.records.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
        self.claims.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
        self.callback_settles.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
        self.callback_claims.replies.into_iter().for_each(|reply| drop(reply.send(Err(next()))));
    }
}

impl<Request, Answer> Members<Request, Answer> {
    fn into_pairs(self) -> impl Iterator<Item = (Request, Reply<Answer>)> {
        self.requests.into_iter().zip(self.replies)
    }
}

/// Whether the database is out of reach, so that trying members one by one would only take longer.
fn is_away(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Database {
            source: sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Tls(_),
            ..
        }
    )
}
