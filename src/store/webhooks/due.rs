//! What the scheduler asks of deliveries: which are due, so that a job is to be enqueued for them; and putting off those
//! whose receiver is away.

use std::time::Duration;

use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MerchantId, Timestamp},
    store::{
        database::Store,
        dialect::Sql,
        error::{Doing, StoreError},
        row::Columns,
        steps::{ENQUEUED_AGAIN, STEP, in_steps},
    },
};

/// The most rows in one round.
const ROUND: i64 = 1_000;

/// A delivery that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Whose it is.
    pub merchant: MerchantId,
}

static DUE: Sql = Sql::new(
    "UPDATE deliveries SET wake_at = $2 WHERE id IN (
        SELECT id FROM deliveries WHERE wake_at <= $1 ORDER BY wake_at LIMIT $3 {skip_locked})
     RETURNING id, merchant_id",
);

static PUT_OFF: Sql = Sql::new(
    "UPDATE deliveries SET due_at = $3, wake_at = $3 WHERE state IN ('queued', 'deferred') AND id IN (
        SELECT id FROM deliveries WHERE wake_at IS NOT NULL AND endpoint_id = $2 AND due_at < $3
        ORDER BY due_at LIMIT $4 {skip_locked})
        OR (id = $1 AND state IN ('queued', 'deferred') AND due_at < $3)",
);

static ALL_DUE: Sql = Sql::new(
    "UPDATE deliveries SET wake_at = due_at WHERE id IN (
        SELECT id FROM deliveries WHERE wake_at > due_at AND wake_at <= $1 LIMIT $2 {skip_locked})",
);

impl Store {
    /// Marks the deliveries that are due and returns them. Those that nobody claims are due again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mark_due_deliveries(&self, again: Duration) -> Result<Vec<DueDelivery>, StoreError> {
        let now = clock::now();
        // Most rounds find nothing; those must not wait for the one writer of SQLite.
        let first = sqlx::query("SELECT 1 FROM deliveries WHERE wake_at <= $1 LIMIT 1")
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
                Ok(DueDelivery { delivery: columns.parsed("id")?, merchant: columns.parsed("merchant_id")? })
            })
            .collect()
    }

    /// Makes every delivery that waits due in the next round: the queue lost its jobs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn make_all_deliveries_due(&self) -> Result<u64, StoreError> {
        // What is enqueued from now on is not due again.
        let before = (clock::now() + ENQUEUED_AGAIN).millis();
        in_steps(STEP, || {
            let update = sqlx::query(ALL_DUE.on(self.dialect)).bind(before).bind(STEP);
            self.writer.execute(update, "make all waiting callbacks due")
        })
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
}
