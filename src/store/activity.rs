//! What the installation did, minute by minute, for the charts of the dashboard. Each process adds what its counters
//! gained, so that a mail costs nothing here.

use std::time::Duration;

use serde::Serialize;

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    sql::Sql,
    statement::query,
    steps::{STEP, in_steps},
};
use crate::{
    clock,
    mail::{MerchantId, Timestamp},
};

/// The length of the shortest span that is kept, in milliseconds.
const MINUTE: i64 = 60_000;

/// So many of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// `recorded`, `settled`, `attempt` or `refused`.
    pub what: &'static str,
    /// The lane, the route of an attempt, the merchant of a refused request.
    pub subject: String,
    /// The state of a settled mail, the class of an attempt's reply, the answer to a refused request.
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

/// Requests of a merchant that were refused alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRequests {
    /// Whose they were.
    pub merchant: MerchantId,
    /// How they were answered: `422 invalid_fields, POST /mail`.
    pub what: String,
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
        let add = ADD.with(self.dialect, gained).bind(minute);
        self.writer.in_background().execute(add, "add to the activity").await.map(drop)
    }

    /// The requests that were refused since then, of one merchant or of all, the most frequent first and at most `limit`
    /// kinds.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn refused_requests(
        &self,
        merchant: Option<&MerchantId>,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<RefusedRequests>, StoreError> {
        let rows = query(
            "SELECT subject, detail, CAST(SUM(number) AS BIGINT) AS number FROM activity
             WHERE minute >= $1 AND what = 'refused' AND (subject = $2 OR $2 = '')
             GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $3",
        )
        .bind(since.millis())
        .bind(merchant.map_or("", MerchantId::as_str))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("read the refused requests")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "activity", row };
                Ok(RefusedRequests {
                    merchant: columns.parsed("subject")?,
                    what: columns.text("detail")?,
                    number: columns.count("number")?,
                })
            })
            .collect()
    }

    /// What mails went through since then, in spans of this length in minutes, in the order of time.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn activity(&self, since: Timestamp, minutes: i64) -> Result<Vec<ActivitySpan>, StoreError> {
        let rows = query(
            "SELECT minute / $2 * $2 AS span, what, subject, detail, CAST(SUM(number) AS BIGINT) AS number
             FROM activity WHERE minute >= $1 AND what <> 'refused' GROUP BY 1, 2, 3, 4 ORDER BY 1",
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
            let delete = query(
                "DELETE FROM activity WHERE minute IN
                    (SELECT DISTINCT minute FROM activity WHERE minute < $1 ORDER BY minute LIMIT 20)",
            );
            self.writer.in_background().execute(delete.bind(long_ago), "forget old activity").await
        })
        .await
    }
}
