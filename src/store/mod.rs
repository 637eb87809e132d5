//! RECORDED: all SQL. One [`Store`] over SQLite (embedded) and Postgres (many processes), the same API for both.
//!
//! Methods are named for the intent, not the statement. What must be true together is one transaction in one method;
//! none stays open across SMTP or HTTP. A change of state is a guarded `UPDATE`, and its zero rows are an answer with a
//! type. What many callers write at the same moment (`record`, `claim`, `settle`) goes through the group commit, and what
//! they look up by key (documents, orders) through the group reads.

mod batches;
mod carts;
mod dialect;
mod events;
mod group_commit;
mod group_read;
mod idempotency;
mod mails;
mod merchants;
mod orders;
mod passes;
mod resources;
mod room;
mod rounds;
mod row;
mod stake;
mod steps;
mod templates;
mod webhooks;
mod workers;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use sqlx::{
    AnyPool, Connection, Executor,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{Migration, MigrationType, Migrator},
};
use tokio::{sync::mpsc, time::Instant};

pub use batches::{
    BatchMoved, BatchRecord, BatchRecorded, Chunk, DueBatch, MadeMail, Making, NewBatch, StagedChunk,
    TakenBack,
};
pub use carts::{CartsPage, ReminderRecord};
pub use idempotency::{Answer, KeyHolder, Reservation};
pub use mails::{
    Attempt, Claim, DueMail, FoundMails, GivenBack, MailCount, MailFilter, MailRecord, MailSearch, Moved,
    Precondition, Recorded, Recording, Replacement, Settled, Settlement,
};
pub use merchants::{Account, Merchant, NewMerchant, TokenRecord};
pub use orders::{
    AuditEntry, NewAuditEntry, NewOrderEmail, OrderEmail, OrderRecord, OrderStep, WorkflowRow, WorkflowStep,
};
pub use passes::{NewPass, Pass};
pub use resources::{MailingSubjects, ResourceRow, Stored};
pub use room::{Counted, StoredLimits};
pub use stake::{WriteProgress, WriteWatch};
pub use templates::NewTemplateVersion;
pub use webhooks::{
    Callback, CallbackClaim, CallbackSettled, CallbackSettlement, DeliveryAttempt, DeliveryRecord,
    Destination, DisabledEndpoint, DueDelivery, Endpoint, EndpointChange, MOST_ENDPOINTS, NewCallback,
    NewEndpoint, Registered, Replayed, Tested,
};
pub use workers::WorkerRecord;

#[cfg(test)]
pub(crate) use webhooks::fixture as webhooks_fixture;

use crate::clock;
use dialect::Dialect;
use group_commit::GroupCommit;
use group_read::GroupRead;
use orders::OrderTraces;
use writer::Writer;

/// What Postgres says on a connection that it ended (its manual, appendix A).
const ADMIN_SHUTDOWN: &str = "57P01";
/// What Postgres says when a lock was waited for too long (its manual, appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// What Postgres says when a statement took too long (its manual, appendix A).
const QUERY_CANCELED: &str = "57014";
/// SQLite's primary result codes for a locked file, an error of the disk, and a full one (its "Result and Error Codes").
const SQLITE_BUSY: i64 = 5;
const SQLITE_IOERR: i64 = 10;
const SQLITE_FULL: i64 = 13;
/// The bytes of a write that finds out whether the database takes writes.
const PROBE: usize = 16 * 1024;
/// How long a successful write says that the database takes writes.
const PROBED: Duration = Duration::from_millis(200);
/// How long after its last answer a connection is taken to live.
const TRUSTED: Duration = Duration::from_millis(500);

/// Where the rows are.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// Whether `serve` creates a missing database and brings an old schema up to date.
    pub migrate: bool,
    /// The most connections to Postgres, and the readers beside SQLite's one writer.
    pub connections: u32,
}

impl std::fmt::Debug for DatabaseSettings {
    /// Leaves out the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings")
            .field("migrate", &self.migrate)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// What went wrong between postroom and its database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, or refused a statement that ought to work.
    #[error("the database could not {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what postroom never writes.
    #[error("a row of `{table}` cannot be read: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The thing exists already.
    #[error("{0} exists already")]
    Exists(&'static str),
    /// The URL names no database that postroom speaks to.
    #[error("database.url must begin with `sqlite:` or `postgres://`")]
    Url,
    /// The file of the embedded database cannot be made.
    #[error("the folder of the database, {}, cannot be made", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The schema does not fit this version.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is older than this version and `database.migrate` is off.
    #[error("the schema is not up to date; run `postroom migrate`")]
    Outdated,
    /// The group that this call was part of failed; another of its members has the cause.
    #[error("the database could not serve a group of calls")]
    Group,
    /// A write took too long; it was rolled back and is not committed later.
    #[error("the database did not carry out a write in time; it was rolled back")]
    TimedOut,
    /// The commit was sent and its answer did not come: the rows may be there or not.
    #[error("the database did not say whether a write is committed")]
    OutcomeUnknown {
        /// What the driver said; `None` when it said nothing in time.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// The write was taken back before its commit, such as by a caller that gave up; nothing was written.
    #[error("a write was taken back before it was committed")]
    RolledBack,
    /// The group commit has ended: the process is stopping.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later: nothing is wrong with what was asked.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Corrupt { .. } | Self::Exists(_))
    }

    /// Whether the database is out of reach or in trouble as a whole, so that trying the members of a group one by one
    /// would only take longer.
    fn is_about_the_database(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_away(source) || is_out_of_resources(source),
            Self::TimedOut | Self::OutcomeUnknown { .. } => true,
            _ => false,
        }
    }

    /// Whether a lock or a statement took longer than the server allows.
    fn is_about_a_lock(&self) -> bool {
        matches!(self, Self::Database { source, .. } if has_code(source, &[LOCK_NOT_AVAILABLE, QUERY_CANCELED]))
    }
}

/// The rows, and the connections to them. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    dialect: Dialect,
    readers: AnyPool,
    writer: Writer,
    probed: Arc<tokio::sync::Mutex<Option<Instant>>>,
    group: Arc<GroupCommit>,
    documents: GroupRead<Stored>,
    order_traces: GroupRead<OrderTraces>,
}

impl Store {
    /// Connects; creates a missing SQLite file. The schema is left alone: see [`Store::migrate`].
    ///
    /// # Errors
    /// When the URL is neither SQLite nor Postgres, or the database cannot be reached within 10 s.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(&settings.url).ok_or(StoreError::Url)?;
        let url = dialect.prepare_url(&settings.url)?;
        let options: AnyConnectOptions = url
            .parse::<AnyConnectOptions>()
            .map_err(|source| StoreError::Database { doing: "understand database.url", source })?;
        let options = sqlx::ConnectOptions::disable_statement_logging(options);
        let deaths = Arc::<Deaths>::default();
        let writers = pool(dialect, &options, dialect.writers(settings.connections), &deaths).await?;
        let readers = pool(dialect, &options, settings.connections.max(1), &deaths).await?;
        let writer = Writer::new(dialect, writers, deaths);
        let group = Arc::new(GroupCommit::start(dialect, writer.clone()));
        let documents = GroupRead::start(dialect, readers.clone());
        let order_traces = GroupRead::start(dialect, readers.clone());
        Ok(Self { dialect, readers, writer, probed: Arc::default(), group, documents, order_traces })
    }

    /// Creates the schema or brings it up to date. Safe to run from several processes at once.
    ///
    /// # Errors
    /// When a migration fails or an applied one differs from this version's.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut own = self.writer.own_connection().await?;
        if self.dialect == Dialect::Postgres {
            // Building an index takes as long as it takes.
            own.execute("SET statement_timeout = 0; SET lock_timeout = 0").await.doing("lift time limits")?;
            return self.migrator().run(&mut own).await.map_err(StoreError::Migrate); // takes an advisory lock
        }
        let mut transaction = own.begin_with(self.dialect.begin()).await.doing("begin")?;
        self.migrator().run(&mut *transaction).await.map_err(StoreError::Migrate)?;
        transaction.commit().await.doing("commit")
    }

    /// Checks that every migration of this version is applied.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when one is missing.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let newest = self.migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
        let applied: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await
            .map_err(|_| StoreError::Outdated)?;
        if applied.unwrap_or(0) >= newest { Ok(()) } else { Err(StoreError::Outdated) }
    }

    /// Tries to write: a database that only reads, such as one whose disk is full, is not ready. Many who ask at once
    /// share one try.
    ///
    /// # Errors
    /// When it does not take the write.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let mut last = self.probed.lock().await;
        if last.is_some_and(|at| at.elapsed() < PROBED) {
            return Ok(());
        }
        // As large as what a request records: a full disk may have room for a few bytes.
        let probe = sqlx::query(
            "INSERT INTO write_probe (id, at, filler) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, filler = excluded.filler",
        );
        let probe = probe.bind(clock::now().millis()).bind("x".repeat(PROBE));
        self.writer.execute_aside(probe, "take a write").await?;
        *last = Some(Instant::now());
        Ok(())
    }

    /// Writes what is waiting and closes the connections.
    pub async fn close(&self) {
        self.group.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    fn migrator(&self) -> Migrator {
        let migrations = self.dialect.migrations().iter().map(|&(version, name, sql)| {
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                sqlx::SqlSafeStr::into_sql_str(sql),
                false,
            )
        });
        Migrator::with_migrations(migrations.collect())
    }
}

async fn pool(
    dialect: Dialect,
    options: &AnyConnectOptions,
    connections: u32,
    deaths: &Arc<Deaths>,
) -> Result<AnyPool, StoreError> {
    let deaths = Arc::clone(deaths);
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(dialect.session()).await.map(drop) })
        })
        // One that answered a moment ago is not asked whether it lives.
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let deaths = Arc::clone(&deaths);
            Box::pin(async move {
                if metadata.idle_for > TRUSTED || deaths.have_come_within(metadata.idle_for) {
                    connection.ping().await.inspect_err(|_| deaths.notice())?;
                }
                Ok(true)
            })
        })
        .connect_with(options.clone())
        .await
        .doing("be reached")
}

/// Remembers when a connection was last found dead: those that are older have probably died with it.
struct Deaths {
    since: Instant,
    last: AtomicU64,
}

impl Default for Deaths {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Deaths {
    fn notice(&self) {
        self.last.store(self.millis().max(1), Ordering::Relaxed);
    }

    fn have_come_within(&self, idle_for: Duration) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && u128::from(self.millis() - last.min(self.millis())) <= idle_for.as_millis()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Waits for somebody who asks, and takes along whoever else comes while all that is ready to run has its turn: nobody
/// waits for that when nothing else is going on, and under load the groups are larger. False when nobody can ask any
/// more.
async fn gather<T>(asking: &mut mpsc::Receiver<T>, group: &mut Vec<T>, most: usize) -> bool {
    if asking.recv_many(group, most).await == 0 {
        return false;
    }
    loop {
        tokio::task::yield_now().await;
        let before = group.len();
        while group.len() < most
            && let Ok(another) = asking.try_recv()
        {
            group.push(another);
        }
        if group.len() == before || group.len() == most {
            return true;
        }
    }
}

/// Asks again when the pool gave a connection that had died since its last answer. For what changes nothing until more
/// is said.
async fn on_a_live_connection<'a, T>(
    pool: &AnyPool,
    ask: impl Fn() -> BoxFuture<'a, Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    // When Postgres restarts, all of them have died.
    for _ in 0..pool.size() {
        match ask().await {
            Err(StoreError::Database { source, .. }) if has_died(&source) => {}
            answer => return answer,
        }
    }
    ask().await
}

fn has_died(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) || has_code(error, &[ADMIN_SHUTDOWN])
}

fn is_away(error: &sqlx::Error) -> bool {
    let is_away = matches!(
        error,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)
    );
    is_away || has_died(error)
}

/// Whether the disk is full, failing, or another process holds the file.
fn is_out_of_resources(error: &sqlx::Error) -> bool {
    matches!(sqlite_code(error), Some(SQLITE_BUSY | SQLITE_IOERR | SQLITE_FULL))
        || postgres_code(error).is_some_and(|code| code.starts_with("53")) // insufficient resources
}

/// Whether the database itself said that it did not do what it was asked. One whose disk failed cannot know.
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !has_died(error) && sqlite_code(error) != Some(SQLITE_IOERR)
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    postgres_code(error).is_some_and(|code| codes.contains(&&*code))
}

/// An SQLSTATE, which has five characters.
fn postgres_code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().filter(|code| code.len() == 5).map(Into::into)
}

/// A primary result code; the driver gives the extended one, a number of up to four digits.
fn sqlite_code(error: &sqlx::Error) -> Option<i64> {
    let code: i64 = error.as_database_error()?.code().filter(|code| code.len() < 5)?.parse().ok()?;
    Some(code & 0xff)
}

/// Names what was tried when a statement fails.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}
