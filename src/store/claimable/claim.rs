//! Claims: a row moves to `sending` with the worker's id in the statement that takes it.

use std::{collections::HashSet, fmt::Display, hash::Hash};

use serde::Serialize;

use crate::{
    mail::{Timestamp, WorkerId},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Row,
        sql::Sql,
    },
};

/// What is particular to one table.
pub(in crate::store) struct ClaimsOf<'a> {
    /// The table.
    pub(in crate::store) table: &'static str,
    /// Its word in the mark `{… states before claimed}`.
    pub(in crate::store) machine: &'static str,
    /// What else a claim sets.
    pub(in crate::store) sets: &'static str,
    /// What else must be so.
    pub(in crate::store) only: &'static str,
    /// The columns that the worker needs; the time of the claim is `$2`.
    pub(in crate::store) returns: &'a str,
}

/// The statement that claims rows of one table.
pub(in crate::store) struct Claims {
    claim: Sql,
}

#[derive(Serialize)]
struct Asked {
    id: String,
    worker: String,
}

impl Claims {
    pub(in crate::store) fn new(of: &ClaimsOf<'_>) -> Self {
        let ClaimsOf { table, machine, sets, only, returns } = of;
        let claim = format!(
            "UPDATE {table} SET state = 'sending', worker = rows.worker, claimed_at = $2, attempt = attempt + 1{sets}
             FROM {{rows: id text, worker text}}
             WHERE {table}.id = rows.id AND {table}.state IN {{{machine} states before claimed}}
                AND {table}.due_at <= $2{only}
             RETURNING {returns}"
        );
        Self { claim: Sql::made(claim) }
    }

    /// Claims those of the rows that are due, and returns them. A group may name a row twice, because its job was
    /// enqueued twice: the first who asks gets it.
    pub(in crate::store) async fn take<Id: Copy + Display + Eq + Hash>(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        asked: impl Iterator<Item = (Id, WorkerId)>,
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        let mut first = HashSet::new();
        let mut asked: Vec<_> = asked
            .filter(|(id, _)| first.insert(*id))
            .map(|(id, worker)| Asked { id: id.to_string(), worker: worker.to_string() })
            .collect();
        // In one order, so that two groups never wait for each other.
        asked.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        self.claim.with(dialect, &asked).bind(now.millis()).fetch_all(on).await.doing("claim what is due")
    }
}
