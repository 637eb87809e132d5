//! What the scheduler asks of deliveries: which are due, so that a job is to be enqueued for them; putting off those
//! whose receiver is away; and bringing them forward once their endpoint has another URL.

use std::{sync::LazyLock, time::Duration};

use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MerchantId, Timestamp},
    store::{
        claimable::{Due, DueOf},
        database::Store,
        error::StoreError,
        row::Columns,
        sql::Sql,
        statement::query,
        steps::{STEP, in_steps},
    },
};

/// The most that are put off at once.
const ROUND: i64 = 1_000;

/// A delivery that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Whose it is.
    pub merchant: MerchantId,
}

pub(in crate::store) static DUE: LazyLock<Due> = LazyLock::new(|| {
    let waits = ""; // a claim takes `wake_at` away
    Due::new(&DueOf {
        table: "deliveries",
        has_lanes: false,
        waits,
        job: "id, merchant_id",
        since: "due_at",
        postpones: false,
    })
});

static PUT_OFF: Sql = Sql::new(
    "UPDATE deliveries SET due_at = $3, wake_at = $3 WHERE state IN {delivery states before claimed} AND id IN (
        SELECT id FROM deliveries WHERE wake_at IS NOT NULL AND endpoint_id = $2 AND due_at < $3
        ORDER BY due_at LIMIT $4 {skip_locked})
        OR (id = $1 AND state IN {delivery states before claimed} AND due_at < $3)",
);

static BRING_FORWARD: Sql = Sql::new(
    "UPDATE deliveries SET due_at = $2, wake_at = $2 WHERE state IN {delivery states before claimed} AND id IN (
        SELECT id FROM deliveries WHERE wake_at IS NOT NULL AND endpoint_id = $1 AND due_at > $2
        ORDER BY due_at LIMIT $3 {skip_locked})",
);

impl Store {
    /// Marks the deliveries that are due, but for those of some merchants, and returns them. Those that nobody claims are due
    /// again after `again`.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn mark_due_deliveries(
        &self,
        again: Duration,
        but_of: &[MerchantId],
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let rows = DUE.mark(self, None, again, but_of).await?;
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
    /// Those of a write: see [`StoreError`].
    pub async fn make_all_deliveries_due(&self) -> Result<u64, StoreError> {
        DUE.make_all(self).await
    }

    /// Puts off a delivery, and what else waits for the same endpoint (up to 1,000 at a time), until `until`: the
    /// receiver is away. It costs them no attempt.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_off_deliveries(
        &self,
        delivery: DeliveryId,
        endpoint: Option<EndpointId>,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        self.writer
            .execute(
                query(PUT_OFF.on(self.dialect))
                    .bind(delivery.to_string())
                    .bind(endpoint.map(|id| id.to_string()).unwrap_or_default())
                    .bind(until.millis())
                    .bind(ROUND),
                "put callbacks off",
            )
            .await
    }
    /// Makes what waits for an endpoint due now, in steps: what kept it waiting is over.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub(super) async fn bring_deliveries_forward(&self, endpoint: EndpointId) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        in_steps(STEP, || async {
            let statement = query(BRING_FORWARD.on(self.dialect)).bind(endpoint.to_string());
            self.writer.execute(statement.bind(now).bind(STEP), "bring callbacks forward").await
        })
        .await
    }
}
