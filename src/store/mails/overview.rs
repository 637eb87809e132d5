//! What operators see at a glance: how much waits, since when, and what failed. Each reads a bounded number of entries of
//! one index.

use crate::{
    mail::{MailId, MailLane, MailState, MerchantId, ReplyClass, Timestamp, search::MailCount},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
    },
};

/// Mails are counted up to here.
const MOST_COUNTED: i64 = 10_000;
/// How many merchants are asked for their oldest mail.
const MOST_MERCHANTS: i64 = 2_000;

/// A mail that failed.
#[derive(Clone, Debug)]
pub struct FailedMail {
    /// Its id.
    pub id: MailId,
    /// The name of its template.
    pub template: String,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// Whom it was for.
    pub recipient: String,
    /// What the last reply meant.
    pub class: Option<ReplyClass>,
    /// The last route.
    pub route: Option<String>,
    /// Why the last attempt did not deliver it.
    pub error: Option<String>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
}

impl Store {
    /// How many mails of a lane are on their way, up to 10,000.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn waiting_in_lane(&self, lane: MailLane) -> Result<MailCount, StoreError> {
        let count = sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE lane = $1 AND wake_at IS NOT NULL LIMIT $2) AS counted",
        )
        .bind(lane.as_str())
        .bind(MOST_COUNTED + 1);
        counted(count.fetch_one(&self.readers).await.doing("count mails under way")?)
    }

    /// How many mails of a merchant are on their way, up to 10,000.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn waiting_of(&self, merchant: &MerchantId) -> Result<MailCount, StoreError> {
        let count = sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE merchant_id = $1 AND wake_at IS NOT NULL LIMIT $2) AS counted",
        )
        .bind(merchant.as_str())
        .bind(MOST_COUNTED + 1);
        counted(count.fetch_one(&self.readers).await.doing("count mails under way")?)
    }

    /// How many mails are in a settled state that is not `sent`, of 10,000 at most; of this merchant, when one is given. Those of
    /// the sandbox do not count: nobody has to do anything about them.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn failing(
        &self,
        merchant: Option<&MerchantId>,
        state: MailState,
    ) -> Result<MailCount, StoreError> {
        let text = match merchant {
            Some(_) => {
                "SELECT COUNT(*) AS looked_at, CAST(COALESCE(SUM(1 - test), 0) AS BIGINT) AS in_earnest FROM
                    (SELECT test FROM mails WHERE state_after = $1 AND merchant_id = $3 LIMIT $2) AS failing"
            }
            None => {
                "SELECT COUNT(*) AS looked_at, CAST(COALESCE(SUM(1 - test), 0) AS BIGINT) AS in_earnest FROM
                    (SELECT test FROM mails WHERE state_after = $1 AND state_after <> 'sent'
                        AND state_after <> 'deferred' AND $3 = '' LIMIT $2) AS failing"
            }
        };
        let count = query(text)
            .bind(state.as_str())
            .bind(MOST_COUNTED + 1)
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default());
        let row = count.fetch_one(&self.readers).await.doing("count mails that failed")?;
        let columns = Columns { table: "mails", row: &row };
        let more = columns.integer("looked_at")? > MOST_COUNTED;
        Ok(MailCount { more, ..counted(columns.integer("in_earnest")?)? })
    }

    /// When the oldest mail was recorded that is on its way; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn oldest_waiting(
        &self,
        merchant: Option<&MerchantId>,
    ) -> Result<Option<Timestamp>, StoreError> {
        // Rows are compared, for ordered by the id alone Postgres might read the primary key. A merchant without such a mail
        // yields that of the next merchant, which does no harm.
        const OLDEST: &str = "SELECT recorded_at FROM mails WHERE (merchant_id, id) > (merchants.id, '')
            AND wake_at IS NOT NULL ORDER BY merchant_id, id LIMIT 1";
        let text = match merchant {
            Some(_) => {
                "SELECT MIN(recorded_at) FROM (SELECT merchant_id, recorded_at FROM mails
                    WHERE (merchant_id, id) > ($1, '') AND wake_at IS NOT NULL ORDER BY merchant_id, id LIMIT 1) AS first
                 WHERE merchant_id = $1"
                    .to_owned()
            }
            None => format!(
                "SELECT MIN(oldest) FROM (SELECT ({OLDEST}) AS oldest FROM merchants
                    WHERE $1 = '' ORDER BY id LIMIT {MOST_MERCHANTS}) AS each_of"
            ),
        };
        sqlx::query_scalar::<_, Option<i64>>(sqlx::AssertSqlSafe(text))
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
            .fetch_one(&self.readers)
            .await
            .map(|oldest| oldest.map(Timestamp))
            .doing("find the oldest mail under way")
    }

    /// The newest mails that failed, so many at most, the newest first; of this merchant, when one is given. Those of the
    /// sandbox are left out.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn newest_failed(
        &self,
        merchant: Option<&MerchantId>,
        most: u32,
    ) -> Result<Vec<FailedMail>, StoreError> {
        let range = match merchant {
            Some(_) => {
                "state_after IS NOT NULL AND (state_after, merchant_id, id) > ('failed', $1, '')
                 AND (state_after, merchant_id, id) < ('failed', $1, 'g')
                 ORDER BY state_after DESC, merchant_id DESC, id DESC"
            }
            None => {
                "state_after <> 'sent' AND state_after <> 'deferred' AND $1 = ''
                 AND (state_after, id) > ('failed', '') AND (state_after, id) < ('failed', 'g')
                 ORDER BY state_after DESC, id DESC"
            }
        };
        let text = format!(
            "SELECT id, template, merchant_id, recipient, class, route, error, settled_at FROM
                (SELECT * FROM mails WHERE {range} LIMIT $2) AS newest WHERE test = 0 ORDER BY id DESC"
        );
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await
            .doing("list mails that failed")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "mails", row };
                Ok(FailedMail {
                    id: columns.parsed("id")?,
                    template: columns.text("template")?,
                    merchant: columns.parsed("merchant_id")?,
                    recipient: columns.text("recipient")?,
                    class: columns.optional_parsed("class")?,
                    route: columns.optional_text("route")?,
                    error: columns.optional_text("error")?,
                    settled_at: columns.optional_time("settled_at")?,
                })
            })
            .collect()
    }
}

fn counted(count: i64) -> Result<MailCount, StoreError> {
    let count = count.max(0);
    Ok(MailCount { count: count.min(MOST_COUNTED).unsigned_abs(), more: count > MOST_COUNTED })
}
