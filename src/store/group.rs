//! A group: changes of several callers that are written in one transaction.

use std::{any::Any, collections::BTreeMap, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use super::{
    connection::Connection,
    dialect::Dialect,
    error::{Doing, StoreError},
    pending_write::{Responder, WriteKind},
    writer::{Progress, Writer},
};
use crate::{
    mail::MailLane,
    telemetry::{METRICS, Outage, chain},
};

/// How many members in a row may wait in vain for a lock before the rest of their group is refused untried.
const LOCKED_OUT: usize = 3;
/// How long members are tried one by one: the next group waits.
const APART_FOR: Duration = Duration::from_secs(5);

/// Groups that were written one by one.
static APART: Outage = Outage::new();

/// When the changes of a kind are written, among those of their group. Each kind has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteOrder {
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
    const ORDER: WriteOrder;

    /// Whether a request answers for it.
    const KIND: WriteKind = WriteKind::Promised;

    /// The lane of those who wait for it: what is of a batch, or what nobody waits for, keeps nobody waiting.
    fn lane(&self) -> MailLane {
        MailLane::Transactional
    }

    /// Writes all of a group's changes of this kind; gives an answer for each.
    fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;

    /// Writes what must come last in the transaction, after the changes of all kinds.
    fn write_last(
        _dialect: Dialect,
        _on: &mut Connection,
        _requests: &[Self],
        _answers: &[Self::Answer],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }
}

/// The members of one transaction, by kind.
#[derive(Default)]
pub(super) struct Group {
    kinds: BTreeMap<WriteOrder, Box<dyn ErasedMembers>>,
}

/// Whether a transaction is patient with locks that others hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Usual,
    /// One of many that are tried one by one.
    Short,
}

impl Group {
    /// Takes a change in.
    pub(super) fn add<K: Grouped>(&mut self, request: K, responder: Responder<K::Answer>) {
        let kind = self.kinds.entry(K::ORDER).or_insert_with(|| Box::new(Members::<K>::default()));
        let kind: &mut dyn Any = &mut **kind;
        #[expect(clippy::expect_used, reason = "each kind has an order of its own: see `WriteOrder`")]
        kind.downcast_mut::<Members<K>>().expect("members of this kind").add(request, responder);
    }

    /// Writes the group and answers its members.
    pub(super) async fn commit(mut self, dialect: Dialect, writer: &Writer) {
        let began = Instant::now();
        let written = self.write(dialect, writer, Patience::Usual).await;
        let took = move || METRICS.database_took("group_commit", began.elapsed());
        if written.is_err() {
            took();
        }
        match written {
            Ok(()) => writer.when_durable(move || {
                took();
                self.answer();
            }),
            Err(error) if self.len() > 1 && !error.is_about_the_database() => {
                if let Some(times) = APART.failed() {
                    let members = self.len();
                    tracing::warn!(
                        error = %chain(&error),
                        members,
                        times,
                        "a group could not be written together, writing its members alone"
                    );
                }
                self.commit_one_by_one(dialect, writer).await;
            }
            Err(error) => self.refuse(error),
        }
    }

    async fn commit_one_by_one(self, dialect: Dialect, writer: &Writer) {
        let (mut locked_out, began) = (0, Instant::now());
        for mut alone in self.split() {
            if locked_out == LOCKED_OUT || began.elapsed() >= APART_FOR {
                alone.refuse(StoreError::Group);
                continue;
            }
            match alone.write(dialect, writer, Patience::Short).await {
                Ok(()) => {
                    locked_out = 0;
                    writer.when_durable(move || alone.answer());
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
            if writer.within_limits(transaction).await? {
                return Ok(());
            }
        }
    }

    async fn write_on(
        &mut self,
        dialect: Dialect,
        on: &mut Connection,
        patience: Patience,
    ) -> Result<(), StoreError> {
        if patience == Patience::Short && dialect == Dialect::Postgres {
            on.run("SET LOCAL lock_timeout = '200ms'").await.doing("limit the wait for locks")?;
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
    responders: Vec<Responder<K::Answer>>,
    answers: Vec<K::Answer>,
}

impl<K: Grouped> Default for Members<K> {
    fn default() -> Self {
        Self { requests: Vec::new(), responders: Vec::new(), answers: Vec::new() }
    }
}

impl<K: Grouped> Members<K> {
    fn add(&mut self, request: K, responder: Responder<K::Answer>) {
        self.requests.push(request);
        self.responders.push(responder);
    }

    fn take(&mut self) -> impl Iterator<Item = (K, Responder<K::Answer>)> {
        std::mem::take(&mut self.requests).into_iter().zip(std::mem::take(&mut self.responders))
    }
}

/// The members of one kind, whatever the kind.
trait ErasedMembers: Any + Send + Sync {
    fn len(&self) -> usize;
    fn drop_withdrawn(&mut self);
    fn begin_commit(&self) -> bool;
    /// Those who left while their commit seemed to be under way cannot be asked any more: they are withdrawn now.
    fn put_off_commit(&self);
    fn write<'a>(
        &'a mut self,
        dialect: Dialect,
        on: &'a mut Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn write_last<'a>(
        &'a self,
        dialect: Dialect,
        on: &'a mut Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn answer(&mut self);
    fn refuse(&mut self, error: &mut dyn FnMut() -> StoreError);
    fn split_into(&mut self, groups: &mut Vec<Group>);
}

impl<K: Grouped> ErasedMembers for Members<K> {
    fn len(&self) -> usize {
        self.requests.len()
    }

    fn drop_withdrawn(&mut self) {
        self.answers.clear();
        if self.responders.iter().any(|responder| responder.write.is_withdrawn()) {
            let staying = self.take().filter(|(_, responder)| !responder.write.is_withdrawn());
            (self.requests, self.responders) = staying.unzip();
        }
    }

    fn begin_commit(&self) -> bool {
        self.responders.iter().all(|responder| responder.write.begin_commit())
    }

    fn put_off_commit(&self) {
        self.responders.iter().for_each(|responder| responder.write.put_off_commit());
    }

    fn write<'a>(
        &'a mut self,
        dialect: Dialect,
        on: &'a mut Connection,
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
        on: &'a mut Connection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        K::write_last(dialect, on, &self.requests, &self.answers).boxed()
    }

    fn answer(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        for (responder, answer) in std::mem::take(&mut self.responders).into_iter().zip(answers) {
            responder.write.committed();
            responder.respond(Ok(answer));
        }
    }

    fn refuse(&mut self, error: &mut dyn FnMut() -> StoreError) {
        self.take().for_each(|(_, responder)| responder.respond(Err(error())));
    }

    fn split_into(&mut self, groups: &mut Vec<Group>) {
        for (request, responder) in self.take() {
            let mut alone = Group::default();
            alone.add(request, responder);
            groups.push(alone);
        }
    }
}
