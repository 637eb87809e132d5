//! What can go wrong between postroom and its database, and what the databases' own codes mean for the caller.

use std::path::PathBuf;

/// What Postgres says on a connection that it ended (its manual, appendix A).
const ADMIN_SHUTDOWN: &str = "57P01";
/// What Postgres says when a lock was waited for too long (its manual, appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// What Postgres says when two waited for each other and it ended this one (its manual, appendix A).
const DEADLOCK: &str = "40P01";
/// What Postgres says when a statement took too long (its manual, appendix A).
const QUERY_CANCELED: &str = "57014";
/// What Postgres says when there is no such table (its manual, appendix A).
const UNDEFINED_TABLE: &str = "42P01";
/// What Postgres says to who writes in a session that may only read (its manual, appendix A).
const READ_ONLY: &str = "25006";
/// SQLite's primary result codes for a locked file, an error of the disk, and a full one (its "Result and Error Codes").
const SQLITE_BUSY: i64 = 5;
const SQLITE_IOERR: i64 = 10;
const SQLITE_FULL: i64 = 13;
/// SQLite's extended result codes for an fsync that failed, of a file and of a folder.
const SQLITE_IOERR_FSYNC: i64 = 1034;
const SQLITE_IOERR_DIR_FSYNC: i64 = 1290;

/// What a driver says.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// That of the pools.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// That of SQLite's connection that writes.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Why what SQLite has committed may be lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unflushed {
    /// The disk did not take it.
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    /// Whoever opens the database does not find it there.
    #[error("{} was moved, removed or replaced while it was open", file.display())]
    Lost {
        /// The database, or its log.
        file: PathBuf,
    },
}

/// What went wrong between postroom and its database.
///
/// # Errors of a read
/// [`Database`](Self::Database), [`TimedOut`](Self::TimedOut) and [`Group`](Self::Group) when the database is away, in
/// trouble or slow; [`Closed`](Self::Closed) when the process is stopping; [`Corrupt`](Self::Corrupt) when a row cannot
/// be read. Nothing has changed: where [`may_pass`](Self::may_pass) says so, ask again.
///
/// # Errors of a write
/// After [`OutcomeUnknown`](Self::OutcomeUnknown) the rows may be there or not: look before you write again, or write
/// only what does no harm twice. After any other error nothing is written, now or later. That is
/// [`Database`](Self::Database), [`Group`](Self::Group) or [`TimedOut`](Self::TimedOut) when the database is away, in
/// trouble or slow, [`Closed`](Self::Closed) when the process is stopping, and [`RolledBack`](Self::RolledBack) when
/// the write was withdrawn; try again later. [`Corrupt`](Self::Corrupt), for a row that the write has to read, does not
/// pass. A change that is made in steps keeps the steps before the one that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, or refused a statement that ought to work.
    #[error("the database could not {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: DriverError,
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
    /// The URL cannot be used, whatever is there.
    #[error("database.url {why}")]
    UnusableUrl {
        /// Why, without what may be a password.
        why: String,
    },
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
    /// A later version changed the schema so that this version cannot work with it.
    #[error(
        "a later version of postroom changed the schema (migration {version}): this version cannot work with it"
    )]
    TooNew {
        /// The migration.
        version: i64,
    },
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
        source: Option<DriverError>,
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

    /// Whether the database is out of reach or in trouble as a whole, so that trying the members of a group one by one, or
    /// one table after the other, would only take longer.
    pub fn is_about_the_database(&self) -> bool {
        match self {
            Self::Database { source, .. } => {
                is_away(source) || is_out_of_resources(source) || is_read_only(source)
            }
            Self::TimedOut | Self::OutcomeUnknown { .. } => true,
            _ => false,
        }
    }

    /// Whether the session may only read, as may those that begin while the database is set so, also afterwards.
    pub(super) fn is_about_a_read_only_session(&self) -> bool {
        matches!(self, Self::Database { source, .. } if is_read_only(source))
    }

    /// Whether a lock or a statement took longer than the server allows.
    pub(super) fn is_about_a_lock(&self) -> bool {
        matches!(self, Self::Database { source, .. } if has_code(source, &[LOCK_NOT_AVAILABLE, QUERY_CANCELED]))
    }
}

pub(super) fn has_died(error: &DriverError) -> bool {
    let is_dead = matches!(error, DriverError::Sqlx(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed));
    is_dead || has_code(error, &[ADMIN_SHUTDOWN])
}

fn is_away(error: &DriverError) -> bool {
    let is_away = matches!(
        error,
        DriverError::Sqlx(
            sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
        )
    );
    is_away || has_died(error)
}

/// Whether the disk is full, failing, or another process holds the file.
fn is_out_of_resources(error: &DriverError) -> bool {
    is_locked(error)
        || matches!(sqlite_code(error), Some(SQLITE_IOERR | SQLITE_FULL))
        || postgres_code(error).is_some_and(|code| code.starts_with("53")) // insufficient resources
}

fn is_read_only(error: &DriverError) -> bool {
    has_code(error, &[READ_ONLY])
}

/// Whether others had something locked for longer than Postgres was to wait, or two waited for each other.
pub(super) fn is_lock_of_postgres(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| [LOCK_NOT_AVAILABLE, DEADLOCK].contains(&&*code))
}

/// Whether a statement names a table that is not there. SQLite has no code of its own for that.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().map(|error| error.message());
    sqlstate(error).is_some_and(|code| code == UNDEFINED_TABLE)
        || said.is_some_and(|said| said.starts_with("no such table"))
}

/// Whether another connection has SQLite's file locked.
pub(super) fn is_locked(error: &DriverError) -> bool {
    sqlite_code(error) == Some(SQLITE_BUSY)
}

/// Whether the database itself said that it did not do what it was asked. One whose disk failed cannot know.
pub(super) fn is_refusal(error: &DriverError) -> bool {
    let is_said = match error {
        DriverError::Sqlx(error) => error.as_database_error().is_some(),
        DriverError::Sqlite(error) => error.sqlite_error().is_some(),
    };
    is_said && !has_died(error) && sqlite_code(error) != Some(SQLITE_IOERR)
}

fn has_code(error: &DriverError, codes: &[&str]) -> bool {
    postgres_code(error).is_some_and(|code| codes.contains(&&*code))
}

fn postgres_code(error: &DriverError) -> Option<String> {
    let DriverError::Sqlx(error) = error else { return None };
    sqlstate(error)
}

/// An SQLSTATE, which has five characters.
fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().filter(|code| code.len() == 5).map(Into::into)
}

/// Whether the disk did not take what the embedded database had written.
pub(super) fn is_failed_sync(error: &DriverError) -> bool {
    matches!(extended_sqlite_code(error), Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC))
}

/// A primary result code.
fn sqlite_code(error: &DriverError) -> Option<i64> {
    Some(extended_sqlite_code(error)? & 0xff)
}

/// An extended result code, a number of up to four digits.
fn extended_sqlite_code(error: &DriverError) -> Option<i64> {
    match error {
        DriverError::Sqlx(error) => {
            error.as_database_error()?.code().filter(|code| code.len() < 5)?.parse().ok()
        }
        DriverError::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code.into()),
    }
}

/// Names what was tried when a statement fails.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<DriverError>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source: source.into() })
    }
}
