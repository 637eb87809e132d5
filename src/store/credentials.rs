//! Merchants' accounts and tokens. Of a password and a token only the hash is stored.

use serde_json::json;

use super::{
    database::Store,
    error::{Doing, StoreError},
    merchants::{MERCHANT, Merchant, created, read as read_merchant},
    row::Columns,
    statement::query,
};
use crate::{
    audit::Action,
    clock,
    mail::{MerchantId, Timestamp, TokenId},
};

/// A user name and the hash of its password.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose account.
    pub merchant: Merchant,
    /// Argon2id, a PHC string.
    pub password_hash: String,
}

/// An account in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// The user name.
    pub username: String,
    /// Whose account.
    pub merchant: MerchantId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// What it is called where it must not be shown.
    pub id: TokenId,
    /// Whose token.
    pub merchant: Merchant,
    /// What it may do, comma-separated.
    pub abilities: String,
    /// After this it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// Whether what is asked for with it goes to the sandbox and never to a relay.
    pub is_test: bool,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// What it is called.
    pub id: TokenId,
    /// Whose token.
    pub merchant: MerchantId,
    /// What it may do, comma-separated.
    pub abilities: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// After this it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
    /// Whether what is asked for with it goes to the sandbox and never to a relay.
    pub is_test: bool,
}

impl Store {
    /// Creates an account.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the user name is taken; else those of a write: see [`StoreError`].
    pub async fn create_account(
        &self,
        merchant: &MerchantId,
        username: &str,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Action::AccountCreated, username, Some(merchant));
        let insert = query(
            "INSERT INTO accounts (username, merchant_id, password_hash, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (username) DO NOTHING",
        )
        .bind(username.to_owned())
        .bind(merchant.to_string())
        .bind(password_hash.to_owned())
        .bind(clock::now().millis());
        created(self.change(insert, "create an account", entry).await?, "an account with this user name")
    }

    /// Finds an account by its user name.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT accounts.password_hash, {MERCHANT} FROM accounts
             JOIN merchants ON merchants.id = accounts.merchant_id WHERE accounts.username = $1"
        )))
        .bind(username)
        .fetch_optional(&self.readers)
        .await
        .doing("find an account")?;
        row.map(|row| {
            let columns = Columns { table: "accounts", row: &row };
            Ok(Account { merchant: read_merchant(&columns)?, password_hash: columns.text("password_hash")? })
        })
        .transpose()
    }

    /// Lists accounts by merchant and user name; only those of a merchant, where one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn accounts(&self, merchant: Option<&MerchantId>) -> Result<Vec<AccountRecord>, StoreError> {
        let rows = query(
            "SELECT username, merchant_id, created_at FROM accounts
             WHERE $1 = '' OR merchant_id = $1 ORDER BY merchant_id, username",
        )
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_all(&self.readers)
        .await
        .doing("list accounts")?;
        let read = |columns: &Columns<'_>| {
            Ok(AccountRecord {
                username: columns.text("username")?,
                merchant: columns.parsed("merchant_id")?,
                created_at: columns.time("created_at")?,
            })
        };
        rows.iter().map(|row| read(&Columns { table: "accounts", row })).collect()
    }

    /// Gives an account of this merchant another password; returns whether there is such an account.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn rotate_account(
        &self,
        merchant: &MerchantId,
        username: &str,
        password_hash: &str,
    ) -> Result<bool, StoreError> {
        let entry = self.entry(Action::AccountRotated, username, Some(merchant));
        let update = query("UPDATE accounts SET password_hash = $3 WHERE merchant_id = $1 AND username = $2")
            .bind(merchant.to_string())
            .bind(username.to_owned())
            .bind(password_hash.to_owned());
        Ok(self.change(update, "change a password", entry).await? > 0)
    }

    /// Removes an account of this merchant; returns whether there was one.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn remove_account(&self, merchant: &MerchantId, username: &str) -> Result<bool, StoreError> {
        let entry = self.entry(Action::AccountRemoved, username, Some(merchant));
        let delete = query("DELETE FROM accounts WHERE merchant_id = $1 AND username = $2")
            .bind(merchant.to_string())
            .bind(username.to_owned());
        Ok(self.change(delete, "remove an account", entry).await? > 0)
    }

    /// Stores a token by its hash and returns what it is called.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn create_token(
        &self,
        merchant: &MerchantId,
        hash: &str,
        abilities: &str,
        expires_at: Option<Timestamp>,
        is_test: bool,
    ) -> Result<TokenId, StoreError> {
        let id = TokenId::new();
        let entry = self.entry(Action::TokenCreated, id, Some(merchant));
        let entry = entry.map(|entry| {
            entry.with(json!({"abilities": abilities, "expires_at": expires_at, "test": is_test}))
        });
        let insert = query(
            "INSERT INTO tokens (hash, id, merchant_id, abilities, created_at, expires_at, test)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(hash.to_owned())
        .bind(id.to_string())
        .bind(merchant.to_string())
        .bind(abilities.to_owned())
        .bind(clock::now().millis())
        .bind(expires_at.map(Timestamp::millis))
        .bind(i64::from(is_test));
        self.change(insert, "create a token", entry).await.map(|_| id)
    }

    /// Finds a token by its hash.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn token(&self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT tokens.id AS token_id, tokens.abilities, tokens.expires_at, tokens.revoked_at,
                tokens.test AS token_test, {MERCHANT}
             FROM tokens JOIN merchants ON merchants.id = tokens.merchant_id WHERE tokens.hash = $1"
        )))
        .bind(hash)
        .fetch_optional(&self.readers)
        .await
        .doing("find a token")?;
        row.map(|row| {
            let columns = Columns { table: "tokens", row: &row };
            Ok(TokenRecord {
                id: columns.parsed("token_id")?,
                merchant: read_merchant(&columns)?,
                abilities: columns.text("abilities")?,
                expires_at: columns.optional_time("expires_at")?,
                revoked_at: columns.optional_time("revoked_at")?,
                is_test: columns.integer("token_test")? != 0,
            })
        })
        .transpose()
    }

    /// Lists tokens by merchant and age; only those of a merchant, where one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn tokens(&self, merchant: Option<&MerchantId>) -> Result<Vec<TokenEntry>, StoreError> {
        let rows = query(
            "SELECT id, merchant_id, abilities, created_at, expires_at, revoked_at, test FROM tokens
             WHERE $1 = '' OR merchant_id = $1 ORDER BY merchant_id, id",
        )
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_all(&self.readers)
        .await
        .doing("list tokens")?;
        rows.iter().map(|row| read_token(&Columns { table: "tokens", row })).collect()
    }

    /// Revokes the token with this hash; returns whether there was one that worked.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn revoke_token(&self, hash: &str) -> Result<bool, StoreError> {
        match self.token(hash).await? {
            Some(token) => self.revoke(&token.merchant.id, token.id).await,
            None => Ok(false),
        }
    }

    /// Revokes the token that is called so; returns whether there was one that worked.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn revoke_token_by_id(&self, id: TokenId) -> Result<bool, StoreError> {
        let row = query("SELECT merchant_id FROM tokens WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .doing("find a token")?;
        let Some(row) = row else { return Ok(false) };
        let merchant: MerchantId = Columns { table: "tokens", row: &row }.parsed("merchant_id")?;
        self.revoke(&merchant, id).await
    }

    async fn revoke(&self, merchant: &MerchantId, id: TokenId) -> Result<bool, StoreError> {
        let entry = self.entry(Action::TokenRevoked, id, Some(merchant));
        let update = query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(clock::now().millis());
        Ok(self.change(update, "revoke a token", entry).await? > 0)
    }
}

fn read_token(columns: &Columns<'_>) -> Result<TokenEntry, StoreError> {
    Ok(TokenEntry {
        id: columns.parsed("id")?,
        merchant: columns.parsed("merchant_id")?,
        abilities: columns.text("abilities")?,
        created_at: columns.time("created_at")?,
        expires_at: columns.optional_time("expires_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
        is_test: columns.integer("test")? != 0,
    })
}
