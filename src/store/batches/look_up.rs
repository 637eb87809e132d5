//! Reading batches back, for merchants and operators.

use super::counts::SPAN;
use crate::{
    mail::{BatchId, BatchState, MailState, MerchantId, Schedule, Timestamp},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
    },
};

/// A batch as it is recorded.
#[derive(Clone, Debug)]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// Whose batch it is.
    pub merchant: MerchantId,
    /// The brand that its members belong to.
    pub brand_id: String,
    /// The brand's document as it was when the batch was recorded.
    pub brand: String,
    /// The name of its template.
    pub template: String,
    /// The version of the template that all its mails are rendered from.
    pub template_version: String,
    /// What its mails link to a pass of.
    pub coupon: Option<String>,
    /// The URL that is notified when it is over.
    pub webhook_url: Option<String>,
    /// Where it is on its way.
    pub state: BatchState,
    /// Why it failed.
    pub error: Option<String>,
    /// Since when none of its mails may be claimed.
    pub stopped_at: Option<Timestamp>,
    /// When it was recorded.
    pub requested_at: Timestamp,
    /// When its first mails were made.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// When its mails may go, and until when.
    pub schedule: Schedule,
    /// Whether they go to the sandbox and never to a relay.
    pub is_test: bool,
    /// How many mails it is of.
    pub mails: u64,
    /// How many of them are made.
    pub made: u64,
    /// How many of those are not in the queue for the first time any more.
    pub tried: u64,
    /// How many are in each settled state.
    pub settled: Vec<(MailState, u64)>,
    span: i64,
    in_span: u64,
    in_span_before: u64,
}

impl BatchRecord {
    /// Since when it is paused.
    pub fn paused_at(&self) -> Option<Timestamp> {
        self.stopped_at.filter(|_| self.state.is_open())
    }

    /// How many of its mails are settled.
    pub fn settled_mails(&self) -> u64 {
        self.settled.iter().map(|(_, mails)| mails).sum()
    }

    /// Mails settled in a second, over the last ten.
    pub fn rate(&self, now: Timestamp) -> f64 {
        let (span, into) = (now.millis().div_euclid(SPAN * 1_000), now.millis().rem_euclid(SPAN * 1_000));
        let part_before = 1.0 - into as f64 / (SPAN * 1_000) as f64;
        let (before, now) = match span - self.span {
            0 => (self.in_span_before, self.in_span),
            1 => (self.in_span, 0),
            _ => (0, 0),
        };
        (before as f64 * part_before + now as f64) / SPAN as f64
    }
}

const COLUMNS: &str = "id, merchant_id, brand_id, brand, template, template_version, coupon_id, webhook_url, state,
    error, stopped_at, requested_at, started_at, finished_at, mails, made, tried, sent, failed, bounced, suppressed,
    cancelled, expired, held, span, in_span, in_span_before, send_at, expires_at, test";

impl Store {
    /// Finds a batch; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
    ) -> Result<Option<BatchRecord>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM batches WHERE id = $1 AND ($2 = '' OR merchant_id = $2)"
        )))
        .bind(id.to_string())
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_optional(&self.readers)
        .await
        .doing("find a batch")?;
        row.map(|row| read(&Columns { table: "batches", row: &row })).transpose()
    }

    /// Lists batches, newest first; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn batches(
        &self,
        merchant: Option<&MerchantId>,
        limit: u32,
    ) -> Result<Vec<BatchRecord>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM batches WHERE ($1 = '' OR merchant_id = $1) ORDER BY id DESC LIMIT $2"
        )))
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list batches")?;
        rows.iter().map(|row| read(&Columns { table: "batches", row })).collect()
    }

    /// Lists batches, newest first, those before `before`; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn batches_before(
        &self,
        merchant: Option<&MerchantId>,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Vec<BatchRecord>, StoreError> {
        let only = if merchant.is_some() { "merchant_id = $1" } else { "$1 = ''" };
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM batches WHERE {only} AND id < $2 ORDER BY id DESC LIMIT $3"
        )))
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .bind(before.map_or_else(|| "g".to_owned(), |id| id.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list batches")?;
        rows.iter().map(|row| read(&Columns { table: "batches", row })).collect()
    }

    /// How many mails of a batch are in each state that is not settled. It reads those mails.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn batch_under_way(&self, id: BatchId) -> Result<Vec<(MailState, u64)>, StoreError> {
        let rows = query(
            "SELECT state, COUNT(*) AS mails FROM mails WHERE batch_id = $1 AND wake_at IS NOT NULL GROUP BY state",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .doing("count mails of a batch")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "mails", row };
                Ok((columns.parsed("state")?, columns.count("mails")?))
            })
            .collect()
    }
}

fn read(columns: &Columns<'_>) -> Result<BatchRecord, StoreError> {
    let settled = MailState::ALL
        .iter()
        .filter(|state| state.is_settled())
        .map(|state| Ok((*state, columns.count(state.as_str())?)))
        .collect::<Result<_, StoreError>>()?;
    Ok(BatchRecord {
        id: columns.parsed("id")?,
        merchant: columns.parsed("merchant_id")?,
        brand_id: columns.text("brand_id")?,
        brand: columns.text("brand")?,
        template: columns.text("template")?,
        template_version: columns.text("template_version")?,
        coupon: columns.optional_text("coupon_id")?,
        webhook_url: columns.optional_text("webhook_url")?,
        state: columns.parsed("state")?,
        error: columns.optional_text("error")?,
        stopped_at: columns.optional_time("stopped_at")?,
        requested_at: columns.time("requested_at")?,
        started_at: columns.optional_time("started_at")?,
        finished_at: columns.optional_time("finished_at")?,
        schedule: Schedule {
            send_at: columns.optional_time("send_at")?,
            expires_at: columns.optional_time("expires_at")?,
        },
        is_test: columns.integer("test")? != 0,
        mails: columns.count("mails")?,
        made: columns.count("made")?,
        tried: columns.count("tried")?,
        settled,
        span: columns.integer("span")?,
        in_span: columns.count("in_span")?,
        in_span_before: columns.count("in_span_before")?,
    })
}
