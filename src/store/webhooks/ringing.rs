//! What the waker asks of deliveries: which need a bell, which lost their worker; and putting off those whose receiver
//! is away.

use futures_util::FutureExt;
use std::time::Duration;

use serde_json::json;

use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MerchantId, Timestamp, WorkerId},
    shop::CallbackOutcome,
    store::{
        Doing, Store, StoreError,
        dialect::Sql,
        row::{Columns, to_json},
    },
};

/// The most rows in one round.
const ROUND: i64 = 1_000;

/// A delivery that somebody has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingingDelivery {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Whose it is.
    pub merchant: MerchantId,
}

static DUE: Sql = Sql::new(
    "UPDATE deliveries SET ring_at = $2 WHERE id IN (
        SELECT id FROM deliveries WHERE ring_at <= $1 ORDER BY ring_at LIMIT $3 {skip_locked})
     RETURNING id, merchant_id",
);

static PUT_OFF: Sql = Sql::new(
    "UPDATE deliveries SET due_at = $3, ring_at = $3 WHERE state IN ('queued', 'deferred') AND id IN (
        SELECT id FROM deliveries WHERE ring_at IS NOT NULL AND endpoint_id = $2 AND due_at < $3
        ORDER BY due_at LIMIT $4 {skip_locked})
        OR (id = $1 AND state IN ('queued', 'deferred') AND due_at < $3)",
);

static LOST: Sql = Sql::new(
    "SELECT id, worker FROM deliveries
     WHERE worker IS NOT NULL AND (worker = $3 OR worker NOT IN (SELECT id FROM workers WHERE heartbeat_at > $1))
     ORDER BY worker = $3 LIMIT $2 {skip_locked}",
);

static LOST_ATTEMPTS: Sql = Sql::new(
    "INSERT INTO delivery_attempts (delivery_id, number, worker, at, outcome, millis, answer)
     SELECT deliveries.id, attempt, worker, claimed_at, $3, $2 - claimed_at, $4
     FROM {rows: id text} JOIN deliveries ON deliveries.id = rows.id
     WHERE true ON CONFLICT (delivery_id, number) DO NOTHING",
);

static FREE: Sql = Sql::new(
    "UPDATE deliveries SET state = 'deferred', worker = NULL, due_at = $2, ring_at = $2, outcome = $3, status = NULL,
        millis = NULL, answer = $4
     WHERE id IN (SELECT rows.id FROM {rows: id text})",
);

impl Store {
    /// Marks deliveries whose time to ring has come and returns them; unless claimed they ring again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_due_deliveries(&self, again: Duration) -> Result<Vec<RingingDelivery>, StoreError> {
        let now = clock::now();
        // Most rounds find nothing; those shall not wait for the one writer of SQLite.
        let first = sqlx::query("SELECT 1 FROM deliveries WHERE ring_at <= $1 LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .doing("look for callbacks that are due")?;
        if first.is_none() {
            return Ok(Vec::new());
        }
        let rows = self
            .writer
            .fetch_all(
                sqlx::query(DUE.on(self.dialect)).bind(now.millis()).bind((now + again).millis()).bind(ROUND),
                "find callbacks that are due",
            )
            .await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "deliveries", row };
                Ok(RingingDelivery {
                    delivery: columns.parsed("id")?,
                    merchant: columns.parsed("merchant_id")?,
                })
            })
            .collect()
    }

    /// Makes every delivery that waits ring at the next round: the queue lost its bells.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_all_deliveries_again(&self) -> Result<u64, StoreError> {
        self.writer
            .execute(
                sqlx::query(
                    "UPDATE deliveries SET ring_at = due_at WHERE ring_at IS NOT NULL AND ring_at > due_at",
                ),
                "ring for all waiting callbacks",
            )
            .await
    }

    /// Puts off a delivery, and what else waits for the same endpoint (up to 1,000 at a time), until `until`: the
    /// receiver is away. It costs them no attempt.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn put_off_deliveries(
        &self,
        delivery: DeliveryId,
        endpoint: Option<EndpointId>,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        self.writer
            .execute(
                sqlx::query(PUT_OFF.on(self.dialect))
                    .bind(delivery.to_string())
                    .bind(endpoint.map(|id| id.to_string()).unwrap_or_default())
                    .bind(until.millis())
                    .bind(ROUND),
                "put callbacks off",
            )
            .await
    }

    /// Takes deliveries from workers that have been silent for `silence`, or are not known at all, and from the worker
    /// `own` those that it is not at work on: the answer to its claim was lost. They are due again at once, with the
    /// same `webhook-id`. Returns how many.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn take_lost_deliveries(
        &self,
        silence: Duration,
        own: WorkerId,
        is_at_work_on: impl Fn(DeliveryId) -> bool + Send + Sync + 'static,
    ) -> Result<usize, StoreError> {
        let now = clock::now();
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let rows = sqlx::query(LOST.on(dialect))
                        .bind((now - silence).millis())
                        .bind(ROUND)
                        .bind(own.to_string())
                        .fetch_all(&mut *on)
                        .await
                        .doing("find lost callbacks")?;
                    let mut lost = Vec::new();
                    for row in &rows {
                        let columns = Columns { table: "deliveries", row };
                        let id: DeliveryId = columns.parsed("id")?;
                        // Asked only now: these rows cannot be claimed or settled until the end of this transaction.
                        if columns.parsed::<WorkerId>("worker")? != own || !is_at_work_on(id) {
                            lost.push(json!({ "id": id }));
                        }
                    }
                    if lost.is_empty() {
                        return Ok(0);
                    }
                    let ids = to_json(&lost);
                    for statement in [&LOST_ATTEMPTS, &FREE] {
                        sqlx::query(statement.on(dialect))
                            .bind(&ids)
                            .bind(now.millis())
                            .bind(CallbackOutcome::Unknown.as_str())
                            .bind("the worker died; whether the receiver got it is not known")
                            .execute(&mut *on)
                            .await
                            .doing("free lost callbacks")?;
                    }
                    Ok(lost.len())
                }
                .boxed()
            })
            .await
    }
}
