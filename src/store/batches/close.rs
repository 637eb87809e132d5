//! The end of a batch, whose webhook and events are recorded once.

use serde::Serialize;

use crate::{
    clock,
    mail::{BatchEvent, BatchId, BatchState, MerchantId},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, NewEvent},
        row::Columns,
        sql::Sql,
        statement::query,
        webhooks::{self, NewCallback},
    },
    webhook::{
        EventKind,
        event::{self, BatchSubject},
    },
};

static CLOSE: Sql = Sql::new(
    "UPDATE batches SET state = $2, error = $3, finished_at = $4,
        wake_at = CASE $2 WHEN 'finished' THEN NULL ELSE $4 END,
        stopped_at = CASE $2 WHEN 'cancelled' THEN $4 ELSE NULL END,
        cancelled = cancelled + CASE $2 WHEN 'cancelled' THEN mails - made ELSE 0 END,
        failed = failed + CASE $2 WHEN 'failed' THEN mails - made ELSE 0 END
     WHERE id = $1 AND state IN {batch states before completed}
     RETURNING merchant_id, webhook_url, link, mails, sent, test",
);

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
    on: &mut Connection,
    batch: BatchId,
    event: BatchEvent,
    error: Option<&str>,
) -> Result<bool, StoreError> {
    let Some(state) = BatchState::Processing.after(event) else { return Ok(false) };
    let row = query(CLOSE.on(dialect))
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
        test: columns.integer("test")? != 0,
    };
    let body = event::body(kind, clock::now(), &subject);
    events::record(dialect, on, &[NewEvent { merchant, kind, body, mail: None, trace_parent: None }]).await?;
    Ok(true)
}
