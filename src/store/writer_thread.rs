//! The thread on which the transactions of SQLite run, one after the other, on the one connection that writes.
//!
//! SQLite has one writer, and what it is asked it does at once, on the thread that asks. So a transaction runs here from its
//! beginning to its end without waiting for anybody, and no statement of it costs a message to another thread and one
//! back. What the disk keeps waiting keeps this thread waiting, and nobody else: callers have time limits of their own
//! (see `pending_write`).

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::any::AnyConnectOptions;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    connections::Pool,
    dialect::Access,
    embedded::Embedded,
    error::{Doing, DriverError, StoreError, Unflushed},
    flusher::Flusher,
    opened_file::{OpenConnection, OpenedFile},
};
use crate::telemetry::chain;

/// The most transactions that wait for their turn. Whoever comes then waits to be let in.
const WAITING: usize = 1024;

/// The thread, and its connection while no transaction has it.
pub(super) struct WriterThread {
    waiting: mpsc::Sender<BoxFuture<'static, ()>>,
    file: OpenedFile,
    access: Access,
    /// For those who need a connection of another kind to the same file.
    pub(super) options: AnyConnectOptions,
    connection: Mutex<ConnectionSlot>,
    open: OpenConnection,
    flusher: Flusher,
}

/// Where the connection is.
enum ConnectionSlot {
    Here(Embedded),
    /// With the transaction under way; or closed by one that did not end as it should.
    Away,
    /// Nobody gets it any more.
    Closed,
}

impl WriterThread {
    /// Opens the file and starts the thread.
    pub(super) async fn start(
        file: PathBuf,
        access: Access,
        options: AnyConnectOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let open = OpenConnection::default();
        let opening = {
            let open = open.clone();
            spawn_blocking(move || open_and_note(file, access, &open)).await
        };
        let (opened, file) = opening.map_err(|_| StoreError::Closed)?.doing("be opened")?;
        let (waiting, transactions) = mpsc::channel(WAITING);
        let runtime = Handle::current();
        let thread = thread::Builder::new().name("sqlite-writer".to_owned());
        thread
            .spawn(move || carry_out(&runtime, transactions))
            .map_err(|source| DriverError::Sqlx(sqlx::Error::Io(source)))
            .doing("be written to")?;
        let flusher = Flusher::start(file.clone(), open.clone(), |error| end_for(&error))
            .map_err(|source| DriverError::Sqlx(sqlx::Error::Io(source)))
            .doing("be flushed")?;
        let connection = Mutex::new(ConnectionSlot::Here(opened));
        Ok(Arc::new(Self { waiting, file, access, options, connection, open, flusher }))
    }

    /// Lets a transaction run when its turn comes; it is dropped where the thread has ended.
    pub(super) async fn run(&self, transaction: BoxFuture<'static, ()>) {
        let _ = self.waiting.send(transaction).await;
    }

    /// The same, and waits until it has ended.
    pub(super) async fn run_to_the_end(&self, transaction: impl Future<Output = ()> + Send + 'static) {
        let (ended, end) = oneshot::channel::<()>();
        let transaction = async move {
            transaction.await;
            drop(ended);
        };
        self.run(transaction.boxed()).await;
        let _ = end.await;
    }

    /// Calls this when what is committed by now is on the disk.
    pub(super) fn when_durable(&self, tell: impl FnOnce() + Send + 'static) {
        self.flusher.when_durable(tell);
    }

    /// The connection, for a transaction on the thread.
    pub(super) fn lend(&self) -> Result<Embedded, DriverError> {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, ConnectionSlot::Away) {
            ConnectionSlot::Here(connection) => Ok(connection),
            ConnectionSlot::Away => self.open_again(),
            ConnectionSlot::Closed => {
                *slot = ConnectionSlot::Closed;
                Err(DriverError::Sqlx(sqlx::Error::PoolClosed))
            }
        }
    }

    /// Opens the file once more, and never another one.
    fn open_again(&self) -> Result<Embedded, DriverError> {
        if let Err(error) = self.file.check() {
            end_for(&error)
        }
        Embedded::open(self.file.path(), self.access.again(), &self.open)
    }

    /// Takes it back when the transaction has ended as it should.
    pub(super) fn take_back(&self, connection: Embedded) {
        let mut slot = self.slot();
        if matches!(*slot, ConnectionSlot::Away) {
            *slot = ConnectionSlot::Here(connection);
        }
    }

    /// Closes the connection after the transactions that wait.
    pub(super) async fn close(self: &Arc<Self>) {
        let thread = Arc::clone(self);
        self.run_to_the_end(async move { *thread.slot() = ConnectionSlot::Closed }).await;
        let (flushed, end) = oneshot::channel::<()>();
        self.when_durable(move || drop(flushed));
        let _ = end.await;
    }

    /// How the connection is used now.
    pub(super) fn pool(&self) -> Pool {
        let (busy, idle) = match *self.slot() {
            ConnectionSlot::Here(_) => (0, 1),
            ConnectionSlot::Away => (1, 0),
            ConnectionSlot::Closed => (0, 0),
        };
        Pool { name: "writers", busy, idle, most: 1 }
    }

    fn slot(&self) -> MutexGuard<'_, ConnectionSlot> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After an fsync that failed, the system may have dropped what was to be written, and the next fsync says nothing of it. A
/// process that goes on could promise what is not on the disk. One that starts reads the disk again, and its callers
/// know that they have no answer.
pub(super) fn end_the_process(error: &(impl Error + 'static)) -> ! {
    tracing::error!(
        error = %chain(error),
        "the disk did not take what was committed, the process ends at once"
    );
    std::process::exit(1)
}

/// What is written to a file that was moved or removed is lost as well. The folder of a test may go before its store.
fn end_for(error: &Unflushed) {
    if let Unflushed::Disk(error) = error {
        end_the_process(error)
    }
    tracing::error!(%error, "the file of the database is gone, the process ends at once");
    if !cfg!(test) {
        std::process::exit(1)
    }
}

fn open_and_note(
    file: PathBuf,
    access: Access,
    open: &OpenConnection,
) -> Result<(Embedded, OpenedFile), DriverError> {
    let opened = Embedded::open(&file, access, open)?;
    let file = OpenedFile::at(file).map_err(sqlx::Error::Io)?;
    Ok((opened, file))
}

fn carry_out(runtime: &Handle, mut waiting: mpsc::Receiver<BoxFuture<'static, ()>>) {
    while let Some(transaction) = waiting.blocking_recv() {
        // One that panics drops its connection, which closes it, and its caller is told that there is no answer.
        let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(transaction)));
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, time::Duration};

    use tokio::time::timeout;

    use super::*;
    use crate::store::{statement::query, writer::Writer};

    async fn writer(folder: &tempfile::TempDir) -> (Writer, Arc<WriterThread>) {
        sqlx::any::install_default_drivers();
        let file = folder.path().join("postroom.db");
        let options = format!("sqlite://{}?mode=rwc", file.display()).parse().unwrap();
        let thread = WriterThread::start(file, Access::Create, options).await.unwrap();
        let writer = Writer::embedded(Arc::clone(&thread));
        writer.execute(query("CREATE TABLE t (n INTEGER)"), "make a table").await.unwrap();
        (writer, thread)
    }

    async fn insert(writer: &Writer) -> Result<u64, StoreError> {
        writer.execute(query("INSERT INTO t (n) VALUES ($1)").bind(1), "insert").await
    }

    async fn rows(writer: &Writer) -> usize {
        writer.fetch_all(query("SELECT n FROM t"), "count").await.unwrap().len()
    }

    #[tokio::test]
    async fn a_transaction_that_panics_leaves_nothing_and_the_next_one_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, _thread) = writer(&folder).await;
        let panics = writer.run::<(), _>(|on| {
            async move {
                query("INSERT INTO t (n) VALUES (1)").execute(on).await.unwrap();
                panic!("as it must not")
            }
            .boxed()
        });
        assert!(matches!(panics.await, Err(StoreError::Closed)));
        assert_eq!(insert(&writer).await.unwrap(), 1);
        assert_eq!(rows(&writer).await, 1);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_while_the_thread_is_held_up_has_written_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = writer(&folder).await;
        let (go_on, held_up) = channel::<()>();
        thread.run(async move { assert!(held_up.recv().is_ok()) }.boxed()).await;
        assert!(timeout(Duration::from_millis(100), insert(&writer)).await.is_err());
        assert_eq!(thread.pool().idle, 1, "nobody has the connection");
        go_on.send(()).unwrap();
        assert_eq!(rows(&writer).await, 0);
    }

    #[tokio::test]
    async fn nothing_is_written_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = writer(&folder).await;
        insert(&writer).await.unwrap();
        writer.close().await;
        assert!(
            !folder.path().join("postroom.db-wal").exists(),
            "the last connection moves the log into the database"
        );
        let after = insert(&writer).await;
        assert!(matches!(after, Err(StoreError::Database { doing: "be reached", .. })), "{after:?}");
        assert_eq!((thread.pool().busy, thread.pool().idle), (0, 0));
    }
}
