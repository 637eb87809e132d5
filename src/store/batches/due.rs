//! What the scheduler asks of batches: which are due, so that a job is to be enqueued for them.

use std::time::Duration;

use crate::{
    clock,
    mail::{BatchId, MerchantId},
    store::{
        database::Store,
        dialect::Sql,
        error::{Doing, StoreError},
        row::Columns,
    },
};

/// The most rows in one round.
const ROUND: i64 = 1_000;

/// A batch that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueBatch {
    /// The batch.
    pub batch: BatchId,
    /// Whose it is.
    pub merchant: MerchantId,
}

static DUE: Sql = Sql::new(
    "UPDATE batches SET wake_at = $2 WHERE id IN (
        SELECT id FROM batches WHERE wake_at <= $1 ORDER BY wake_at LIMIT $3 {skip_locked})
     RETURNING id, merchant_id",
);

impl Store {
    /// Marks the batches that are due and returns them. Those that nobody works on are due again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mark_due_batches(&self, again: Duration) -> Result<Vec<DueBatch>, StoreError> {
        let now = clock::now();
        // Most rounds find nothing; those must not wait for the one writer of SQLite.
        let first = sqlx::query("SELECT 1 FROM batches WHERE wake_at <= $1 LIMIT 1")
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .doing("look for batches that are due")?;
        if first.is_none() {
            return Ok(Vec::new());
        }
        let rows = self
            .writer
            .fetch_all(
                sqlx::query(DUE.on(self.dialect)).bind(now.millis()).bind((now + again).millis()).bind(ROUND),
                "find batches that are due",
            )
            .await?;
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
    /// When the database does not answer.
    pub async fn make_all_batches_due(&self) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        self.writer
            .execute(
                sqlx::query("UPDATE batches SET wake_at = $1 WHERE wake_at > $1").bind(now),
                "make all batches due",
            )
            .await
    }

    /// Puts a batch off for a while.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn put_off_batch(&self, id: BatchId, pause: Duration) -> Result<(), StoreError> {
        self.writer
            .execute(
                sqlx::query("UPDATE batches SET wake_at = $2 WHERE id = $1 AND wake_at IS NOT NULL")
                    .bind(id.to_string())
                    .bind((clock::now() + pause).millis()),
                "put a batch off",
            )
            .await
            .map(drop)
    }
}
