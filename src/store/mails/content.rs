//! A mail with all that it is rendered from, for people who look at it.

use super::claim::{COLUMNS, read};
use crate::{
    mail::{Mail, MailId, MerchantId},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
    },
};

impl Store {
    /// Reads a mail as a worker would; of this merchant, when one is given. It stays where it is.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mail_to_look_at(
        &self,
        merchant: Option<&MerchantId>,
        id: MailId,
    ) -> Result<Option<Mail>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM mails WHERE id = $1 AND ($2 = '' OR merchant_id = $2)"
        )))
        .bind(id.to_string())
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_optional(&self.readers)
        .await
        .doing("read a mail")?;
        row.map(|row| read(&Columns { table: "mails", row: &row })).transpose()
    }
}
