//! Reading deliveries back, sending them again, and forgetting old ones.

use std::time::Duration;

use crate::{
    audit::Action,
    clock,
    mail::{DeliveryId, EndpointId, MerchantId, Timestamp},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
        steps::{STEP, in_steps, through_ids},
    },
    webhook::DeliveryState,
};

/// How long the scheduler leaves a replayed delivery to the job that its request enqueues.
const ENQUEUED_BY_REQUEST: Duration = Duration::from_secs(15);

/// A delivery as people see it; its body stays out.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// `webhook-id`.
    pub webhook_id: String,
    /// The event's name; none for a batch webhook.
    pub kind: Option<String>,
    /// Where it is on its way.
    pub state: DeliveryState,
    /// How many attempts were begun.
    pub attempt: u32,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Not before this time, or when the next attempt is due.
    pub due_at: Timestamp,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// How far the last attempt came.
    pub outcome: Option<String>,
    /// The status that the receiver answered last.
    pub status: Option<u16>,
    /// How long the last attempt took.
    pub millis: Option<u64>,
    /// The beginning of the receiver's last answer, or why there was none.
    pub answer: Option<String>,
}

/// One attempt of a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How far it came.
    pub outcome: String,
    /// The status that the receiver answered.
    pub status: Option<u16>,
    /// How long it took.
    pub millis: u64,
    /// The beginning of the receiver's answer, or why there was none.
    pub answer: String,
}

/// The result of asking for a delivery to be sent again.
#[derive(Clone, Debug)]
pub enum Replayed {
    /// It is queued now.
    Now,
    /// A worker has it, or soon will.
    UnderWay(DeliveryState),
    /// The endpoint is disabled.
    Disabled,
    /// There is no such delivery.
    Unknown,
}

/// Deliveries as people see them; the conditions follow.
pub(super) const RECORD_COLUMNS: &str =
    "SELECT deliveries.id, COALESCE(event_id, deliveries.id) AS webhook_id, events.type AS kind, state,
        attempt, deliveries.created_at, due_at, settled_at, outcome, status, millis, answer, endpoint_id
     FROM deliveries LEFT JOIN events ON events.id = deliveries.event_id";

/// Those to an endpoint of a merchant.
const OF_ENDPOINT: &str = "WHERE deliveries.merchant_id = $1 AND endpoint_id = $2";

static REPLAY: Sql = Sql::new(
    "UPDATE deliveries SET state = 'queued', attempts_before = attempt, due_at = $4, wake_at = $5, settled_at = NULL
     WHERE merchant_id = $1 AND endpoint_id = $2 AND id = $3 AND state IN {delivery states before replayed}",
);

// In steps: an endpoint that was away for days has very many.
const REPLAY_FAILED: &str =
    "UPDATE deliveries SET state = 'queued', attempts_before = attempt, due_at = $4, wake_at = $4, settled_at = NULL
     WHERE state = 'failed' AND id IN (
        SELECT id FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2 AND created_at >= $3 AND state = 'failed'
            AND id > $5 ORDER BY id LIMIT $6)
     RETURNING id";

impl Store {
    /// Lists an endpoint's deliveries, newest first, and how many there are in all.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn deliveries(
        &self,
        merchant: &MerchantId,
        endpoint: EndpointId,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<DeliveryRecord>, u64), StoreError> {
        let total: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM deliveries WHERE merchant_id = $1 AND endpoint_id = $2")
                .bind(merchant.as_str())
                .bind(endpoint.to_string())
                .fetch_one(&self.readers)
                .await
                .doing("count deliveries")?;
        let rows = query(sqlx::AssertSqlSafe(format!(
            "{RECORD_COLUMNS} {OF_ENDPOINT} ORDER BY deliveries.id DESC LIMIT $3 OFFSET $4"
        )))
        .bind(merchant.as_str())
        .bind(endpoint.to_string())
        .bind(i64::from(limit))
        .bind(i64::try_from(offset).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await
        .doing("list deliveries")?;
        let records =
            rows.iter().map(|row| read(&Columns { table: "deliveries", row })).collect::<Result<_, _>>()?;
        Ok((records, u64::try_from(total).unwrap_or(0)))
    }

    /// Finds one of an endpoint's deliveries.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn delivery(
        &self,
        merchant: &MerchantId,
        endpoint: EndpointId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let row =
            query(sqlx::AssertSqlSafe(format!("{RECORD_COLUMNS} {OF_ENDPOINT} AND deliveries.id = $3")))
                .bind(merchant.as_str())
                .bind(endpoint.to_string())
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .doing("find a delivery")?;
        row.map(|row| read(&Columns { table: "deliveries", row: &row })).transpose()
    }

    /// The attempts of a delivery, in order.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn delivery_attempts(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError> {
        let rows = query(
            "SELECT number, at, outcome, status, millis, answer FROM delivery_attempts
             WHERE delivery_id = $1 ORDER BY number",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .doing("list attempts of a delivery")?;
        rows.iter().map(|row| read_attempt(&Columns { table: "delivery_attempts", row })).collect()
    }

    /// Sends a delivery again, with the same `webhook-id` and the whole schedule before it. One that waits for its next
    /// attempt does not wait any more.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn replay_delivery(
        &self,
        merchant: &MerchantId,
        endpoint: EndpointId,
        id: DeliveryId,
    ) -> Result<Replayed, StoreError> {
        match self.endpoint(merchant, endpoint).await? {
            Some(endpoint) if endpoint.enabled => {}
            Some(_) => return Ok(Replayed::Disabled),
            None => return Ok(Replayed::Unknown),
        }
        let now = clock::now();
        let replay = query(REPLAY.on(self.dialect))
            .bind(merchant.to_string())
            .bind(endpoint.to_string())
            .bind(id.to_string())
            .bind(now.millis())
            .bind((now + ENQUEUED_BY_REQUEST).millis());
        let entry = self.entry(Action::WebhookReplayed, format!("{endpoint}/{id}"), Some(merchant));
        let done = self.change(replay, "replay a delivery", entry).await?;
        if done == 1 {
            return Ok(Replayed::Now);
        }
        let delivery = self.delivery(merchant, endpoint, id).await?;
        Ok(delivery.map_or(Replayed::Unknown, |delivery| Replayed::UnderWay(delivery.state)))
    }

    /// Sends everything again that was recorded for an endpoint since `since` and failed, a thousand at a time; returns how much
    /// that is. The scheduler enqueues it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. What was begun with before it is sent again.
    pub async fn replay_failed(
        &self,
        merchant: &MerchantId,
        endpoint: EndpointId,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        let (replayed, done) = through_ids(STEP, |after| {
            let replay = query(REPLAY_FAILED)
                .bind(merchant.to_string())
                .bind(endpoint.to_string())
                .bind(since.millis())
                .bind(now)
                .bind(after)
                .bind(STEP);
            self.writer.change_ids(replay, "replay failed deliveries")
        })
        .await;
        let entry = self.entry(Action::WebhookReplayed, endpoint, Some(merchant));
        if replayed > 0 {
            self.note(entry.map(|entry| entry.of(replayed))).await?;
        }
        done.map(|()| replayed)
    }

    /// Forgets deliveries that were settled longer ago than `keep`, and events that no delivery needs any more; returns
    /// how many rows that were.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - keep).millis();
        let deliveries = "DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries WHERE settled_at < $1 LIMIT $2) AND settled_at < $1";
        let events = "DELETE FROM events WHERE id IN (
            SELECT id FROM events WHERE created_at < $1
                AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = events.id) LIMIT $2)";
        let mut forgotten = 0;
        for statement in [deliveries, events] {
            forgotten += in_steps(STEP, || async {
                let delete = query(statement).bind(long_ago).bind(STEP);
                self.writer.in_background().execute(delete, "forget old deliveries").await
            })
            .await?;
        }
        Ok(forgotten)
    }
}

pub(super) fn read(columns: &Columns<'_>) -> Result<DeliveryRecord, StoreError> {
    Ok(DeliveryRecord {
        id: columns.parsed("id")?,
        webhook_id: columns.text("webhook_id")?,
        kind: columns.optional_text("kind")?,
        state: columns.parsed("state")?,
        attempt: u32::try_from(columns.integer("attempt")?).unwrap_or(0),
        created_at: columns.time("created_at")?,
        due_at: columns.time("due_at")?,
        settled_at: columns.optional_time("settled_at")?,
        outcome: columns.optional_text("outcome")?,
        status: status(columns)?,
        millis: columns.optional_integer("millis")?.and_then(|millis| u64::try_from(millis).ok()),
        answer: columns.optional_text("answer")?,
    })
}

fn read_attempt(columns: &Columns<'_>) -> Result<DeliveryAttempt, StoreError> {
    Ok(DeliveryAttempt {
        number: u32::try_from(columns.integer("number")?).unwrap_or(0),
        at: columns.time("at")?,
        outcome: columns.text("outcome")?,
        status: status(columns)?,
        millis: u64::try_from(columns.integer("millis")?).unwrap_or(0),
        answer: columns.text("answer")?,
    })
}

fn status(columns: &Columns<'_>) -> Result<Option<u16>, StoreError> {
    Ok(columns.optional_integer("status")?.and_then(|status| u16::try_from(status).ok()))
}
