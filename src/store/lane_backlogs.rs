//! How much waits, for those who watch: counted from indexes, never more rows than a bound, so that it costs the same
//! however many mails there are.

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    row::Row,
    statement::query,
};
use crate::mail::{Lane, MailLane, MailState, Timestamp};

/// The most rows of a lane that are counted.
pub const MOST_COUNTED: i64 = 20_000;

const MAILS: &str = "SELECT state, COUNT(*) AS amount, MIN(due_at) AS due_at FROM
     (SELECT state, due_at FROM mails WHERE lane = $1 AND wake_at IS NOT NULL LIMIT $2) AS counted GROUP BY state";

const CALLBACKS: &str = "SELECT state, COUNT(*) AS amount, MIN(due_at) AS due_at FROM
     (SELECT state, due_at FROM deliveries WHERE wake_at IS NOT NULL LIMIT $1) AS counted GROUP BY state";

// The first column of an index: an operator's question, not a merchant's.
const SETTLED: &str = "SELECT COUNT(*) FROM
     (SELECT test FROM mails WHERE state_after = $1 AND state_after IS NOT NULL LIMIT $2) AS counted WHERE test = 0";

/// What waits or is under way in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBacklog {
    /// The lane.
    pub lane: Lane,
    /// How many rows, by state; [`MOST_COUNTED`] in all at most.
    pub rows: Vec<(MailState, u64)>,
    /// When the oldest of those that wait was due; it may be still to come.
    pub oldest_due_at: Option<Timestamp>,
}

impl Store {
    /// What waits or is under way in the lanes of mails and of callbacks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lane_backlogs(&self) -> Result<Vec<LaneBacklog>, StoreError> {
        let mut lanes = Vec::with_capacity(MailLane::ALL.len() + 1);
        for &lane in MailLane::ALL {
            let counted = query(MAILS).bind(lane.as_str()).bind(MOST_COUNTED);
            let rows = counted.fetch_all(&self.readers).await.doing("count the mails that wait")?;
            lanes.push(of_lane("mails", lane.into(), &rows)?);
        }
        let counted = query(CALLBACKS).bind(MOST_COUNTED);
        let rows = counted.fetch_all(&self.readers).await.doing("count the callbacks that wait")?;
        lanes.push(of_lane("deliveries", Lane::Callback, &rows)?);
        Ok(lanes)
    }

    /// How many mails are settled in a state, of [`MOST_COUNTED`] at most; those of the sandbox do not count.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn settled_mails(&self, state: MailState) -> Result<u64, StoreError> {
        let counted = sqlx::query_scalar::<_, i64>(SETTLED).bind(state.as_str()).bind(MOST_COUNTED);
        let count = counted.fetch_one(&self.readers).await.doing("count settled mails")?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn of_lane(table: &'static str, lane: Lane, rows: &[Row]) -> Result<LaneBacklog, StoreError> {
    let mut backlog = LaneBacklog { lane, rows: Vec::with_capacity(rows.len()), oldest_due_at: None };
    for row in rows {
        let columns = Columns { table, row };
        let state: MailState = columns.parsed("state")?;
        backlog.rows.push((state, columns.count("amount")?));
        let due_at = columns.time("due_at")?;
        // What a worker has does not wait.
        if state != MailState::Sending && backlog.oldest_due_at.is_none_or(|oldest| due_at < oldest) {
            backlog.oldest_due_at = Some(due_at);
        }
    }
    Ok(backlog)
}
