//! Settles: the state that the verdict asks for and the attempt behind it, fenced by worker and attempt number.

use std::{collections::HashSet, fmt::Display};

use serde::Serialize;

use crate::{
    mail::{Timestamp, WorkerId},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
    },
};

/// What is particular to one table. Columns are written as in `status bigint, answer text`.
pub(in crate::store) struct SettlingOf {
    /// The table.
    pub(in crate::store) table: &'static str,
    /// What a row keeps of its last attempt.
    pub(in crate::store) keeps: &'static str,
    /// The table of attempts.
    pub(in crate::store) attempts: &'static str,
    /// The column there that names the row.
    pub(in crate::store) of: &'static str,
    /// What is on record of each attempt.
    pub(in crate::store) records: &'static str,
    /// What is to be known besides, as an expression of text that knows `moved.merchant_id`. Postgres says it in the statement
    /// that moves the rows.
    pub(in crate::store) besides: &'static str,
}

/// The statements that settle rows of one table.
pub(in crate::store) struct Settling {
    table: &'static str,
    /// Postgres: both in one statement.
    settle_and_record: Sql,
    /// SQLite, where no statement changes two tables.
    settle: Sql,
    record: Sql,
}

/// Which rows were moved on.
pub(in crate::store) struct MovedRows {
    /// Only these. `None`: all that were to be moved.
    only: Option<HashSet<String>>,
    /// What [`SettlingOf::besides`] asks for, on Postgres.
    pub(in crate::store) besides: Option<String>,
}

impl MovedRows {
    fn some_of<S: AsRef<str>>(number: usize, moved: &[S], besides: Option<String>) -> Self {
        let ids = || moved.iter().map(|id| id.as_ref().to_owned()).collect();
        Self { only: (moved.len() < number).then(ids), besides }
    }

    /// Whether the row with this id was.
    pub(in crate::store) fn includes(&self, id: impl Display) -> bool {
        self.only.as_ref().is_none_or(|moved| moved.contains(&id.to_string()))
    }
}

/// A row after an attempt; what its table keeps and records of it stands beside these columns.
#[derive(Serialize)]
pub(in crate::store) struct Attempted<T> {
    id: String,
    worker: String,
    number: u32,
    state: &'static str,
    due_at: Option<i64>,
    settled_at: Option<i64>,
    at: i64,
    #[serde(flatten)]
    particular: T,
}

impl<T> Attempted<T> {
    /// The attempt of this number, which began at `at`.
    pub(in crate::store) fn new(
        id: String,
        worker: WorkerId,
        number: u32,
        at: Timestamp,
        particular: T,
    ) -> Self {
        let (at, worker) = (at.millis(), worker.to_string());
        Self { id, worker, number, state: "", due_at: None, settled_at: None, at, particular }
    }

    /// Says where the row goes: on at `due_at`, or nowhere any more since `settled_at`.
    pub(in crate::store) fn into_state(
        self,
        state: &'static str,
        due_at: Option<Timestamp>,
        settled_at: Option<Timestamp>,
    ) -> Self {
        let (due_at, settled_at) = (due_at.map(Timestamp::millis), settled_at.map(Timestamp::millis));
        Self { state, due_at, settled_at, ..self }
    }
}

impl Settling {
    pub(in crate::store) fn new(of: &SettlingOf) -> Self {
        let SettlingOf { table, keeps, attempts, of, records, besides } = of;
        let sets: Vec<_> = names(keeps).map(|name| format!("{name} = rows.{name}")).collect();
        let settle = |columns: &str, returning: &str| {
            format!(
                "UPDATE {table} SET state = rows.state, worker = NULL, wake_at = rows.due_at,
                    due_at = COALESCE(rows.due_at, {table}.due_at), settled_at = rows.settled_at, {}
                 FROM {{each: id text, worker text, number bigint, state text, due_at bigint, settled_at bigint, {columns}}}
                 WHERE {table}.id = rows.id AND {table}.state = 'sending' AND {table}.worker = rows.worker
                    AND {table}.attempt = rows.number {returning}",
                sets.join(", ")
            )
        };
        let recorded: Vec<_> = ["id", "number", "worker", "at"].into_iter().chain(names(records)).collect();
        let of_rows = recorded.iter().map(|name| format!("rows.{name}")).collect::<Vec<_>>().join(", ");
        let filled = recorded.join(", ").replacen("id", of, 1);
        let record = |from: &str| format!("INSERT INTO {attempts} ({filled}) SELECT {of_rows} FROM {from}");
        let also_kept = keeps.split(',').filter(|column| names(column).any(|name| !recorded.contains(&name)));
        let read = ["at bigint", records].into_iter().chain(also_kept).collect::<Vec<_>>().join(", ");
        Self {
            table,
            settle_and_record: Sql::made(format!(
                "WITH moved AS ({}), noted AS ({} RETURNING {of} AS id)
                 SELECT string_agg(id, ' ') AS moved, {besides} AS besides FROM noted",
                settle(&read, &format!("RETURNING {of_rows}, {table}.merchant_id")),
                record("moved AS rows")
            )),
            settle: Sql::made(settle(keeps, "")),
            record: Sql::made(record(&format!(
                "{{each: id text, number bigint, worker text, at bigint, {records}}}"
            ))),
        }
    }

    /// Moves rows on and records their attempts, as far as they are still their workers'.
    pub(in crate::store) async fn settle<T: Serialize>(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        rows: Vec<Attempted<T>>,
    ) -> Result<MovedRows, StoreError> {
        match dialect {
            Dialect::Postgres => self.settle_together(dialect, on, &rows).await,
            Dialect::Sqlite => self.settle_each(dialect, on, rows).await,
        }
    }

    async fn settle_together<T: Serialize>(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        rows: &[Attempted<T>],
    ) -> Result<MovedRows, StoreError> {
        let settle = self.settle_and_record.with(dialect, rows);
        let said = settle.fetch_all(on).await.doing("settle what was claimed")?;
        let Some(row) = said.first() else { return Ok(MovedRows::some_of::<&str>(rows.len(), &[], None)) };
        let columns = Columns { table: self.table, row };
        let moved = columns.optional_text("moved")?.unwrap_or_default();
        let moved: Vec<_> = moved.split_whitespace().collect();
        Ok(MovedRows::some_of(rows.len(), &moved, columns.optional_text("besides")?))
    }

    async fn settle_each<T: Serialize>(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        rows: Vec<Attempted<T>>,
    ) -> Result<MovedRows, StoreError> {
        let number = rows.len();
        let done =
            self.settle.with(dialect, &rows).execute(&mut *on).await.doing("settle what was claimed")?;
        let moved =
            rows.into_iter().zip(done.changes()).filter_map(|(row, is_moved)| is_moved.then_some(row));
        let moved: Vec<_> = moved.collect();
        self.record.with(dialect, &moved).execute(on).await.doing("record attempts")?;
        let moved: Vec<_> = moved.into_iter().map(|row| row.id).collect();
        Ok(MovedRows::some_of(number, &moved, None))
    }
}

/// The names of columns that are written with their types.
fn names(columns: &str) -> impl Iterator<Item = &str> {
    columns.split(',').filter_map(|column| column.split_whitespace().next())
}
