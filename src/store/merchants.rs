//! Merchants and their credentials.

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
};
use crate::{
    clock,
    mail::{Address, Mailbox, MerchantId, Timestamp},
};

/// The tenant. Everything else belongs to one merchant.
#[derive(Clone, Debug)]
pub struct Merchant {
    /// The id.
    pub id: MerchantId,
    /// The name shoppers know.
    pub name: String,
    /// ISO 3166-1 alpha-2, in capitals.
    pub country: String,
    /// The language its answers and mails are in, where it chose one.
    pub language: Option<String>,
    /// The `From` of mails that have no other.
    pub sender: Option<Mailbox>,
    /// Signs batch webhooks and recovery links.
    pub secret: String,
    /// Its own rate of mails, as it was written; without one it has that of each merchant.
    pub mails_rate: Option<String>,
    /// Since when nothing is taken from it.
    pub suspended_at: Option<Timestamp>,
}

impl Merchant {
    /// The `From` of its mails that have no other: what the merchant chose, else its name at `no_reply`.
    pub fn sender_or(&self, no_reply: impl FnOnce() -> Address) -> Mailbox {
        self.sender.clone().unwrap_or_else(|| Mailbox {
            name: Some(self.name.clone()).filter(|name| !name.chars().any(char::is_control)),
            email: no_reply(),
        })
    }
}

/// A merchant to create.
#[derive(Clone, Debug)]
pub struct NewMerchant {
    /// The id.
    pub id: MerchantId,
    /// The name shoppers know.
    pub name: String,
    /// ISO 3166-1 alpha-2, in capitals.
    pub country: String,
    /// The language its answers and mails are in.
    pub language: Option<String>,
    /// The `From` of mails that have no other.
    pub sender: Option<Mailbox>,
    /// Signs batch webhooks and recovery links.
    pub secret: String,
}

/// A user name and the hash of its password.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose account.
    pub merchant: Merchant,
    /// Argon2id, a PHC string.
    pub password_hash: String,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Whose token.
    pub merchant: Merchant,
    /// What it may do, comma-separated.
    pub abilities: String,
    /// After this it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

const MERCHANT: &str =
    "merchants.id, merchants.name, merchants.country, merchants.language, merchants.sender_name,
    merchants.sender_email, merchants.secret, merchants.mails_rate, merchants.suspended_at";

impl Store {
    /// Creates a merchant.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken; else those of a write: see [`StoreError`].
    pub async fn create_merchant(&self, merchant: &NewMerchant) -> Result<(), StoreError> {
        let done = self.writer.execute(sqlx::query(
            "INSERT INTO merchants (id, name, country, language, sender_name, sender_email, secret, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        )
        .bind(merchant.id.as_str())
        .bind(&merchant.name)
        .bind(&merchant.country)
        .bind(&merchant.language)
        .bind(merchant.sender.as_ref().and_then(|sender| sender.name.clone()))
        .bind(merchant.sender.as_ref().map(|sender| sender.email.to_string()))
        .bind(&merchant.secret)
        .bind(clock::now().millis()), "create a merchant").await?;
        created(done, "a merchant with this id")
    }

    /// Finds a merchant.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn merchant(&self, id: &MerchantId) -> Result<Option<Merchant>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {MERCHANT} FROM merchants WHERE id = $1")))
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("find a merchant")?;
        row.map(|row| read(&Columns { table: "merchants", row: &row })).transpose()
    }

    /// Gives a merchant a rate of mails of its own, or takes it away; returns whether there is such a merchant.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn set_mails_rate(
        &self,
        merchant: &MerchantId,
        rate: Option<&str>,
    ) -> Result<bool, StoreError> {
        let update = sqlx::query("UPDATE merchants SET mails_rate = $2 WHERE id = $1")
            .bind(merchant.as_str())
            .bind(rate);
        self.writer.execute(update, "set a merchant's rate").await.map(|rows| rows > 0)
    }

    /// The merchants that have a rate of mails of their own, with it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mails_rates(&self) -> Result<Vec<(MerchantId, String)>, StoreError> {
        let rows =
            sqlx::query("SELECT id, mails_rate FROM merchants WHERE mails_rate IS NOT NULL ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .doing("read the rates of merchants")?;
        let read = |row| {
            let columns = Columns { table: "merchants", row };
            Ok((columns.parsed("id")?, columns.text("mails_rate")?))
        };
        rows.iter().map(read).collect()
    }

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
        let done = self.writer.execute(sqlx::query(
            "INSERT INTO accounts (username, merchant_id, password_hash, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (username) DO NOTHING",
        )
        .bind(username)
        .bind(merchant.as_str())
        .bind(password_hash)
        .bind(clock::now().millis()), "create an account").await?;
        created(done, "an account with this user name")
    }

    /// Finds an account by its user name.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn account(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT accounts.password_hash, {MERCHANT} FROM accounts
             JOIN merchants ON merchants.id = accounts.merchant_id WHERE accounts.username = $1"
        )))
        .bind(username)
        .fetch_optional(&self.readers)
        .await
        .doing("find an account")?;
        row.map(|row| {
            let columns = Columns { table: "accounts", row: &row };
            Ok(Account { merchant: read(&columns)?, password_hash: columns.text("password_hash")? })
        })
        .transpose()
    }

    /// Stores a token by its hash.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn create_token(
        &self,
        merchant: &MerchantId,
        hash: &str,
        abilities: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.writer.execute(sqlx::query(
            "INSERT INTO tokens (hash, merchant_id, abilities, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(hash)
        .bind(merchant.as_str())
        .bind(abilities)
        .bind(clock::now().millis())
        .bind(expires_at.map(Timestamp::millis)), "create a token").await.map(drop)
    }

    /// Finds a token by its hash.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn token(&self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT tokens.abilities, tokens.expires_at, tokens.revoked_at, {MERCHANT} FROM tokens
             JOIN merchants ON merchants.id = tokens.merchant_id WHERE tokens.hash = $1"
        )))
        .bind(hash)
        .fetch_optional(&self.readers)
        .await
        .doing("find a token")?;
        row.map(|row| {
            let columns = Columns { table: "tokens", row: &row };
            Ok(TokenRecord {
                merchant: read(&columns)?,
                abilities: columns.text("abilities")?,
                expires_at: columns.optional_time("expires_at")?,
                revoked_at: columns.optional_time("revoked_at")?,
            })
        })
        .transpose()
    }

    /// Revokes a token; returns whether there was such a token.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn revoke_token(&self, hash: &str) -> Result<bool, StoreError> {
        self.writer
            .execute(
                sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE hash = $1 AND revoked_at IS NULL")
                    .bind(hash)
                    .bind(clock::now().millis()),
                "revoke a token",
            )
            .await
            .map(|rows| rows > 0)
    }
}

fn created(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Exists(what)) }
}

fn read(columns: &Columns<'_>) -> Result<Merchant, StoreError> {
    let sender = columns.optional_parsed("sender_email")?;
    let name = columns.optional_text("sender_name")?;
    Ok(Merchant {
        id: columns.parsed("id")?,
        name: columns.text("name")?,
        country: columns.text("country")?,
        language: columns.optional_text("language")?,
        sender: sender.map(|email| Mailbox { name, email }),
        secret: columns.text("secret")?,
        mails_rate: columns.optional_text("mails_rate")?,
        suspended_at: columns.optional_time("suspended_at")?,
    })
}
