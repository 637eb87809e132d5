//! Stopping batches: pause and resume, cancel, fail; and the end of each, whose webhook is recorded once.

use futures_util::FutureExt;
use serde::Serialize;
use sqlx::AnyConnection;

use super::counts::{BatchMove, follow};
use crate::{
    clock,
    mail::{BatchEvent, BatchId, BatchState, MailState, MerchantId},
    store::{
        Doing, NewCallback, Store, StoreError,
        dialect::{Dialect, Sql},
        events::{self, NewEvent},
        row::Columns,
        webhooks,
    },
    webhook::{
        EventKind,
        event::{self, BatchSubject},
    },
};

/// The most mails that are taken back in one transaction.
const MAILS: i64 = 1_000;
/// The most chunks that are thrown away in one transaction.
const CHUNKS: i64 = 20;

/// The result of moving a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchMoved {
    /// It is so now.
    Now,
    /// It is over, in this state.
    Over(BatchState),
    /// There is no such batch.
    Unknown,
}

/// How far a batch is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// There is more to take back.
    More,
    /// The rest is just being sent; look again in a while.
    Waits,
    /// All of it.
    Done,
}

impl Store {
    /// Stops a batch, or lets it go on: while it is paused none of its mails is made or claimed.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn pause_batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
        paused: bool,
    ) -> Result<BatchMoved, StoreError> {
        let Some(batch) = self.batch(merchant, id).await? else { return Ok(BatchMoved::Unknown) };
        let now = clock::now().millis();
        let done = self
            .writer
            .run(move |on| {
                async move {
                    if !paused {
                        // While it was paused their jobs did nothing.
                        sqlx::query(
                            "UPDATE mails SET wake_at = due_at WHERE batch_id = $1 AND wake_at > due_at
                    AND state IN ('queued', 'deferred')",
                        )
                        .bind(id.to_string())
                        .execute(&mut *on)
                        .await
                        .doing("make the mails of a batch due")?;
                    }
                    let stop = if paused { "COALESCE(stopped_at, $2)" } else { "NULL" };
                    let wake = if paused { "NULL" } else { "$2" };
                    let done = sqlx::query(sqlx::AssertSqlSafe(format!(
                        "UPDATE batches SET stopped_at = {stop}, wake_at = {wake}
             WHERE id = $1 AND $2 > 0 AND state IN ('queued', 'processing')"
                    )))
                    .bind(id.to_string())
                    .bind(now)
                    .execute(&mut *on)
                    .await
                    .doing("pause or resume a batch")?;
                    Ok(done.rows_affected() == 1)
                }
                .boxed()
            })
            .await?;
        self.moved(done, id, batch.state).await
    }

    /// Cancels a batch: nothing more of it is sent, and its webhook reports it as failed.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn cancel_batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
    ) -> Result<BatchMoved, StoreError> {
        let Some(batch) = self.batch(merchant, id).await? else { return Ok(BatchMoved::Unknown) };
        let closed = self.close_batch(id, BatchEvent::Cancelled, "cancelled").await?;
        self.moved(closed, id, batch.state).await
    }

    /// Gives a batch up that cannot be run. What was made of it goes on.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn fail_batch(&self, id: BatchId, error: &str) -> Result<bool, StoreError> {
        self.close_batch(id, BatchEvent::Failed, error).await
    }

    async fn close_batch(&self, id: BatchId, event: BatchEvent, error: &str) -> Result<bool, StoreError> {
        let (dialect, error) = (self.dialect, error.to_owned());
        self.writer
            .run(move |on| async move { close(dialect, on, id, event, Some(&error)).await }.boxed())
            .await
    }

    async fn moved(&self, done: bool, id: BatchId, seen: BatchState) -> Result<BatchMoved, StoreError> {
        if done {
            return Ok(BatchMoved::Now);
        }
        let now = self.batch(None, id).await?;
        Ok(BatchMoved::Over(now.map_or(seen, |batch| batch.state)))
    }

    /// Takes back a part of what a closed batch has not sent: mails of a cancelled one, and users whose mails were
    /// never made.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn take_back(&self, id: BatchId, state: BatchState) -> Result<TakenBack, StoreError> {
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let mails = match state {
                        BatchState::Cancelled => cancel_mails(dialect, &mut *on, id).await?,
                        _ => 0,
                    };
                    let chunks = sqlx::query(
                        "DELETE FROM batch_chunks WHERE batch_id = $1 AND number IN (
                SELECT number FROM batch_chunks WHERE batch_id = $1 ORDER BY number LIMIT $2)",
                    )
                    .bind(id.to_string())
                    .bind(CHUNKS)
                    .execute(&mut *on)
                    .await
                    .doing("throw users of a batch away")?
                    .rows_affected();
                    let is_under_way = state == BatchState::Cancelled
                        && sqlx::query(
                            "SELECT 1 FROM mails WHERE batch_id = $1 AND wake_at IS NOT NULL LIMIT 1",
                        )
                        .bind(id.to_string())
                        .fetch_optional(&mut *on)
                        .await
                        .doing("look for mails of a batch")?
                        .is_some();
                    let taken = match (mails + chunks, is_under_way) {
                        (0, false) => TakenBack::Done,
                        (0, true) => TakenBack::Waits,
                        _ => TakenBack::More,
                    };
                    if taken == TakenBack::Done {
                        sqlx::query("UPDATE batches SET wake_at = NULL, stopped_at = NULL WHERE id = $1")
                            .bind(id.to_string())
                            .execute(&mut *on)
                            .await
                            .doing("leave a batch alone")?;
                    }
                    Ok(taken)
                }
                .boxed()
            })
            .await
    }
}

static CANCEL_MAILS: Sql = Sql::new(
    "UPDATE mails SET state = 'cancelled', wake_at = NULL, settled_at = $2 WHERE id IN (
        SELECT id FROM mails WHERE batch_id = $1 AND wake_at IS NOT NULL AND state IN ('queued', 'deferred')
        LIMIT $3 {skip_locked})
     RETURNING attempt",
);

async fn cancel_mails(dialect: Dialect, on: &mut AnyConnection, batch: BatchId) -> Result<u64, StoreError> {
    let rows = sqlx::query(CANCEL_MAILS.on(dialect))
        .bind(batch.to_string())
        .bind(clock::now().millis())
        .bind(MAILS)
        .fetch_all(&mut *on)
        .await
        .doing("cancel mails of a batch")?;
    let moves = rows
        .iter()
        .map(|row| {
            let is_first_try = Columns { table: "mails", row }.integer("attempt")? == 0;
            Ok(BatchMove { batch, from: MailState::Queued, to: MailState::Cancelled, is_first_try })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    follow(dialect, on, &moves).await?;
    Ok(rows.len() as u64)
}

const CLOSE: &str = "UPDATE batches SET state = $2, error = $3, finished_at = $4,
        wake_at = CASE $2 WHEN 'finished' THEN NULL ELSE $4 END,
        stopped_at = CASE $2 WHEN 'cancelled' THEN $4 ELSE NULL END,
        cancelled = cancelled + CASE $2 WHEN 'cancelled' THEN mails - made ELSE 0 END,
        failed = failed + CASE $2 WHEN 'failed' THEN mails - made ELSE 0 END
     WHERE id = $1 AND state IN ('queued', 'processing')
     RETURNING merchant_id, webhook_url, link, mails, sent";

/// The body of a batch's webhook, as the source document has it.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum BatchWebhook<'a> {
    Success { batch_id: BatchId, link: &'a str },
    Failed { batch_id: BatchId, error: &'a str },
}

/// Closes an open batch and records its webhook and events; returns whether it was open. What was never made counts as
/// cancelled or failed.
pub(super) async fn close(
    dialect: Dialect,
    on: &mut AnyConnection,
    batch: BatchId,
    event: BatchEvent,
    error: Option<&str>,
) -> Result<bool, StoreError> {
    let Some(state) = BatchState::Processing.after(event) else { return Ok(false) };
    let row = sqlx::query(CLOSE)
        .bind(batch.to_string())
        .bind(state.as_str())
        .bind(error)
        .bind(clock::now().millis())
        .fetch_optional(&mut *on)
        .await
        .doing("close a batch")?;
    let Some(row) = row else { return Ok(false) };
    let columns = Columns { table: "batches", row: &row };
    let merchant: MerchantId = columns.parsed("merchant_id")?;
    let link = columns.text("link")?;
    let webhook = match error {
        None => BatchWebhook::Success { batch_id: batch, link: &link },
        Some(error) => BatchWebhook::Failed { batch_id: batch, error },
    };
    if let Some(url) = columns.optional_text("webhook_url")? {
        let body = serde_json::to_string(&webhook).unwrap_or_default();
        let unique_key = format!("batch:{batch}");
        let callback = NewCallback { merchant: merchant.clone(), url, body, unique_key };
        webhooks::record_callbacks(dialect, on, &[callback]).await?;
    }
    let (mails, sent) = (columns.count("mails")?, columns.count("sent")?);
    let kind = if error.is_none() { EventKind::BatchFinished } else { EventKind::BatchFailed };
    let subject = BatchSubject {
        id: batch.to_string(),
        status: if error.is_none() { "finished" } else { "failed" },
        mails,
        sent,
        failed: mails.saturating_sub(sent),
        link: error.is_none().then_some(link),
        error: error.map(str::to_owned),
    };
    let body = event::body(kind, clock::now(), &subject);
    events::record(dialect, on, &[NewEvent { merchant, kind, body }]).await?;
    Ok(true)
}
