//! Where SQLite and Postgres differ: the one place that knows.
//!
//! Both understand the same statements but for these things, written as marks in the text: `{rows: id text, at bigint}`,
//! which unfolds the JSON array in `$1` into rows with these columns; `{as_json}`, which makes the text before it JSON
//! that `->>` can be asked of; `{domain_of recipient_key}`; `{index: name}`, which says by which index SQLite reads a table;
//! `{skip_locked}`, which SQLite, with its one writer, does not need; and `INSERT {or_fail}INTO`, of which a failure ends the
//! transaction. A statement may also name the states that an event may happen in: see `states`.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{error::StoreError, states};
use crate::mail::MailLane;

/// Which of the two databases this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// Lets Postgres keep plans, and make none that reads a table through.
macro_rules! looking_up {
    ($set:literal) => {
        concat!(
            $set,
            " plan_cache_mode = force_generic_plan; ",
            $set,
            " enable_seqscan = off; ",
            $set,
            " enable_hashjoin = off; ",
            $set,
            " enable_mergejoin = off"
        )
    };
}

impl Dialect {
    pub(super) fn of(url: &str) -> Option<Self> {
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Some(Self::Postgres)
        } else {
            None
        }
    }

    /// Checks a URL as far as that is possible without the database.
    pub(super) fn check_url(self, url: &str) -> Result<(), StoreError> {
        let unusable = |why: String| Err(StoreError::UnusableUrl { why });
        match self {
            Self::Sqlite if path_and_query(url).0.is_empty() => unusable("names no file".to_owned()),
            Self::Sqlite => match url.parse::<SqliteConnectOptions>() {
                Ok(_) if self.file_of(url).is_some() => Ok(()),
                Ok(_) => unusable("names no file: what is in memory is lost with the process".to_owned()),
                Err(error) => unusable(format!("cannot be read: {error}")),
            },
            Self::Postgres => match url.parse::<PgConnectOptions>() {
                Ok(_) => Ok(()),
                Err(error) => unusable(format!("cannot be read: {error}")),
            },
        }
    }

    /// SQLite: the file that a URL names, as the driver reads it.
    pub(super) fn file_of(self, url: &str) -> Option<PathBuf> {
        let Self::Sqlite = self else { return None };
        let (path, query) = path_and_query(url);
        let is_in_memory = path == ":memory:" || query.contains("mode=memory");
        let options: Option<SqliteConnectOptions> = (!is_in_memory).then(|| url.parse().ok()).flatten();
        options.map(|options| options.get_filename().to_owned())
    }

    /// SQLite: makes the folder and the file.
    pub(super) fn prepare_url(self, url: &str) -> Result<String, StoreError> {
        let Self::Sqlite = self else { return Ok(url.to_owned()) };
        let (path, query) = path_and_query(url);
        let mode = if query.is_empty() { "mode=rwc" } else { query };
        let file = self.file_of(url);
        let folder = file.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
        }
        // Addresses and secrets are in it. SQLite gives its other files the mode of this one.
        if let Some(file) = file.filter(|_| mode.contains("mode=rwc")) {
            let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            drop(new); // one that is there keeps its mode; what cannot be opened the driver reports
        }
        Ok(format!("sqlite://{path}?{mode}"))
    }

    /// What each connection is told first.
    pub(super) const fn session(self) -> &'static str {
        match self {
            // FULL: a commit is on the disk before the caller is answered. WAL: readers do not wait for the writer.
            Self::Sqlite => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000; PRAGMA temp_store = MEMORY; \
                 PRAGMA journal_size_limit = 67108864"
            }
            // Statements rely on what this isolation shows them, whatever the database's default. A plan made while a
            // table was empty must not outlive that. One who searches must not take every core from
            // those who send. A lock or a statement that takes longer than
            // these limits fails, so that one session's lock does not stop all writing; and a transaction whose
            // process hangs lets its rows go.
            Self::Postgres => {
                "SET default_transaction_isolation = 'read committed'; \
                 SET plan_cache_mode = force_custom_plan; SET random_page_cost = 1.1; SET jit = off; \
                 SET max_parallel_workers_per_gather = 0; \
                 SET lock_timeout = '5s'; SET statement_timeout = '15s'; \
                 SET idle_in_transaction_session_timeout = '20s'"
            }
        }
    }

    /// What a connection is told besides whose statements only look rows up by keys: such a plan is the right one whatever
    /// there is in the tables, so it is made once.
    pub(super) const fn looks_up(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(looking_up!("SET")),
        }
    }

    /// What begins a transaction that will write, and whose statements only look rows up by keys.
    pub(super) const fn begin_looking_up(self) -> &'static str {
        match self {
            Self::Sqlite => self.begin(),
            Self::Postgres => concat!("BEGIN; ", looking_up!("SET LOCAL")),
        }
    }

    /// Before a statement, asks for its plan.
    pub(super) const fn explain(self) -> &'static str {
        match self {
            Self::Sqlite => "EXPLAIN QUERY PLAN",
            Self::Postgres => "EXPLAIN",
        }
    }

    /// The column that a line of a plan is in.
    pub(super) const fn plan_column(self) -> &'static str {
        match self {
            Self::Sqlite => "detail",
            Self::Postgres => "QUERY PLAN",
        }
    }

    /// SQLite has one writer: it waits for a connection instead of finding the file locked. On Postgres each committer may keep
    /// one for as long as there is work, and others need one too.
    pub(super) fn writers(self, connections: u32) -> u32 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => connections.max(MailLane::ALL.len() as u32 + 1),
        }
    }

    /// What begins a transaction that will write.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    pub(super) const fn migrations(self) -> &'static [(i64, &'static str, &'static str)] {
        match self {
            Self::Sqlite => &[
                (1, "mails", include_str!("../../migrations/sqlite/0001_mails.sql")),
                (2, "orders", include_str!("../../migrations/sqlite/0002_orders.sql")),
                (3, "passes", include_str!("../../migrations/sqlite/0003_passes.sql")),
                (4, "webhooks", include_str!("../../migrations/sqlite/0004_webhooks.sql")),
                (5, "batches", include_str!("../../migrations/sqlite/0005_batches.sql")),
                (6, "actions", include_str!("../../migrations/sqlite/0006_actions.sql")),
                (7, "dashboard", include_str!("../../migrations/sqlite/0007_dashboard.sql")),
                (8, "consent", include_str!("../../migrations/sqlite/0008_consent.sql")),
                (9, "time_and_sandbox", include_str!("../../migrations/sqlite/0009_time_and_sandbox.sql")),
                (11, "extras", include_str!("../../migrations/sqlite/0011_extras.sql")),
                (12, "partials", include_str!("../../migrations/sqlite/0012_partials.sql")),
                (
                    15,
                    "replaced_suppressions",
                    include_str!("../../migrations/sqlite/0015_replaced_suppressions.sql"),
                ),
                (16, "dead_mails", include_str!("../../migrations/sqlite/0016_dead_mails.sql")),
            ],
            Self::Postgres => &[
                (1, "mails", include_str!("../../migrations/postgres/0001_mails.sql")),
                (2, "orders", include_str!("../../migrations/postgres/0002_orders.sql")),
                (3, "passes", include_str!("../../migrations/postgres/0003_passes.sql")),
                (4, "webhooks", include_str!("../../migrations/postgres/0004_webhooks.sql")),
                (5, "batches", include_str!("../../migrations/postgres/0005_batches.sql")),
                (6, "actions", include_str!("../../migrations/postgres/0006_actions.sql")),
                (7, "dashboard", include_str!("../../migrations/postgres/0007_dashboard.sql")),
                (8, "consent", include_str!("../../migrations/postgres/0008_consent.sql")),
                (9, "time_and_sandbox", include_str!("../../migrations/postgres/0009_time_and_sandbox.sql")),
                (11, "extras", include_str!("../../migrations/postgres/0011_extras.sql")),
                (12, "partials", include_str!("../../migrations/postgres/0012_partials.sql")),
                (13, "room_on_pages", include_str!("../../migrations/postgres/0013_room_on_pages.sql")),
                (14, "bare_rows", include_str!("../../migrations/postgres/0014_bare_rows.sql")),
                (
                    15,
                    "replaced_suppressions",
                    include_str!("../../migrations/postgres/0015_replaced_suppressions.sql"),
                ),
                (16, "dead_mails", include_str!("../../migrations/postgres/0016_dead_mails.sql")),
            ],
        }
    }

    /// Whether a statement is carried out for each of its rows.
    pub(super) fn is_for_each(self, text: &str) -> bool {
        self == Self::Sqlite && text.contains("{each:")
    }

    /// The names and types of the columns that a statement unfolds rows into.
    pub(super) fn columns(text: &str) -> impl Iterator<Item = (&str, &str)> {
        let rows = text.split_once("{rows:").or_else(|| text.split_once("{each:"));
        let columns = rows.and_then(|(_, rest)| rest.split_once('}'));
        let columns = columns.map_or("", |(columns, _)| columns).split(',');
        columns.filter_map(|column| column.trim().split_once(' '))
    }

    /// The rows with these columns that the JSON array in `$1` unfolds into.
    fn rows<'a>(self, columns: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        match self {
            Self::Postgres => {
                let columns: Vec<_> = columns.map(|(name, kind)| format!("{name} {kind}")).collect();
                format!("json_to_recordset(CAST($1 AS json)) AS rows ({})", columns.join(", "))
            }
            Self::Sqlite => {
                let cell = |(place, (name, kind)): (usize, (&str, &str))| match kind {
                    "bigint" => format!("CAST(value ->> {place} AS INTEGER) AS {name}"),
                    _ => format!("value ->> {place} AS {name}"),
                };
                let select: Vec<_> = columns.enumerate().map(cell).collect();
                // In its binary form, and materialized: else SQLite writes or copies a row anew for each of its columns.
                let unfolded = "WITH unfolded AS MATERIALIZED (SELECT value FROM jsonb_each($1))";
                format!("({unfolded} SELECT {} FROM unfolded) AS rows", select.join(", "))
            }
        }
    }

    /// SQLite: the statement for one row, whose cells stand in the places `?1`, `?2` and so on. No table of one row has to
    /// be made and read.
    fn written_for_each(text: &str) -> Option<String> {
        let names: Vec<_> = Self::columns(text).map(|(name, _)| name).collect();
        let (before, rest) = text.split_once("FROM {each:")?;
        let (_, after) = rest.split_once('}')?;
        let mut written = String::with_capacity(text.len());
        let mut text = [before, after].concat();
        while let Some((before, rest)) = text.split_once("rows.") {
            written.push_str(before);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let place = |name: &str| names.iter().position(|known| *known == name).map(|place| place + 1);
            let rest = match rest.strip_prefix('*') {
                Some(rest) => {
                    let all = (1..).zip(&names).map(|(place, name)| format!("?{place} AS {name}"));
                    written.push_str(&all.collect::<Vec<_>>().join(", "));
                    rest
                }
                None => {
                    written.push_str(&format!("?{}", place(&rest[..end])?));
                    &rest[end..]
                }
            };
            text = rest.to_owned();
        }
        written.push_str(&text);
        Some(written)
    }

    /// A statement with its marks replaced.
    pub(super) fn written(self, text: &str) -> String {
        let text = states::written(text).replace("{skip_locked}", self.skip_locked());
        let text = text.replace("{materialized}", self.materialized());
        let text = text.replace("{or_fail}", self.or_fail());
        let text = text.replace("{as_json}", self.as_json());
        let text = text.replace("{domain_of recipient_key}", self.domain_of_recipient());
        let mut text = text;
        while let Some((before, rest)) = text.split_once("{index:")
            && let Some((index, after)) = rest.split_once('}')
        {
            text = format!("{before}{}{after}", self.by_index(index.trim()));
        }
        if self.is_for_each(&text) {
            return Self::written_for_each(&text).unwrap_or(text);
        }
        let rows = text.split_once("{rows:").or_else(|| text.split_once("{each:"));
        let Some((before, rest)) = rows else { return text };
        let Some((_, after)) = rest.split_once('}') else { return text };
        format!("{before}{}{after}", self.rows(Self::columns(&text)))
    }

    /// After a table: SQLite must read this index. Postgres takes no such word; the order that is asked for decides.
    fn by_index(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!("INDEXED BY {index}"),
            Self::Postgres => String::new(),
        }
    }

    /// SQLite works out a row that is made of nothing but values once, however often the statement names its columns.
    const fn materialized(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "MATERIALIZED",
        }
    }

    /// SQLite: what fails keeps what it did, which is taken back with its transaction. Otherwise SQLite keeps a copy of each page
    /// that the statement changes.
    const fn or_fail(self) -> &'static str {
        match self {
            Self::Sqlite => "OR FAIL ",
            Self::Postgres => "",
        }
    }

    const fn as_json(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "::json",
        }
    }

    const fn domain_of_recipient(self) -> &'static str {
        match self {
            Self::Sqlite => "substr(recipient_key, 1, instr(recipient_key, '@') - 1)",
            Self::Postgres => "split_part(recipient_key, '@', 1)",
        }
    }

    const fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "FOR UPDATE SKIP LOCKED",
        }
    }
}

/// What a connection may do with SQLite's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Make it where it is missing.
    Create,
    Write,
    Read,
}

impl Access {
    /// As the query of a prepared URL says it.
    pub(super) fn of(url: &str) -> Self {
        let (_, query) = path_and_query(url);
        let asks_for = |mode: &str| query.split('&').any(|setting| setting == mode);
        if asks_for("mode=rwc") {
            Self::Create
        } else if asks_for("mode=ro") {
            Self::Read
        } else {
            Self::Write
        }
    }

    /// For a file that was opened before: it is there.
    pub(super) fn again(self) -> Self {
        if self == Self::Create { Self::Write } else { self }
    }
}

/// The parts of `sqlite:<path>?<query>`.
fn path_and_query(url: &str) -> (&str, &str) {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    (path.trim_start_matches("sqlite:").trim_start_matches("//"), query)
}
