//! Write transactions: each runs to its end, whatever becomes of the one who asked for it, and none takes for ever.
//!
//! A future that is dropped between BEGIN and COMMIT leaves its connection in a state that nobody knows. So a
//! transaction runs in a task of its own, with a time limit on both sides, and a connection whose transaction did not
//! end as it should is closed and never used again. A caller that gives up withdraws the write until its commit begins
//! (see `stake`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{Any, AnyConnection, AnyPool, any::AnyRow, pool::PoolConnection};
use tokio::time::{Instant, timeout};

use super::{
    connections::{Deaths, LONGEST, Pool, give_back},
    dialect::Dialect,
    error::{Doing, StoreError, has_died, is_failed_sync, is_refusal},
    sql::Statement,
    stake::{self, Stake},
};
use crate::telemetry::METRICS;

/// The connections that write.
#[derive(Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    deaths: Arc<Deaths>,
    is_promise: bool,
    /// Begins a transaction.
    begin: &'static str,
}

impl Writer {
    pub(super) fn new(dialect: Dialect, pool: AnyPool, deaths: Arc<Deaths>) -> Self {
        Self { pool, deaths, is_promise: true, begin: dialect.begin() }
    }

    /// The same connections for what no request answers for: see [`stake::write`].
    pub(super) fn aside(&self) -> Self {
        Self { is_promise: false, ..self.clone() }
    }

    /// The same connections, whose transactions begin with this.
    pub(super) fn beginning_with(&self, begin: &'static str) -> Self {
        Self { begin, ..self.clone() }
    }

    /// Runs one transaction in a task of its own. `work` takes it back by failing with [`StoreError::RolledBack`].
    ///
    /// # Errors
    /// What `work` fails with; [`StoreError::TimedOut`] and [`StoreError::OutcomeUnknown`] as they say.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (caller, answer) = stake::write(self.is_promise);
        let writer = self.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let result = within_limits(async |progress: &Progress| {
                writer.transact(&caller.stake, work, progress).await
            })
            .await;
            METRICS.database_took("write", began.elapsed());
            match &result {
                Ok(_) => caller.stake.committed(),
                Err(StoreError::OutcomeUnknown { .. }) => {}
                Err(_) => caller.stake.put_off_commit(),
            }
            caller.answer(result);
        });
        answer.await
    }

    async fn transact<T, W>(&self, stake: &Stake, work: W, progress: &Progress) -> Result<T, StoreError>
    where
        W: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>,
    {
        let mut transaction = self.begin().await?;
        if stake.is_withdrawn() {
            transaction.roll_back().await?;
            return Err(StoreError::RolledBack);
        }
        let done = match work(transaction.connection()).await {
            Ok(done) => done,
            Err(error) => return Err(transaction.fail(error).await),
        };
        let is_committed = transaction.commit_if(|| stake.begin_commit(), progress).await?;
        is_committed.then_some(done).ok_or(StoreError::RolledBack)
    }

    /// Runs one statement in a transaction of its own; returns how many rows it changed.
    pub(super) async fn execute(&self, statement: Statement, doing: &'static str) -> Result<u64, StoreError> {
        self.run(move |on| async move { statement.execute(on).await.doing(doing) }.boxed())
            .await
            .map(|done| done.rows_affected())
    }

    /// Runs one statement in a transaction of its own and returns its rows.
    pub(super) async fn fetch_all(
        &self,
        statement: Statement,
        doing: &'static str,
    ) -> Result<Vec<AnyRow>, StoreError> {
        self.run(move |on| async move { statement.fetch_all(on).await.doing(doing) }.boxed()).await
    }

    /// The same for a statement that returns one row, or none.
    pub(super) async fn fetch_optional(
        &self,
        statement: Statement,
        doing: &'static str,
    ) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.fetch_all(statement, doing).await?.pop())
    }

    /// How its connections are used now.
    pub(super) fn pool(&self) -> Pool {
        Pool::of("writers", &self.pool)
    }

    /// A connection of its own for one who changes its settings.
    pub(super) async fn own_connection(&self) -> Result<AnyConnection, StoreError> {
        self.pool.acquire().await.map(PoolConnection::detach).doing("be reached")
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction. A connection that had died since its last answer is replaced: when Postgres restarts, all
    /// of them have.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        let mut dead = 0;
        loop {
            let connection = self.pool.acquire().await.doing("be reached")?;
            let mut transaction = Transaction { connection: Some(connection) };
            // The driver's own way counts transactions, and counts wrong after one of its statements failed.
            match transaction.run(self.begin).await {
                Ok(()) => return Ok(transaction),
                Err(error) if has_died(&error) && dead < self.pool.size() => {
                    self.deaths.notice();
                    dead += 1;
                }
                Err(source) => return Err(StoreError::Database { doing: "begin", source }),
            }
        }
    }
}

/// How far a transaction is, for the one who stops waiting for it.
#[derive(Default)]
pub(super) struct Progress {
    is_committing: AtomicBool,
}

/// Lets a transaction take [`LONGEST`]; then its connection is closed.
pub(super) async fn within_limits<T>(
    transaction: impl AsyncFnOnce(&Progress) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let progress = Progress::default();
    match timeout(LONGEST, transaction(&progress)).await {
        Ok(ended) => ended,
        Err(_) if progress.is_committing.load(Ordering::Relaxed) => {
            Err(StoreError::OutcomeUnknown { source: None })
        }
        Err(_) => Err(StoreError::TimedOut),
    }
}

/// A transaction under way. Dropped before its end, its connection is closed: the state of that is unknown.
pub(super) struct Transaction {
    connection: Option<PoolConnection<Any>>,
}

impl Transaction {
    #[expect(clippy::expect_used, reason = "it is taken only by what consumes the transaction")]
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("a connection under a transaction")
    }

    /// Commits if that is still wanted, else rolls back; returns which. What the database refuses to commit is not
    /// committed; of everything else nobody knows.
    pub(super) async fn commit_if(
        mut self,
        is_wanted: impl FnOnce() -> bool,
        progress: &Progress,
    ) -> Result<bool, StoreError> {
        if !is_wanted() {
            return self.roll_back().await.map(|()| false);
        }
        progress.is_committing.store(true, Ordering::Relaxed);
        match self.run("COMMIT").await {
            Ok(()) => {
                self.give_back();
                Ok(true)
            }
            Err(source) if is_failed_sync(&source) => end_the_process(&source),
            Err(source) if is_refusal(&source) => Err(StoreError::Database { doing: "commit", source }),
            Err(source) => Err(StoreError::OutcomeUnknown { source: Some(source) }),
        }
    }

    /// Ends a transaction in which a statement failed; a connection on which that is not possible is closed.
    pub(super) async fn fail(self, error: StoreError) -> StoreError {
        if !error.is_about_the_database() {
            let _ = self.roll_back().await;
        }
        error
    }

    async fn roll_back(mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.doing("roll back")?;
        self.give_back();
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(self.connection()).await.map(drop)
    }

    fn give_back(&mut self) {
        self.connection.take().into_iter().for_each(give_back);
    }
}

/// After an fsync that failed, the system may have dropped what was to be written, and the next fsync says nothing of it. A
/// process that goes on could promise what is not on the disk. One that starts reads the disk again, and its callers
/// know that they have no answer.
fn end_the_process(error: &sqlx::Error) -> ! {
    tracing::error!(%error, "the disk did not take what was committed, the process ends at once");
    std::process::exit(1)
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Without a goodbye, which a server that hangs would not answer.
            drop(connection.detach());
        }
    }
}
