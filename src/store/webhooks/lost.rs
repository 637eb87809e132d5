//! What the rescuer asks of deliveries: taking those from their workers that nobody works on any more.

use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;

use crate::{
    clock,
    mail::{DeliveryId, WorkerId},
    store::{
        Doing, Store, StoreError,
        dialect::Sql,
        row::{Columns, to_json},
    },
    webhook::CallbackOutcome,
};

/// The most rows in one round, so that any number of processes may take rounds at once.
const ROUND: i64 = 1_000;

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
    "UPDATE deliveries SET state = 'deferred', worker = NULL, due_at = $2, wake_at = $2, outcome = $3, status = NULL,
        millis = NULL, answer = $4
     WHERE id IN (SELECT rows.id FROM {rows: id text})",
);

impl Store {
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
