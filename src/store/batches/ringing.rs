//! What the waker asks of batches: which need a bell.

use std::time::Duration;

use crate::{
    clock,
    mail::{BatchId, MerchantId},
    store::{Doing, Store, StoreError, dialect::Sql, row::Columns},
};

/// A batch that somebody has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingingBatch {
    /// The batch.
    pub batch: BatchId,
    /// Whose it is.
    pub merchant: MerchantId,
}

static DUE: Sql = Sql::new(
    "UPDATE batches SET ring_at = $2 WHERE id IN (
        SELECT id FROM batches WHERE ring_at <= $1 ORDER BY ring_at LIMIT 1000 {skip_locked})
     RETURNING id, merchant_id",
);

impl Store {
    /// Marks batches whose time to ring has come and returns them; unless worked on they ring again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_due_batches(&self, again: Duration) -> Result<Vec<RingingBatch>, StoreError> {
        let now = clock::now();
        // Most rounds find nothing; those shall not wait for the one writer of SQLite.
        let first = sqlx::query("SELECT 1 FROM batches WHERE ring_at <= $1 LIMIT 1")
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
                sqlx::query(DUE.on(self.dialect)).bind(now.millis()).bind((now + again).millis()),
                "find batches that are due",
            )
            .await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "batches", row };
                Ok(RingingBatch { batch: columns.parsed("id")?, merchant: columns.parsed("merchant_id")? })
            })
            .collect()
    }

    /// Makes every batch that has something to do ring at the next round: the queue lost its bells.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_all_batches_again(&self) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        self.writer
            .execute(
                sqlx::query("UPDATE batches SET ring_at = $1 WHERE ring_at > $1").bind(now),
                "ring for all batches",
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
                sqlx::query("UPDATE batches SET ring_at = $2 WHERE id = $1 AND ring_at IS NOT NULL")
                    .bind(id.to_string())
                    .bind((clock::now() + pause).millis()),
                "put a batch off",
            )
            .await
            .map(drop)
    }
}
