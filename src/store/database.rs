//! The [`Store`] itself: opening it, its schema, whether it takes writes, and closing it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;
use sqlx::{
    AnyConnection, Connection, Executor,
    any::AnyConnectOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};
use tokio::time::{Instant, sleep};

use super::{
    connections::{Deaths, Pool, look_ups, pool},
    dialect::{Access, Dialect},
    documents::AnyDocument,
    error::{Doing, StoreError, is_lock_of_postgres, is_missing_table},
    group_commit::GroupCommit,
    group_read::GroupRead,
    look_ups::Guesses,
    order_traces::OrderTraces,
    readers::Readers,
    statement::query,
    writer::Writer,
    writer_thread::WriterThread,
};
use crate::{
    audit::{Action, Author},
    clock,
    telemetry::chain,
};

/// The bytes of a write that finds out whether the database takes writes.
const PROBE: usize = 16 * 1024;
/// How long a migration tries to get tables that others have locked.
const LOCKED_OUT: Duration = Duration::from_secs(600);
/// How long it lets others go first after each try.
const BETWEEN: Duration = Duration::from_secs(2);
/// For errors.
const LOOK_AT_MIGRATIONS: &str = "say which migrations are applied";
/// How long a successful write says that the database takes writes.
const PROBED: Duration = Duration::from_millis(200);

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

impl DatabaseSettings {
    /// Checks the URL as far as that is possible without the database.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it names no database that postroom speaks to, [`StoreError::UnusableUrl`] when it could not be
    /// used wherever that is.
    pub fn check(&self) -> Result<(), StoreError> {
        Dialect::of(&self.url).ok_or(StoreError::Url)?.check_url(&self.url)
    }

    /// The embedded database's file, where it is one and not there yet: connecting would create it.
    pub fn absent_file(&self) -> Option<PathBuf> {
        Dialect::of(&self.url)?.file_of(&self.url).filter(|file| !file.exists())
    }
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

/// The rows, and the connections to them. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) dialect: Dialect,
    pub(super) readers: Readers,
    /// What looks documents up by their keys, and what is known of orders: one connection each.
    look_ups: [Readers; 2],
    pub(super) writer: Writer,
    probed: Arc<tokio::sync::Mutex<Option<Instant>>>,
    pub(super) group: Arc<GroupCommit>,
    pub(super) documents: GroupRead<AnyDocument>,
    pub(super) guesses: Guesses,
    pub(super) order_traces: GroupRead<OrderTraces>,
    /// For whom it acts.
    pub(super) author: Option<Arc<Author>>,
}

impl Store {
    /// How the connections are used now.
    pub fn pools(&self) -> [Pool; 2] {
        [self.writer.pool(), self.readers.pool()]
    }

    /// Connects; creates a missing SQLite file. The schema is left alone: see [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL is neither SQLite nor Postgres, [`StoreError::Folder`] when the folder of the
    /// file cannot be made, [`StoreError::Database`] when the database cannot be reached within 10 s.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(&settings.url).ok_or(StoreError::Url)?;
        let url = dialect.prepare_url(&settings.url)?;
        let options: AnyConnectOptions = url.parse::<AnyConnectOptions>().map_err(|source| {
            StoreError::Database { doing: "understand database.url", source: source.into() }
        })?;
        let options = sqlx::ConnectOptions::disable_statement_logging(options);
        let deaths = Arc::<Deaths>::default();
        let writer = match dialect.file_of(&url) {
            Some(file) => {
                Writer::embedded(WriterThread::start(file, Access::of(&url), options.clone()).await?)
            }
            None => {
                let writers = dialect.writers(settings.connections);
                let writers = pool(dialect, &options, writers, &deaths).await?;
                Writer::served(dialect, writers, Arc::clone(&deaths))
            }
        };
        let readers = Readers::new(pool(dialect, &options, settings.connections.max(1), &deaths).await?);
        let group = Arc::new(GroupCommit::start(dialect, &readers, writer.clone()));
        let look_ups = [(); 2].map(|()| {
            let pool = look_ups(dialect, &options, &deaths);
            Readers::keeping_their_connection(pool, Arc::clone(&deaths))
        });
        let [of_documents, of_orders] = &look_ups;
        let documents = GroupRead::start(dialect, of_documents.clone());
        let order_traces = GroupRead::start(dialect, of_orders.clone());
        Ok(Self {
            dialect,
            readers,
            look_ups,
            writer,
            probed: Arc::default(),
            group,
            documents,
            guesses: Guesses::default(),
            order_traces,
            author: None,
        })
    }

    /// Creates the schema or brings it up to date. Safe to run from several processes at once.
    ///
    /// # Errors
    /// [`StoreError::TooNew`] when a later version has changed it so that this one cannot work with it,
    /// [`StoreError::Migrate`] when a migration fails or an applied one differs from this version's, and
    /// [`StoreError::Database`] when the database cannot be reached. A schema that SQLite could not bring up to date is
    /// left as it was; of Postgres, each migration that was applied stands. A table that others have locked, such as for a back-up,
    /// is tried for ten minutes.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.check_newer().await?;
        let Some(entry) = self.entry(Action::SchemaMigrated, "schema", None) else {
            return self.apply_migrations().await;
        };
        let before = self.applied_migrations().await;
        self.apply_migrations().await?;
        let applied = self.applied_migrations().await.saturating_sub(before);
        self.note((applied > 0).then(|| entry.of(applied))).await
    }

    async fn apply_migrations(&self) -> Result<(), StoreError> {
        let mut own = self.writer.own_connection().await?;
        if self.dialect == Dialect::Postgres {
            return self.migrate_between_others(&mut own).await;
        }
        let mut transaction = own.begin_with(self.dialect.begin()).await.doing("begin")?;
        self.migrator().run(&mut *transaction).await.map_err(StoreError::Migrate)?;
        transaction.commit().await.doing("commit")
    }

    /// How many migrations are applied; of a database without a schema none.
    async fn applied_migrations(&self) -> u64 {
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM _sqlx_migrations");
        count.fetch_one(&self.readers).await.map_or(0, i64::unsigned_abs)
    }

    /// Changes Postgres' schema beside others who are at work. Whoever comes while a migration waits for a lock waits behind it, so
    /// it waits for a moment, shorter than the server takes to look for deadlocks, and then lets them go first.
    async fn migrate_between_others(&self, own: &mut AnyConnection) -> Result<(), StoreError> {
        // Building an index takes as long as it takes.
        let limits = "SET statement_timeout = 0; SET lock_timeout = '500ms'";
        own.execute(limits).await.doing("set the time limits of migrations")?;
        let began = Instant::now();
        loop {
            let error = match self.migrator().run(&mut *own).await {
                Err(error) if is_locked_out(&error) && began.elapsed() < LOCKED_OUT => error,
                done => return done.map_err(StoreError::Migrate),
            };
            tracing::warn!(
                error = %chain(&error),
                "others have a table locked that a migration changes, trying again"
            );
            sleep(BETWEEN).await;
        }
    }

    /// Checks that every migration of this version is applied.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when one is missing: run `postroom migrate`. [`StoreError::Database`] when the database cannot
    /// be asked.
    /// [`StoreError::TooNew`] when a later version has changed it so that this one cannot work with it.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let newest = self.migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
        let applied = sqlx::query_scalar::<_, Option<i64>>("SELECT MAX(version) FROM _sqlx_migrations");
        let applied = match applied.fetch_one(&self.readers).await {
            Err(error) if is_missing_table(&error) => None,
            applied => applied.doing(LOOK_AT_MIGRATIONS)?,
        };
        if applied.unwrap_or(0) < newest {
            return Err(StoreError::Outdated);
        }
        self.check_newer().await
    }

    /// Checks that this version can work with what a later one has made of the schema, as during a rolling upgrade. It can, unless
    /// the name of a later migration ends with `breaking`.
    async fn check_newer(&self) -> Result<(), StoreError> {
        let newest = self.migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
        let later = "SELECT version, description FROM _sqlx_migrations WHERE version > $1 ORDER BY version";
        let later: Vec<(i64, String)> =
            match sqlx::query_as(later).bind(newest).fetch_all(&self.readers).await {
                // Without the table there is no schema, and so no later one.
                Err(error) if is_missing_table(&error) => return Ok(()),
                later => later.doing(LOOK_AT_MIGRATIONS)?,
            };
        if let Some((version, _)) = later.iter().find(|(_, name)| name.ends_with("breaking")) {
            return Err(StoreError::TooNew { version: *version });
        }
        if let Some((version, _)) = later.last() {
            tracing::warn!(
                version,
                newest,
                "the schema is of a later version: this one works with it until it is replaced"
            );
        }
        Ok(())
    }

    /// Tries to write: a database that only reads, such as one whose disk is full, is not ready. Many who ask at once
    /// share one try.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let mut last = self.probed.lock().await;
        if last.is_some_and(|at| at.elapsed() < PROBED) {
            return Ok(());
        }
        // As large as what a request records: a full disk may have room for a few bytes.
        let probe = query(
            "INSERT INTO write_probe (id, at, filler) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, filler = excluded.filler",
        );
        let probe = probe.bind(clock::now().millis()).bind("x".repeat(PROBE));
        self.writer.in_background().execute(probe, "take a write").await?;
        *last = Some(Instant::now());
        Ok(())
    }

    /// Finds out whether mails can be read: a lock on their table stops all that is about mails, and nothing else.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn check_mails_readable(&self) -> Result<(), StoreError> {
        let look = query("SELECT id FROM mails ORDER BY id LIMIT 1");
        look.fetch_optional(&self.readers).await.map(drop).doing("read a mail")
    }

    /// Writes what is waiting and closes the connections.
    pub async fn close(&self) {
        self.group.close().await;
        for look_ups in &self.look_ups {
            look_ups.close().await;
        }
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
        let mut migrator = Migrator::with_migrations(migrations.collect());
        // A later version may have been here: see `check_newer`.
        migrator.set_ignore_missing(true);
        migrator
    }
}

/// Whether a migration met the locks of others: on a table, or of another process that migrates.
fn is_locked_out(error: &MigrateError) -> bool {
    let error = match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        _ => return false,
    };
    is_lock_of_postgres(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn only_a_schema_that_is_not_there_is_outdated() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/postroom.db", folder.path().display());
        let store = Store::open(&DatabaseSettings { url, migrate: true, connections: 1 }).await.unwrap();
        assert!(matches!(store.check_schema().await, Err(StoreError::Outdated)));
        store.migrate().await.unwrap();
        store.check_schema().await.unwrap();
        store.close().await;
        let away = store.check_schema().await.unwrap_err();
        assert!(matches!(away, StoreError::Database { .. }), "{away}");
    }

    /// Those who read, the one who writes, and who makes it so that nobody else may read it.
    #[tokio::test]
    async fn all_mean_the_same_file_also_where_its_url_has_escapes() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/a%20b/c%3Fd.db", folder.path().display());
        let settings = DatabaseSettings { url, migrate: true, connections: 1 };
        assert_eq!(settings.absent_file(), Some(folder.path().join("a b/c?d.db")));
        let store = Store::open(&settings).await.unwrap();
        store.migrate().await.unwrap();
        store.check_writable().await.unwrap();
        store.check_schema().await.unwrap();
        let written = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM write_probe");
        assert_eq!(written.fetch_one(&store.readers).await.unwrap(), 1);
        let files: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["a b"]);
        for file in std::fs::read_dir(folder.path().join("a b")).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }
}
