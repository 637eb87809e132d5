//! Settles: the state that the verdict asks for and the attempt behind it, fenced by worker and attempt number.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::AnyConnection;

use crate::{
    mail::{Timestamp, WorkerId},
    store::{
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
}

/// The statements that settle rows of one table.
pub(in crate::store) struct Settling {
    table: &'static str,
    settle: Sql,
    insert_attempts: Sql,
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
        let SettlingOf { table, keeps, attempts, of, records } = of;
        let sets: Vec<_> = names(keeps).map(|name| format!("{name} = rows.{name}")).collect();
        let settle = format!(
            "UPDATE {table} SET state = rows.state, worker = NULL, wake_at = rows.due_at,
                due_at = COALESCE(rows.due_at, {table}.due_at), settled_at = rows.settled_at, {}
             FROM {{rows: id text, worker text, number bigint, state text, due_at bigint, settled_at bigint, {keeps}}}
             WHERE {table}.id = rows.id AND {table}.state = 'sending' AND {table}.worker = rows.worker
                AND {table}.attempt = rows.number
             RETURNING {table}.id",
            sets.join(", ")
        );
        let recorded = names(records).collect::<Vec<_>>().join(", ");
        let insert_attempts = format!(
            "INSERT INTO {attempts} ({of}, number, worker, at, {recorded})
             SELECT id, number, worker, at, {recorded}
             FROM {{rows: id text, number bigint, worker text, at bigint, {records}}}"
        );
        Self { table, settle: Sql::made(settle), insert_attempts: Sql::made(insert_attempts) }
    }

    /// Moves rows on and records their attempts, as far as they are still their workers'; returns the ids of those.
    pub(in crate::store) async fn settle<T: Serialize>(
        &self,
        dialect: Dialect,
        on: &mut AnyConnection,
        mut rows: Vec<Attempted<T>>,
    ) -> Result<HashSet<String>, StoreError> {
        let moved =
            self.settle.with(dialect, &rows).fetch_all(&mut *on).await.doing("settle what was claimed")?;
        let moved: HashSet<String> = moved
            .iter()
            .map(|row| Columns { table: self.table, row }.text("id"))
            .collect::<Result<_, _>>()?;
        rows.retain(|row| moved.contains(&row.id));
        if !rows.is_empty() {
            self.insert_attempts.with(dialect, &rows).execute(on).await.doing("record attempts")?;
        }
        Ok(moved)
    }
}

/// The names of columns that are written with their types.
fn names(columns: &str) -> impl Iterator<Item = &str> {
    columns.split(',').filter_map(|column| column.split_whitespace().next())
}
