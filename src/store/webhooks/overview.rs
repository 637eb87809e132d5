//! Endpoints and deliveries for operators: of one merchant or of all, and about one mail.

use super::{
    deliveries::{DeliveryRecord, RECORD_COLUMNS, read as read_delivery},
    endpoints::{COLUMNS, Endpoint, read as read_endpoint},
};
use crate::{
    mail::{DeliveryId, EndpointId, MailId, MerchantId},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
    },
};

/// The most deliveries about one mail that are shown.
const ABOUT_A_MAIL: i64 = 200;

/// A delivery and where it goes.
#[derive(Clone, Debug)]
pub struct DeliveryAbout {
    /// The delivery.
    pub delivery: DeliveryRecord,
    /// The endpoint that it goes to.
    pub endpoint: EndpointId,
}

impl Store {
    /// Lists endpoints by id, those after `after`; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn endpoints_of(
        &self,
        merchant: Option<&MerchantId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(MerchantId, Endpoint)>, StoreError> {
        let only = if merchant.is_some() { "merchant_id = $1" } else { "$1 = ''" };
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT merchant_id, {COLUMNS} FROM endpoints WHERE {only} AND id > $2 ORDER BY id LIMIT $3"
        )))
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list endpoints")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "endpoints", row };
                Ok((columns.parsed("merchant_id")?, read_endpoint(&columns)?))
            })
            .collect()
    }

    /// Lists the deliveries to an endpoint, newest first, those before `before`.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn deliveries_before(
        &self,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "{RECORD_COLUMNS} WHERE endpoint_id = $1 AND deliveries.id < $2
             ORDER BY endpoint_id DESC, deliveries.id DESC LIMIT $3"
        )))
        .bind(endpoint.to_string())
        .bind(before.map_or_else(|| "g".to_owned(), |id| id.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list deliveries")?;
        rows.iter().map(|row| read_delivery(&Columns { table: "deliveries", row })).collect()
    }

    /// What merchants were told about a mail, the oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn deliveries_about(&self, mail: MailId) -> Result<Vec<DeliveryAbout>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "{RECORD_COLUMNS} WHERE events.mail_id = $1 ORDER BY deliveries.id LIMIT $2"
        )))
        .bind(mail.to_string())
        .bind(ABOUT_A_MAIL)
        .fetch_all(&self.readers)
        .await
        .doing("list deliveries about a mail")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "deliveries", row };
                Ok(DeliveryAbout {
                    delivery: read_delivery(&columns)?,
                    endpoint: columns.parsed("endpoint_id")?,
                })
            })
            .collect()
    }
}
