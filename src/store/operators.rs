//! Operators: those who run the installation, or one merchant's part of it.

use serde_json::json;

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
};
use crate::{
    audit::Action,
    clock,
    mail::{MerchantId, Timestamp},
    shop::OperatorRole,
};

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRecord {
    /// The name to sign in with.
    pub name: String,
    /// What the operator may do.
    pub role: OperatorRole,
    /// Whose things alone the operator sees; none: everything.
    pub merchant: Option<MerchantId>,
    /// Argon2id, a PHC string.
    pub password_hash: String,
    /// When the operator was created.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "name, role, merchant_id, password_hash, created_at";

impl Store {
    /// Creates an operator.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken; else those of a write: see [`StoreError`].
    pub async fn create_operator(
        &self,
        name: &str,
        role: OperatorRole,
        merchant: Option<&MerchantId>,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Action::OperatorCreated, name, merchant);
        let insert = query(
            "INSERT INTO operators (name, role, merchant_id, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name.to_owned())
        .bind(role.as_str())
        .bind(merchant.map(MerchantId::to_string))
        .bind(password_hash.to_owned())
        .bind(clock::now().millis());
        let entry = entry.map(|entry| entry.with(json!({"role": role})));
        match self.change(insert, "create an operator", entry).await? {
            0 => Err(StoreError::Exists("an operator with this name")),
            _ => Ok(()),
        }
    }

    /// Finds an operator.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn operator(&self, name: &str) -> Result<Option<OperatorRecord>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM operators WHERE name = $1");
        let row = query(sqlx::AssertSqlSafe(text))
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .doing("find an operator")?;
        row.map(|row| read(&Columns { table: "operators", row: &row })).transpose()
    }

    /// Lists the operators by name; only those of a merchant, where one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn operators(&self, merchant: Option<&MerchantId>) -> Result<Vec<OperatorRecord>, StoreError> {
        let text = format!("SELECT {COLUMNS} FROM operators WHERE $1 = '' OR merchant_id = $1 ORDER BY name");
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
            .fetch_all(&self.readers)
            .await
            .doing("list operators")?;
        rows.iter().map(|row| read(&Columns { table: "operators", row })).collect()
    }

    /// Removes an operator; returns whether there was one.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn remove_operator(&self, name: &str) -> Result<bool, StoreError> {
        let merchant = self.operator(name).await?.and_then(|operator| operator.merchant);
        let entry = self.entry(Action::OperatorRemoved, name, merchant.as_ref());
        let delete = query("DELETE FROM operators WHERE name = $1").bind(name.to_owned());
        Ok(self.change(delete, "remove an operator", entry).await? > 0)
    }
}

fn read(columns: &Columns<'_>) -> Result<OperatorRecord, StoreError> {
    Ok(OperatorRecord {
        name: columns.text("name")?,
        role: columns.parsed("role")?,
        merchant: columns.optional_parsed("merchant_id")?,
        password_hash: columns.text("password_hash")?,
        created_at: columns.time("created_at")?,
    })
}
