//! Write transactions: each runs to its end, whatever becomes of the one who asked for it, and none takes for ever.
//!
//! A future that is dropped between BEGIN and COMMIT leaves its connection in a state that nobody knows. So a
//! transaction runs in a task of its own, with a time limit on both sides, or on the thread of SQLite (see `writer_thread`),
//! whose callers have the limit; and a connection whose transaction did not end as it should is closed and never used
//! again. A caller that gives up withdraws the write until its commit begins (see `pending_write`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::{AnyConnection, AnyPool, Connection as _, Executor, pool::PoolConnection};
use tokio::time::{Instant, timeout};

use super::{
    connection::Connection,
    connections::{Deaths, Pool, STORE_TIMEOUT, give_back},
    dialect::Dialect,
    error::{Doing, DriverError, StoreError, has_died, is_failed_sync, is_refusal},
    kept_connection::KeptConnection,
    pending_write::{self, PendingAnswer, PendingWrite, WriteKind},
    row::{Columns, Row},
    statement::Statement,
    writer_thread::{WriterThread, end_the_process},
};
use crate::telemetry::METRICS;

/// The connections that write.
#[derive(Clone)]
pub(super) struct Writer {
    connections: Connections,
    kind: WriteKind,
    /// Begins a transaction.
    begin: &'static str,
    /// The connection of one who writes again and again.
    kept: Option<Arc<KeptConnection>>,
}

#[derive(Clone)]
enum Connections {
    /// To a server: several, each for a transaction in a task of its own.
    Served { pool: AnyPool, deaths: Arc<Deaths> },
    /// To a file: one, with a thread of its own.
    Embedded(Arc<WriterThread>),
}

impl Writer {
    pub(super) fn served(dialect: Dialect, pool: AnyPool, deaths: Arc<Deaths>) -> Self {
        Self::of(dialect, Connections::Served { pool, deaths })
    }

    pub(super) fn embedded(thread: Arc<WriterThread>) -> Self {
        Self::of(Dialect::Sqlite, Connections::Embedded(thread))
    }

    fn of(dialect: Dialect, connections: Connections) -> Self {
        Self { connections, kind: WriteKind::Promised, begin: dialect.begin(), kept: None }
    }

    /// The same connections, for one whose transactions follow one another: it keeps its connection until it
    /// [releases it](Self::release_kept_connection).
    pub(super) fn keeping_its_connection(&self) -> Self {
        let kept = match &self.connections {
            Connections::Served { deaths, .. } => Some(Arc::new(KeptConnection::new(Arc::clone(deaths)))),
            Connections::Embedded(_) => None,
        };
        Self { kept, ..self.clone() }
    }

    /// Gives the connection back that was kept.
    pub(super) fn release_kept_connection(&self) {
        self.kept.iter().for_each(|kept| kept.release());
    }

    /// The same connections for what no request answers for.
    pub(super) fn in_background(&self) -> Self {
        Self { kind: WriteKind::Background, ..self.clone() }
    }

    /// The same connections, whose transactions begin with this.
    pub(super) fn beginning_with(&self, begin: &'static str) -> Self {
        Self { begin, ..self.clone() }
    }

    /// Runs one transaction to its end, whatever becomes of its caller. `work` takes it back by failing with
    /// [`StoreError::RolledBack`].
    ///
    /// # Errors
    /// What `work` fails with; [`StoreError::TimedOut`] and [`StoreError::OutcomeUnknown`] as they say.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (responder, answer) = pending_write::new(self.kind);
        let writer = self.clone();
        // On the heap, for the sake of all that wait for a write somewhere in them: they would move with room for this.
        let transaction = async move {
            let began = Instant::now();
            let result = writer
                .within_limits(async |progress: &Progress| {
                    writer.transact(&responder.write, work, progress).await
                })
                .await;
            let is_committed = result.is_ok();
            let answer = move || {
                METRICS.database_took("write", began.elapsed());
                match &result {
                    Ok(_) => responder.write.committed(),
                    Err(StoreError::OutcomeUnknown { .. }) => {}
                    Err(_) => responder.write.put_off_commit(),
                }
                responder.respond(result);
            };
            match is_committed {
                true => writer.when_durable(answer),
                false => answer(),
            }
        }
        .boxed();
        match &self.connections {
            Connections::Served { .. } => {
                tokio::spawn(transaction);
                answer.await
            }
            Connections::Embedded(thread) => answer.within(STORE_TIMEOUT, thread.run(transaction)).await,
        }
    }

    /// Calls this when what is committed by now is on the disk. A server says nothing of a commit before.
    pub(super) fn when_durable(&self, tell: impl FnOnce() + Send + 'static) {
        match &self.connections {
            Connections::Served { .. } => tell(),
            Connections::Embedded(thread) => thread.when_durable(tell),
        }
    }

    /// Waits for what a transaction of several callers answers one of them.
    pub(super) async fn answer_of_a_group<T>(&self, answer: PendingAnswer<T>) -> Result<T, StoreError> {
        match &self.connections {
            Connections::Served { .. } => answer.await,
            Connections::Embedded(_) => answer.within(STORE_TIMEOUT, async {}).await,
        }
    }

    /// Runs the transaction of a group, and waits for its end as long as one may take.
    pub(super) async fn run_group(&self, transaction: impl Future<Output = ()> + Send + 'static) {
        match &self.connections {
            Connections::Served { .. } => transaction.await,
            Connections::Embedded(thread) => {
                // Its callers have left by then.
                let _ = timeout(STORE_TIMEOUT, thread.run_to_the_end(transaction)).await;
            }
        }
    }

    async fn transact<T, W>(
        &self,
        write: &PendingWrite,
        work: W,
        progress: &Progress,
    ) -> Result<T, StoreError>
    where
        W: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>>,
    {
        if write.is_withdrawn() {
            return Err(StoreError::RolledBack);
        }
        let mut transaction = self.begin().await?;
        if write.is_withdrawn() {
            transaction.roll_back().await?;
            return Err(StoreError::RolledBack);
        }
        let done = match work(transaction.connection()).await {
            Ok(done) => done,
            Err(error) => return Err(transaction.fail(error).await),
        };
        let is_committed = transaction.commit_if(|| write.begin_commit(), progress).await?;
        is_committed.then_some(done).ok_or(StoreError::RolledBack)
    }

    /// Runs one statement in a transaction of its own; returns the ids of the rows that it changed.
    pub(super) async fn change_ids(
        &self,
        statement: Statement,
        doing: &'static str,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.fetch_all(statement, doing).await?;
        rows.iter().map(|row| Columns { table: "changed rows", row }.text("id")).collect()
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
    ) -> Result<Vec<Row>, StoreError> {
        self.run(move |on| async move { statement.fetch_all(on).await.doing(doing) }.boxed()).await
    }

    /// The same for a statement that returns one row, or none.
    pub(super) async fn fetch_optional(
        &self,
        statement: Statement,
        doing: &'static str,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(statement, doing).await?.pop())
    }

    /// How its connections are used now.
    pub(super) fn pool(&self) -> Pool {
        match &self.connections {
            Connections::Served { pool, .. } => Pool::of("writers", pool),
            Connections::Embedded(thread) => thread.pool(),
        }
    }

    /// A connection of its own for one who changes its settings.
    pub(super) async fn own_connection(&self) -> Result<AnyConnection, StoreError> {
        match &self.connections {
            Connections::Served { pool, .. } => {
                pool.acquire().await.map(PoolConnection::detach).doing("be reached")
            }
            Connections::Embedded(thread) => {
                let mut own = AnyConnection::connect_with(&thread.options).await.doing("be reached")?;
                own.execute(Dialect::Sqlite.session()).await.doing("be reached")?;
                Ok(own)
            }
        }
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        match &self.connections {
            Connections::Served { pool, .. } => pool.close().await,
            Connections::Embedded(thread) => thread.close().await,
        }
    }

    /// Begins a transaction. A connection that had died since its last answer is replaced: when Postgres restarts, all
    /// of them have.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        let (pool, deaths) = match &self.connections {
            Connections::Served { pool, deaths } => (pool, deaths),
            Connections::Embedded(thread) => {
                let connection = thread.lend().map(Connection::Embedded).doing("be reached")?;
                let owner = Owner::Thread(Arc::clone(thread));
                let mut transaction = Transaction { connection: Some(connection), owner };
                return transaction.run(self.begin).await.doing("begin").map(|()| transaction);
            }
        };
        let mut kept = self.kept.as_ref().and_then(|kept| kept.take());
        let mut dead = 0;
        loop {
            let connection = match kept.take() {
                Some(kept) => kept,
                None => pool.acquire().await.doing("be reached")?,
            };
            let owner = Owner::Pool(self.kept.clone(), Arc::clone(deaths));
            let mut transaction = Transaction { connection: Some(Connection::Served(connection)), owner };
            // The driver's own way counts transactions, and counts wrong after one of its statements failed.
            match transaction.run(self.begin).await {
                Ok(()) => return Ok(transaction),
                Err(error) if has_died(&error) && dead < pool.size() => {
                    deaths.notice();
                    dead += 1;
                }
                Err(source) => return Err(StoreError::Database { doing: "begin", source }),
            }
        }
    }

    /// Lets a transaction take [`STORE_TIMEOUT`]; then its connection is closed. One on SQLite's thread cannot be stopped from
    /// here: its callers leave it.
    pub(super) async fn within_limits<T>(
        &self,
        transaction: impl AsyncFnOnce(&Progress) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let progress = Progress::default();
        if let Connections::Embedded(_) = self.connections {
            return transaction(&progress).await;
        }
        match timeout(STORE_TIMEOUT, transaction(&progress)).await {
            Ok(ended) => ended,
            Err(_) if progress.is_committing.load(Ordering::Relaxed) => {
                Err(StoreError::OutcomeUnknown { source: None })
            }
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}

/// How far a transaction is, for the one who stops waiting for it.
#[derive(Default)]
pub(super) struct Progress {
    is_committing: AtomicBool,
}

/// A transaction under way. Dropped before its end, its connection is closed: the state of that is unknown.
pub(super) struct Transaction {
    connection: Option<Connection>,
    owner: Owner,
}

/// Where a connection goes after its transaction; with its pool, who keeps it before that.
enum Owner {
    Pool(Option<Arc<KeptConnection>>, Arc<Deaths>),
    Thread(Arc<WriterThread>),
}

impl Transaction {
    #[expect(clippy::expect_used, reason = "it is taken only by what consumes the transaction")]
    pub(super) fn connection(&mut self) -> &mut Connection {
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

    /// Ends a transaction in which a statement failed. A connection on which that is not possible, or that only reads, is closed.
    pub(super) async fn fail(mut self, error: StoreError) -> StoreError {
        let is_read_only = error.is_about_a_read_only_session();
        if let (true, Owner::Pool(kept, deaths)) = (is_read_only, &mut self.owner) {
            deaths.notice_read_only();
            *kept = None;
        }
        if is_read_only || !error.is_about_the_database() {
            let _ = self.roll_back().await;
        }
        error
    }

    async fn roll_back(mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.doing("roll back")?;
        self.give_back();
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), DriverError> {
        self.connection().run(statement).await
    }

    fn give_back(&mut self) {
        match (self.connection.take(), &self.owner) {
            (Some(Connection::Served(connection)), Owner::Pool(Some(kept), _)) => kept.keep(connection),
            (Some(Connection::Served(connection)), _) => give_back(connection),
            (Some(Connection::Embedded(connection)), Owner::Thread(thread)) => thread.take_back(connection),
            (Some(Connection::Embedded(_)) | None, _) => {}
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(Connection::Served(connection)) = self.connection.take() {
            // Without a goodbye, which a server that hangs would not answer.
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{mail::BatchId, store::webhooks_fixture as fixture};

    #[tokio::test]
    async fn the_future_of_a_write_stays_under_1_kib() {
        let (store, _folder) = fixture::open().await;
        let write = store.make_mails(BatchId::new(), 0, Vec::new(), Vec::new());
        assert!(size_of_val(&write) < 1_024, "{} bytes", size_of_val(&write));
    }
}
