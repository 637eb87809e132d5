//! Finding and listing suppressions. Those that have ended are not there.

use super::record::{COLUMNS, SuppressionRecord, read};
use crate::{
    clock,
    mail::{Address, MerchantId, SuppressionReason},
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
    },
};

/// Where a list goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuppressionCursor {
    key: String,
    scope: &'static str,
}

impl SuppressionCursor {
    /// After an address, with all that is known of it.
    pub fn after(address: &Address) -> Self {
        Self { key: address.search_key(), scope: "z" } // after the scopes, in every collation
    }

    /// After a suppression.
    pub fn after_record(record: &SuppressionRecord) -> Self {
        let key = record.address.rsplit_once('@').map(|(local, domain)| format!("{domain}@{local}"));
        Self { key: key.unwrap_or_default(), scope: record.scope.as_str() }
    }
}

impl Store {
    /// The suppression of an address that stops most, if one is in force.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn suppression(
        &self,
        merchant: &MerchantId,
        address: &Address,
    ) -> Result<Option<SuppressionRecord>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM suppressions WHERE merchant_id = $1 AND address_key = $2
                AND (expires_at IS NULL OR expires_at > $3) ORDER BY scope LIMIT 1"
        );
        let row = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.as_str())
            .bind(address.search_key())
            .bind(clock::now().millis())
            .fetch_optional(&self.readers)
            .await
            .doing("find a suppression")?;
        row.map(|row| read(&Columns { table: "suppressions", row: &row })).transpose()
    }

    /// Lists suppressions by domain and local part, one for each address: the one that stops most. With a reason, only
    /// those that have it.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn suppressions(
        &self,
        merchant: &MerchantId,
        reason: Option<SuppressionReason>,
        after: &SuppressionCursor,
        limit: u32,
    ) -> Result<Vec<SuppressionRecord>, StoreError> {
        self.list_suppressions(merchant, reason, after, limit, false).await
    }

    /// The same with those that another one of the same address hides: everything, for a copy.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn all_suppressions(
        &self,
        merchant: &MerchantId,
        reason: Option<SuppressionReason>,
        after: &SuppressionCursor,
        limit: u32,
    ) -> Result<Vec<SuppressionRecord>, StoreError> {
        self.list_suppressions(merchant, reason, after, limit, true).await
    }

    async fn list_suppressions(
        &self,
        merchant: &MerchantId,
        reason: Option<SuppressionReason>,
        after: &SuppressionCursor,
        limit: u32,
        is_all: bool,
    ) -> Result<Vec<SuppressionRecord>, StoreError> {
        let hidden = "AND NOT (scope = 'promotional' AND EXISTS (
            SELECT 1 FROM suppressions AS wider WHERE wider.merchant_id = suppressions.merchant_id
                AND wider.address_key = suppressions.address_key AND wider.scope = 'all'
                AND (wider.expires_at IS NULL OR wider.expires_at > $5) AND ($4 = '' OR wider.reason = $4)))";
        let text = format!(
            "SELECT {COLUMNS} FROM suppressions
             WHERE merchant_id = $1 AND (address_key, scope) > ($2, $3) AND ($4 = '' OR reason = $4)
                AND (expires_at IS NULL OR expires_at > $5) {}
             ORDER BY address_key, scope LIMIT $6",
            if is_all { "" } else { hidden }
        );
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.as_str())
            .bind(after.key.as_str())
            .bind(after.scope)
            .bind(reason.map(SuppressionReason::as_str).unwrap_or_default())
            .bind(clock::now().millis())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .doing("list suppressions")?;
        rows.iter().map(|row| read(&Columns { table: "suppressions", row })).collect()
    }

    /// The newest suppressions of a merchant, those before the one with the id `before`; of this address alone, where
    /// one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn newest_suppressions(
        &self,
        merchant: &MerchantId,
        address: Option<&Address>,
        before: &str,
        limit: u32,
    ) -> Result<Vec<SuppressionRecord>, StoreError> {
        let only = if address.is_some() { "AND address_key = $5" } else { "AND $5 = ''" };
        let text = format!(
            "SELECT {COLUMNS} FROM suppressions WHERE merchant_id = $1 AND ($2 = '' OR id < $2)
                AND (expires_at IS NULL OR expires_at > $3) {only} ORDER BY id DESC LIMIT $4"
        );
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.as_str())
            .bind(before)
            .bind(clock::now().millis())
            .bind(i64::from(limit))
            .bind(address.map(Address::search_key).unwrap_or_default())
            .fetch_all(&self.readers)
            .await
            .doing("list the newest suppressions")?;
        rows.iter().map(|row| read(&Columns { table: "suppressions", row })).collect()
    }

    /// The address of the suppression with this id.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn suppression_with_id(
        &self,
        merchant: &MerchantId,
        id: &str,
    ) -> Result<Option<Address>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM suppressions WHERE merchant_id = $1 AND id = $2");
        let row = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.as_str())
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .doing("find a suppression")?;
        let Some(row) = row else { return Ok(None) };
        let record = read(&Columns { table: "suppressions", row: &row })?;
        Ok(record.address.parse().ok())
    }
}
