//! What the installation did, minute by minute, for the charts of the dashboard. Each process adds what its counters
//! gained, so that a mail costs nothing here.

use std::time::Duration;

use serde::Serialize;

use super::{
    database::Store,
    dialect::Sql,
    error::{Doing, StoreError},
    row::{Columns, to_json},
    steps::{STEP, in_steps},
};
use crate::{clock, mail::Timestamp};

/// The length of the shortest span that is kept, in milliseconds.
const MINUTE: i64 = 60_000;

/// So many of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// `recorded`, `settled` or `attempt`.
    pub what: &'static str,
    /// The lane, or the route of an attempt.
    pub subject: String,
    /// The state of a settled mail, the class of an attempt's reply.
    pub detail: String,
    /// How many.
    pub number: u64,
}

/// So many of one kind in one span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivitySpan {
    /// When the span begins.
    pub from: Timestamp,
    /// `recorded`, `settled` or `attempt`.
    pub what: String,
    /// The lane, or the route of an attempt.
    pub subject: String,
    /// The state of a settled mail, the class of an attempt's reply.
    pub detail: String,
    /// How many.
    pub number: u64,
}

static ADD: Sql = Sql::new(
    "INSERT INTO activity (minute, what, subject, detail, number)
     SELECT $2, what, subject, detail, number
     FROM {rows: what text, subject text, detail text, number bigint} WHERE true
     ON CONFLICT (minute, what, subject, detail) DO UPDATE SET number = activity.number + excluded.number",
);

impl Store {
    /// Adds what happened just now.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn add_activity(&self, gained: &[Activity]) -> Result<(), StoreError> {
        let minute = clock::now().millis() / MINUTE * MINUTE;
        let add = sqlx::query(ADD.on(self.dialect)).bind(to_json(gained)).bind(minute);
        self.writer.aside().execute(add, "add to the activity").await.map(drop)
    }

    /// What happened since then, in spans of this length in minutes, in the order of time.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn activity(&self, since: Timestamp, minutes: i64) -> Result<Vec<ActivitySpan>, StoreError> {
        let rows = sqlx::query(
            "SELECT minute / $2 * $2 AS span, what, subject, detail, CAST(SUM(number) AS BIGINT) AS number
             FROM activity WHERE minute >= $1 GROUP BY 1, 2, 3, 4 ORDER BY 1",
        )
        .bind(since.millis())
        .bind(minutes.max(1) * MINUTE)
        .fetch_all(&self.readers)
        .await
        .doing("read the activity")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "activity", row };
                Ok(ActivitySpan {
                    from: columns.time("span")?,
                    what: columns.text("what")?,
                    subject: columns.text("subject")?,
                    detail: columns.text("detail")?,
                    number: columns.count("number")?,
                })
            })
            .collect()
    }

    /// Forgets what is older than `keep`; returns how many rows.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_activity(&self, keep: Duration) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - keep).millis();
        in_steps(STEP, || async {
            let delete = sqlx::query(
                "DELETE FROM activity WHERE minute IN
                    (SELECT DISTINCT minute FROM activity WHERE minute < $1 ORDER BY minute LIMIT 20)",
            );
            self.writer.aside().execute(delete.bind(long_ago), "forget old activity").await
        })
        .await
    }
}
