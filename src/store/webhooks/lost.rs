//! What the rescuer asks of deliveries: taking those from their workers that nobody works on any more.

use std::{sync::LazyLock, time::Duration};

use futures_util::FutureExt;
use serde_json::json;

use crate::{
    clock,
    mail::{DeliveryId, WorkerId},
    store::{
        claimable::{Lost, LostOf, LostRow},
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
    },
    webhook::CallbackOutcome,
};

static LOST: LazyLock<Lost> =
    LazyLock::new(|| Lost::new(&LostOf { table: "deliveries", at_work: "worker IS NOT NULL", reads: "" }));

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
    /// Those of a write: see [`StoreError`].
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
                    let found = LOST.find(dialect, &mut *on, (now, silence), own, is_at_work_on).await?;
                    let id = |lost: &LostRow| {
                        let id = Columns { table: "deliveries", row: &lost.row }.text("id")?;
                        Ok(json!({ "id": id }))
                    };
                    let lost = found.iter().map(id).collect::<Result<Vec<_>, StoreError>>()?;
                    if lost.is_empty() {
                        return Ok(0);
                    }
                    for statement in [&LOST_ATTEMPTS, &FREE] {
                        statement
                            .with(dialect, &lost)
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
