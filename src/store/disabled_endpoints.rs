//! Endpoints that postroom disabled itself, and the mail that notifies their merchants.

use crate::{
    clock,
    mail::{EndpointId, MerchantId, NewMail, Timestamp},
    store::{
        database::Store,
        error::{Doing, StoreError},
        group::Grouped,
        mails::Recording,
        row::Columns,
        statement::query,
    },
};
use futures_util::FutureExt;

/// The most in one round.
const ROUND: i64 = 100;

/// An endpoint that postroom disabled and whose merchant was not notified yet.
#[derive(Clone, Debug)]
pub struct DisabledEndpoint {
    /// The endpoint.
    pub id: EndpointId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// Where callbacks went.
    pub url: String,
    /// `gone` or `failing`.
    pub reason: String,
    /// When it was disabled.
    pub at: Timestamp,
}

impl Store {
    /// Lists endpoints that postroom disabled and whose merchants were not notified yet.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn disabled_endpoints(&self) -> Result<Vec<DisabledEndpoint>, StoreError> {
        let rows = query(
            "SELECT id, merchant_id, url, disabled_reason, disabled_at FROM endpoints
             WHERE disabled_at IS NOT NULL AND notified_at IS NULL ORDER BY disabled_at LIMIT $1",
        )
        .bind(ROUND)
        .fetch_all(&self.readers)
        .await
        .doing("find disabled endpoints")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "endpoints", row };
                Ok(DisabledEndpoint {
                    id: columns.parsed("id")?,
                    merchant: columns.parsed("merchant_id")?,
                    url: columns.text("url")?,
                    reason: columns.text("disabled_reason")?,
                    at: columns.time("disabled_at")?,
                })
            })
            .collect()
    }

    /// Records the mail that notifies a merchant of a disabled endpoint, or that there is no address to notify; returns
    /// whether this call did it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn record_notified(
        &self,
        endpoint: EndpointId,
        mail: Option<NewMail>,
    ) -> Result<bool, StoreError> {
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let done = query(
            "UPDATE endpoints SET notified_at = $2 WHERE id = $1 AND disabled_at IS NOT NULL AND notified_at IS NULL",
        )
        .bind(endpoint.to_string())
        .bind(clock::now().millis())
        .execute(&mut *on)
        .await
        .doing("note that a merchant was notified")?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let recording = Recording { mails: mail.into_iter().collect(), ..Recording::default() };
                    Recording::write(dialect, on, &[recording]).await?;
                    Ok(true)
                }
                .boxed()
            })
            .await
    }
}
