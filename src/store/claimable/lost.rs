//! Lost rows: their worker has been silent for long, is not known at all, or does not work on them any more.

use std::{str::FromStr, time::Duration};

use crate::{
    mail::{Timestamp, WorkerId},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::{Columns, Row},
        sql::Sql,
        statement::query,
    },
};

/// The most rows in one round, so that any number of processes may take rounds at once.
const ROUND: i64 = 1_000;

/// What is particular to one table.
pub(in crate::store) struct LostOf {
    /// The table.
    pub(in crate::store) table: &'static str,
    /// What tells a row that a worker has.
    pub(in crate::store) at_work: &'static str,
    /// What else the rescuer needs of it.
    pub(in crate::store) reads: &'static str,
}

/// The statement that finds the lost rows of one table.
pub(in crate::store) struct Lost {
    table: &'static str,
    find: Sql,
}

/// A row that is lost.
pub(in crate::store) struct LostRow {
    pub(in crate::store) row: Row,
    /// Whether it was this process that had it.
    pub(in crate::store) is_own: bool,
}

impl Lost {
    pub(in crate::store) fn new(of: &LostOf) -> Self {
        let LostOf { table, at_work, reads } = of;
        let find = format!(
            "SELECT id, worker{reads} FROM {table}
             WHERE {at_work} AND (worker = $3 OR worker NOT IN (SELECT id FROM workers WHERE heartbeat_at > $1))
             ORDER BY worker = $3 LIMIT $2 {{skip_locked}}"
        );
        Self { table, find: Sql::made(find) }
    }

    /// Finds rows of workers that have been silent for `silence`, or are not known at all, and those of the worker `own`
    /// that it is not at work on.
    pub(in crate::store) async fn find<Id: FromStr>(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        (now, silence): (Timestamp, Duration),
        own: WorkerId,
        is_at_work_on: impl Fn(Id) -> bool,
    ) -> Result<Vec<LostRow>, StoreError> {
        let rows = query(self.find.on(dialect))
            .bind((now - silence).millis())
            .bind(ROUND)
            .bind(own.to_string())
            .fetch_all(on)
            .await
            .doing("find what dead workers had")?;
        let mut lost = Vec::new();
        for row in rows {
            let columns = Columns { table: self.table, row: &row };
            // Asked only now: these rows cannot be claimed or settled until the end of this transaction.
            let is_own = columns.parsed::<WorkerId>("worker")? == own;
            if !is_own || !is_at_work_on(columns.parsed("id")?) {
                lost.push(LostRow { row, is_own });
            }
        }
        Ok(lost)
    }
}
