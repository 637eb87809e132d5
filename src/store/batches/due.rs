//! What the scheduler asks of batches: which are due, so that a job is to be enqueued for them.

use std::{sync::LazyLock, time::Duration};

use crate::{
    clock,
    mail::{BatchId, MerchantId},
    store::{
        claimable::{Due, DueOf},
        database::Store,
        error::StoreError,
        row::Columns,
        statement::query,
    },
};

/// A batch that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueBatch {
    /// The batch.
    pub batch: BatchId,
    /// Whose it is.
    pub merchant: MerchantId,
}

pub(in crate::store) static DUE: LazyLock<Due> = LazyLock::new(|| {
    Due::new(&DueOf {
        table: "batches",
        has_lanes: false,
        waits: "",
        job: "id, merchant_id",
        since: "requested_at", // a batch is worked on at once
        postpones: false,
    })
});

impl Store {
    /// Marks the batches that are due and returns them. Those that nobody works on are due again after `again`.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn mark_due_batches(&self, again: Duration) -> Result<Vec<DueBatch>, StoreError> {
        let rows = DUE.mark(self, None, again, &[]).await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "batches", row };
                Ok(DueBatch { batch: columns.parsed("id")?, merchant: columns.parsed("merchant_id")? })
            })
            .collect()
    }

    /// Makes every batch that has something to do due in the next round: the queue lost its jobs.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn make_all_batches_due(&self) -> Result<u64, StoreError> {
        DUE.make_all(self).await
    }

    /// Puts a batch off for a while.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_off_batch(&self, id: BatchId, pause: Duration) -> Result<(), StoreError> {
        self.writer
            .execute(
                query("UPDATE batches SET wake_at = $2 WHERE id = $1 AND wake_at IS NOT NULL")
                    .bind(id.to_string())
                    .bind((clock::now() + pause).millis()),
                "put a batch off",
            )
            .await
            .map(drop)
    }
}
