//! Rows that are due: the scheduler marks them, so that no two processes enqueue a job for one row.

use std::time::Duration;

use serde::Serialize;

use crate::{
    clock,
    mail::{Lane, MerchantId},
    store::{
        database::Store,
        error::StoreError,
        row::Row,
        sql::Sql,
        statement::query,
        steps::{ENQUEUED_AGAIN, STEP, in_steps},
    },
};

/// The most rows in one round, so that any number of processes may take rounds at once.
const ROUND: i64 = 1_000;

/// What is particular to one table.
pub(in crate::store) struct DueOf {
    /// The table.
    pub(in crate::store) table: &'static str,
    /// Whether its rows have a lane, and each lane is asked for by itself.
    pub(in crate::store) has_lanes: bool,
    /// What else tells a row that waits, where a row may be at work and have a `wake_at`.
    pub(in crate::store) waits: &'static str,
    /// The columns that a job is made of.
    pub(in crate::store) job: &'static str,
    /// Since when a row could be worked on: a column.
    pub(in crate::store) since: &'static str,
    /// Whether rows that a job is known for may be put off for longer than [`ENQUEUED_AGAIN`].
    pub(in crate::store) postpones: bool,
}

/// The statements about the due rows of one table.
pub(in crate::store) struct Due {
    /// Finds one that is due: of the lane `{lane}` where the table has lanes.
    is_any: String,
    mark: Sql,
    mark_of_others: Sql,
    make_all: Sql,
    postpones: bool,
}

impl Due {
    pub(in crate::store) fn new(of: &DueOf) -> Self {
        let DueOf { table, waits, job, since, .. } = of;
        let lane = |place: &str| if of.has_lanes { format!("lane = {place} AND ") } else { String::new() };
        let mark = |[now, again, round, in_lane]: [&str; 4], of_whom: &str| {
            Sql::made(format!(
                "UPDATE {table} SET wake_at = {again} WHERE id IN (
                    SELECT id FROM {table} WHERE {}wake_at <= {now}{waits}{of_whom}
                    ORDER BY wake_at LIMIT {round} {{skip_locked}})
                 RETURNING {job}",
                lane(in_lane)
            ))
        };
        Self {
            is_any: format!("SELECT 1 FROM {table} WHERE {}wake_at <= $1{waits}", lane("'{lane}'")),
            mark: mark(["$1", "$2", "$3", "$4"], ""),
            mark_of_others: mark(
                ["$2", "$3", "$4", "$5"],
                " AND merchant_id NOT IN (SELECT rows.id FROM {rows: id text})",
            ),
            make_all: Sql::made(format!(
                "UPDATE {table} SET wake_at = {since} WHERE id IN (
                    SELECT id FROM {table} WHERE wake_at > {since} AND (wake_at <= $1{}){waits}
                    LIMIT $2 {{skip_locked}})",
                if of.postpones { " OR wake_at > $3" } else { "" }
            )),
            postpones: of.postpones,
        }
    }

    /// A part of a statement that has a row with this text when a row, of this lane where the table has lanes, was due
    /// before `$1`.
    pub(in crate::store) fn is_any(&self, lane: Lane) -> String {
        let is_any = self.is_any.replace("{lane}", lane.as_str());
        format!("SELECT '{lane}' AS lane WHERE EXISTS ({is_any})")
    }

    /// Marks the rows that are due, of a lane where the table has lanes, and returns what jobs are made of. Those that
    /// nobody takes are due again after `again`. Rows of the merchants in `but_of` are passed over, each of which is read. It
    /// writes even if none is due.
    pub(in crate::store) async fn mark(
        &self,
        store: &Store,
        lane: Option<Lane>,
        again: Duration,
        but_of: &[MerchantId],
    ) -> Result<Vec<Row>, StoreError> {
        #[derive(Serialize)]
        struct PassedOver<'a> {
            id: &'a MerchantId,
        }
        let now = clock::now();
        let mark = match but_of {
            [] => query(self.mark.on(store.dialect)),
            _ => {
                let but_of: Vec<_> = but_of.iter().map(|id| PassedOver { id }).collect();
                self.mark_of_others.with(store.dialect, &but_of)
            }
        };
        let mut mark = mark.bind(now.millis()).bind((now + again).millis()).bind(ROUND);
        if let Some(lane) = lane {
            mark = mark.bind(lane.as_str());
        }
        store.writer.fetch_all(mark, "mark what is due").await
    }

    /// Makes every row that waits due in the next round, because the queue lost its jobs; returns how many. What is
    /// enqueued from now on is not due again.
    pub(in crate::store) async fn make_all(&self, store: &Store) -> Result<u64, StoreError> {
        let before = clock::now() + ENQUEUED_AGAIN;
        in_steps(STEP, || {
            let mut update = query(self.make_all.on(store.dialect)).bind(before.millis()).bind(STEP);
            if self.postpones {
                // What is enqueued while this runs is due again within a minute of that; what was postponed, later.
                update = update.bind((before + ENQUEUED_AGAIN).millis());
            }
            store.writer.execute(update, "make all that waits due")
        })
        .await
    }
}
