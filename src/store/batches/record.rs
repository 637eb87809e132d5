//! Records batches whole: the users first, in chunks that nobody sees, then the batch with its answer in one
//! transaction. The batch's row is what makes its chunks count, so a request that ends half-way leaves nothing.

use futures_util::FutureExt;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::{NoContext, Timestamp as UuidTimestamp, Uuid};

use crate::{
    clock,
    mail::{BatchId, MerchantId, Schedule, Timestamp},
    store::{
        database::Store,
        error::{Doing, StoreError},
        idempotency::{self, Answer, KeyHolder},
        sql::Sql,
        statement::query,
        steps::in_steps,
    },
};

/// How long the scheduler leaves a fresh batch to the job that its ingress enqueues.
const ENQUEUED_BY_INGRESS: Duration = Duration::from_secs(15);

/// The most chunks, some 25 KB each, that one statement deletes.
const CHUNKS: i64 = 20;

/// A batch to record.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Its id, under which its users are staged.
    pub id: BatchId,
    /// Whose batch it is.
    pub merchant: MerchantId,
    /// The brand that its members belong to.
    pub brand_id: String,
    /// The brand's document as it is now.
    pub brand: String,
    /// The name of its template.
    pub template: String,
    /// The template's version as it is now.
    pub template_version: String,
    /// What its mails link to a pass of.
    pub coupon: Option<String>,
    /// The URL that is notified when it is over.
    pub webhook_url: Option<String>,
    /// Where its result is.
    pub link: String,
    /// How many mails it is of.
    pub mails: u64,
    /// When its mails may go, and until when.
    pub schedule: Schedule,
    /// Whether they go to the sandbox and never to a relay.
    pub is_test: bool,
}

/// Users of a batch to come, in their order.
#[derive(Debug, Serialize)]
pub struct StagedChunk {
    /// From 0.
    pub number: u32,
    /// A JSON array of user objects.
    pub users: Box<RawValue>,
}

impl StagedChunk {
    /// The most users in one: SQLite's one writer, and all that wait for it, are kept for some 20 ms by the mails of so many.
    pub const USERS: usize = 250;
}

/// The result of recording a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRecorded {
    /// The batch and its answer are committed.
    Committed,
    /// Another request took the idempotency key over meanwhile; nothing was recorded.
    KeyLost,
}

static STAGE: Sql = Sql::new(
    "INSERT INTO batch_chunks (batch_id, number, users) SELECT $2, number, users FROM {rows: number bigint, users text}",
);

impl Store {
    /// Writes users of a batch that is not recorded yet.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn stage_chunks(&self, batch: BatchId, chunks: &[StagedChunk]) -> Result<(), StoreError> {
        self.writer
            .in_background()
            .execute(STAGE.with(self.dialect, chunks).bind(batch.to_string()), "stage users of a batch")
            .await
            .map(drop)
    }

    /// Throws the staged users of a batch away that is not recorded.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn discard_chunks(&self, batch: BatchId) -> Result<(), StoreError> {
        in_steps(CHUNKS, || async {
            let delete = query(
                "DELETE FROM batch_chunks WHERE batch_id = $1 AND NOT EXISTS (SELECT 1 FROM batches WHERE id = $1)
                    AND number IN (SELECT number FROM batch_chunks WHERE batch_id = $1 ORDER BY number LIMIT $2)",
            );
            let delete = delete.bind(batch.to_string()).bind(CHUNKS);
            self.writer.in_background().execute(delete, "discard users of a batch").await
        })
        .await
        .map(drop)
    }

    /// Throws away what requests staged longer ago than `age` without recording a batch: their processes died. Returns
    /// how many chunks.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn discard_forgotten_chunks(&self, age: Duration) -> Result<u64, StoreError> {
        // Ids are UUIDv7: they sort by when they were made.
        let at = u64::try_from((clock::now() - age).millis()).unwrap_or(0) / 1_000;
        let oldest = Uuid::new_v7(UuidTimestamp::from_unix(NoContext, at, 0));
        in_steps(CHUNKS, || async {
            let delete = query(
                "DELETE FROM batch_chunks WHERE (batch_id, number) IN (
                    SELECT batch_id, number FROM batch_chunks
                    WHERE batch_id < $1 AND batch_id NOT IN (SELECT id FROM batches) LIMIT $2)",
            );
            let delete = delete.bind(oldest.to_string()).bind(CHUNKS);
            self.writer.in_background().execute(delete, "discard forgotten users of batches").await
        })
        .await
    }

    /// Records a batch whose users are staged, together with the answer that its request gets.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. Nothing of it is sent later unless [`StoreError::OutcomeUnknown`] says
    /// otherwise.
    pub async fn record_batch(
        &self,
        batch: &NewBatch,
        answer: Option<(KeyHolder, Answer)>,
    ) -> Result<BatchRecorded, StoreError> {
        let (dialect, batch, now) = (self.dialect, batch.clone(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    if let Some(answer) = &answer
                        && !idempotency::keep(dialect, &mut *on, &[answer]).await?.contains(&answer.0.request)
                    {
                        return Ok(BatchRecorded::KeyLost);
                    }
                    query(
            "INSERT INTO batches (id, merchant_id, brand_id, brand, template, template_version, coupon_id,
                webhook_url, link, mails, state, requested_at, wake_at, send_at, expires_at, test)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11, $12, $13, $14, $15)",
        )
        .bind(batch.id.to_string())
        .bind(batch.merchant.as_str())
        .bind(&batch.brand_id)
        .bind(&batch.brand)
        .bind(&batch.template)
        .bind(&batch.template_version)
        .bind(batch.coupon.clone())
        .bind(batch.webhook_url.clone())
        .bind(&batch.link)
        .bind(i64::try_from(batch.mails).unwrap_or(i64::MAX))
        .bind(now.millis())
        .bind((now + ENQUEUED_BY_INGRESS).millis())
        .bind(batch.schedule.send_at.map(Timestamp::millis))
        .bind(batch.schedule.expires_at.map(Timestamp::millis))
        .bind(i64::from(batch.is_test))
        .execute(&mut *on)
        .await
        .doing("record a batch")?;
                    Ok(BatchRecorded::Committed)
                }
                .boxed()
            })
            .await
    }
}
