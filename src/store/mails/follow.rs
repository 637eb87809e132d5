//! Following mails as they come and move: for the command line.

use std::sync::LazyLock;

use super::look_up::{COLUMNS, MailRecord, read};
use crate::{
    mail::{MailId, MerchantId},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

static BY_ID: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "SELECT {COLUMNS} FROM mails WHERE id IN (SELECT id FROM {{rows: id text}}) ORDER BY id"
    ))
});

impl Store {
    /// The newest mails, newest first; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn newest_mails(
        &self,
        merchant: Option<&MerchantId>,
        most: u32,
    ) -> Result<Vec<MailRecord>, StoreError> {
        let condition = if merchant.is_some() { "merchant_id = $1" } else { "$1 = ''" };
        let text = format!("SELECT {COLUMNS} FROM mails WHERE {condition} ORDER BY id DESC LIMIT $2");
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await
            .doing("list the newest mails")?;
        rows.iter().map(|row| read(&Columns { table: "mails", row })).collect()
    }

    /// Mails with ids after `after`, oldest first; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mails_after(
        &self,
        merchant: Option<&MerchantId>,
        after: Option<MailId>,
        most: u32,
    ) -> Result<Vec<MailRecord>, StoreError> {
        let condition = if merchant.is_some() { "merchant_id = $1" } else { "$1 = ''" };
        let text = format!("SELECT {COLUMNS} FROM mails WHERE {condition} AND id > $2 ORDER BY id LIMIT $3");
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await
            .doing("list mails that came")?;
        rows.iter().map(|row| read(&Columns { table: "mails", row })).collect()
    }

    /// The mails with these ids, oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mails_with_ids(&self, ids: &[MailId]) -> Result<Vec<MailRecord>, StoreError> {
        #[derive(serde::Serialize)]
        struct Row {
            id: MailId,
        }
        let ids: Vec<_> = ids.iter().map(|id| Row { id: *id }).collect();
        let rows = BY_ID
            .with(self.dialect, &ids)
            .fetch_all(&self.readers)
            .await
            .doing("find mails that are followed")?;
        rows.iter().map(|row| read(&Columns { table: "mails", row })).collect()
    }
}
