//! The group commit: one task takes all that is waiting, writes it in one transaction, answers all.
//!
//! A commit costs a disk flush whether it carries one row or five hundred. While one transaction is on its way to the
//! disk the next callers gather, so under load the flushes are shared, and an idle store answers without delay.
//! When a group fails, its members are tried one by one, so one bad row spoils only itself. A caller that gives up before
//! the commit takes its change out of the group.

use std::{any::Any, collections::BTreeMap, sync::Mutex};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{AnyConnection, Executor};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    dialect::Dialect,
    error::{Doing, StoreError},
    gather::gather,
    kept_plans::KeptPlans,
    readers::Readers,
    stake::{self, Caller},
    writer::{Progress, Writer, within_limits},
};
use crate::telemetry::{METRICS, Outage};

/// The most changes in one transaction.
const GROUP: usize = 512;
/// How many members in a row may wait in vain for a lock before the rest of their group is refused untried.
const LOCKED_OUT: usize = 3;

/// Groups that were written one by one.
static APART: Outage = Outage::new();

/// When the changes of a kind are written, among those of their group. Each kind has a turn of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    SettleMails,
    ReserveKeys,
    RecordMails,
    ClaimMails,
    SettleCallbacks,
    ClaimCallbacks,
}

/// A kind of change that goes through the group commit.
pub(super) trait Grouped: Sized + Send + Sync + 'static {
    /// What its caller gets.
    type Answer: Send + Sync + 'static;

    /// When it is written.
    const TURN: Turn;

    /// Whether a request answers for it: see [`stake::write`].
    const IS_PROMISE: bool = true;

    /// Writes all of a group's changes of this kind; gives an answer for each.
    fn write(
        dialect: Dialect,
        on: &mut AnyConnection,
        requests: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;

    /// Writes what must come last in the transaction, after the changes of all kinds.
    fn write_last(
        _dialect: Dialect,
        _on: &mut AnyConnection,
        _requests: &[Self],
        _answers: &[Self::Answer],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }
}

/// The members of one transaction, by kind.
#[derive(Default)]
struct Group {
    kinds: BTreeMap<Turn, Box<dyn Kind>>,
}

/// A change on its way to its group.
type Joining = Box<dyn FnOnce(&mut Group) + Send>;

pub(super) struct GroupCommit {
    waiting: Mutex<Option<mpsc::Sender<Joining>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl GroupCommit {
    pub(super) fn start(dialect: Dialect, readers: &Readers, writer: Writer) -> Self {
        let (sender, receiver) = mpsc::channel(4 * GROUP);
        let plans = KeptPlans::watch(dialect, readers, &writer);
        let task = tokio::spawn(run(dialect, writer, plans, receiver));
        Self { waiting: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }

    /// Puts a change into the next group and waits until it is committed. Dropped before the commit begins, it takes the
    /// change back.
    pub(super) async fn commit<K: Grouped>(&self, request: K) -> Result<K::Answer, StoreError> {
        let sender = lock(&self.waiting).clone().ok_or(StoreError::Closed)?;
        let (caller, answer) = stake::write(K::IS_PROMISE);
        let joining: Joining = Box::new(move |group| group.add(request, caller));
        sender.send(joining).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        answer.await
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

async fn run(dialect: Dialect, writer: Writer, plans: KeptPlans, mut receiver: mpsc::Receiver<Joining>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while gather(&mut receiver, &mut waiting, GROUP).await {
        let mut group = Group::default();
        waiting.drain(..).for_each(|join| join(&mut group));
        group.commit(dialect, &writer.beginning_with(plans.begin())).await;
    }
}

/// Whether a transaction is patient with locks that others hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Usual,
    /// One of many that are tried one by one.
    Short,
}

impl Group {
    fn add<K: Grouped>(&mut self, request: K, caller: Caller<K::Answer>) {
        let kind = self.kinds.entry(K::TURN).or_insert_with(|| Box::new(Members::<K>::default()));
        let kind: &mut dyn Any = &mut **kind;
        #[expect(clippy::expect_used, reason = "a turn is of one kind: see `Turn`")]
        kind.downcast_mut::<Members<K>>().expect("members of this kind").add(request, caller);
    }

    /// Writes the group and answers its members.
    async fn commit(mut self, dialect: Dialect, writer: &Writer) {
        let began = Instant::now();
        let written = self.write(dialect, writer, Patience::Usual).await;
        METRICS.database_took("group_commit", began.elapsed());
        match written {
            Ok(()) => self.answer(),
            Err(error) if self.len() > 1 && !error.is_about_the_database() => {
                if let Some(times) = APART.failed() {
                    let members = self.len();
                    tracing::warn!(%error, members, times, "a group could not be written together, writing its members alone");
                }
                self.commit_one_by_one(dialect, writer).await;
            }
            Err(error) => self.refuse(error),
        }
    }

    async fn commit_one_by_one(self, dialect: Dialect, writer: &Writer) {
        let mut locked_out = 0;
        for mut alone in self.split() {
            if locked_out == LOCKED_OUT {
                alone.refuse(StoreError::Group);
                continue;
            }
            match alone.write(dialect, writer, Patience::Short).await {
                Ok(()) => {
                    locked_out = 0;
                    alone.answer();
                }
                Err(error) => {
                    locked_out = if error.is_about_a_lock() { locked_out + 1 } else { 0 };
                    alone.refuse(error);
                }
            }
        }
    }

    /// Writes those who still wait; again without those who leave before the commit.
    async fn write(
        &mut self,
        dialect: Dialect,
        writer: &Writer,
        patience: Patience,
    ) -> Result<(), StoreError> {
        loop {
            self.drop_withdrawn();
            if self.len() == 0 {
                return Ok(());
            }
            let transaction = async |progress: &Progress| {
                let mut transaction = writer.begin().await?;
                match self.write_on(dialect, transaction.connection(), patience).await {
                    Ok(()) => transaction.commit_if(|| self.begin_commit(), progress).await,
                    Err(error) => Err(transaction.fail(error).await),
                }
            };
            if within_limits(transaction).await? {
                return Ok(());
            }
        }
    }

    async fn write_on(
        &mut self,
        dialect: Dialect,
        on: &mut AnyConnection,
        patience: Patience,
    ) -> Result<(), StoreError> {
        if patience == Patience::Short && dialect == Dialect::Postgres {
            on.execute("SET LOCAL lock_timeout = '200ms'").await.doing("limit the wait for locks")?;
        }
        for kind in self.kinds.values_mut() {
            kind.write(dialect, on).await?;
        }
        for kind in self.kinds.values() {
            kind.write_last(dialect, on).await?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.kinds.values().map(|kind| kind.len()).sum()
    }

    fn drop_withdrawn(&mut self) {
        self.kinds.values_mut().for_each(|kind| kind.drop_withdrawn());
    }

    /// Begins the commit of all, or of none where one has left.
    fn begin_commit(&self) -> bool {
        let all = self.kinds.values().all(|kind| kind.begin_commit());
        if !all {
            self.put_off_commit();
        }
        all
    }

    fn put_off_commit(&self) {
        self.kinds.values().for_each(|kind| kind.put_off_commit());
    }

    fn answer(mut self) {
        self.kinds.values_mut().for_each(|kind| kind.answer());
    }

    /// Passes a failure on: the first caller gets it whole, the others its words.
    fn refuse(mut self, error: StoreError) {
        let is_unknown = matches!(error, StoreError::OutcomeUnknown { .. });
        let mut error = Some(error);
        let mut next = || match is_unknown {
            true => error.take().unwrap_or(StoreError::OutcomeUnknown { source: None }),
            false => error.take().unwrap_or(StoreError::Group),
        };
        if !is_unknown {
            self.put_off_commit();
        }
        self.kinds.values_mut().for_each(|kind| kind.refuse(&mut next));
    }

    fn split(mut self) -> Vec<Self> {
        let mut alone = Vec::with_capacity(self.len());
        self.kinds.values_mut().for_each(|kind| kind.split_into(&mut alone));
        alone
    }
}

/// The changes of one kind in a group, with who waits for each and, once they are written, what each is told.
struct Members<K: Grouped> {
    requests: Vec<K>,
    callers: Vec<Caller<K::Answer>>,
    answers: Vec<K::Answer>,
}

impl<K: Grouped> Default for Members<K> {
    fn default() -> Self {
        Self { requests: Vec::new(), callers: Vec::new(), answers: Vec::new() }
    }
}

impl<K: Grouped> Members<K> {
    fn add(&mut self, request: K, caller: Caller<K::Answer>) {
        self.requests.push(request);
        self.callers.push(caller);
    }

    fn take(&mut self) -> impl Iterator<Item = (K, Caller<K::Answer>)> {
        std::mem::take(&mut self.requests).into_iter().zip(std::mem::take(&mut self.callers))
    }
}

/// The members of one kind, whatever the kind.
trait Kind: Any + Send + Sync {
    fn len(&self) -> usize;
    fn drop_withdrawn(&mut self);
    fn begin_commit(&self) -> bool;
    /// Those who left while their commit seemed to be under way cannot be asked any more: they are withdrawn now.
    fn put_off_commit(&self);
    fn write<'a>(
        &'a mut self,
        dialect: Dialect,
        on: &'a mut AnyConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn write_last<'a>(
        &'a self,
        dialect: Dialect,
        on: &'a mut AnyConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn answer(&mut self);
    fn refuse(&mut self, error: &mut dyn FnMut() -> StoreError);
    fn split_into(&mut self, groups: &mut Vec<Group>);
}

impl<K: Grouped> Kind for Members<K> {
    fn len(&self) -> usize {
        self.requests.len()
    }

    fn drop_withdrawn(&mut self) {
        self.answers.clear();
        if self.callers.iter().any(|caller| caller.stake.is_withdrawn()) {
            let staying = self.take().filter(|(_, caller)| !caller.stake.is_withdrawn());
            (self.requests, self.callers) = staying.unzip();
        }
    }

    fn begin_commit(&self) -> bool {
        self.callers.iter().all(|caller| caller.stake.begin_commit())
    }

    fn put_off_commit(&self) {
        self.callers.iter().for_each(|caller| caller.stake.put_off_commit());
    }

    fn write<'a>(
        &'a mut self,
        dialect: Dialect,
        on: &'a mut AnyConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            if !self.requests.is_empty() {
                self.answers = K::write(dialect, on, &self.requests).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn write_last<'a>(
        &'a self,
        dialect: Dialect,
        on: &'a mut AnyConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        K::write_last(dialect, on, &self.requests, &self.answers).boxed()
    }

    fn answer(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        for (caller, answer) in std::mem::take(&mut self.callers).into_iter().zip(answers) {
            caller.stake.committed();
            caller.answer(Ok(answer));
        }
    }

    fn refuse(&mut self, error: &mut dyn FnMut() -> StoreError) {
        self.take().for_each(|(_, caller)| caller.answer(Err(error())));
    }

    fn split_into(&mut self, groups: &mut Vec<Group>) {
        for (request, caller) in self.take() {
            let mut alone = Group::default();
            alone.add(request, caller);
            groups.push(alone);
        }
    }
}
