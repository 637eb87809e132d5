//! Merchants, the tenants.

use serde_json::{Map, Value, json};

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
};
use crate::{
    audit::Action,
    clock,
    mail::{Address, Mailbox, MerchantId, Timestamp},
    shop::{language::Language, locale::Locale},
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
    /// Whether all that it sends goes to the sandbox and never to a relay.
    pub is_test: bool,
}

impl Merchant {
    /// The language of its answers and mails, where nothing says another one.
    pub fn default_language(&self) -> Language {
        Language::for_merchant(self.language.as_deref(), &self.country)
    }

    /// What it says of its language, and where it is.
    pub fn locale(&self) -> Locale<'_> {
        Locale { setting: self.language.as_deref(), country: &self.country }
    }

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
    /// Whether all that it sends goes to the sandbox and never to a relay.
    pub is_test: bool,
}

/// What becomes of a merchant; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MerchantChange {
    /// The name shoppers know.
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2, in capitals.
    pub country: Option<String>,
    /// The language its answers and mails are in; none: that of its country.
    pub language: Option<Option<String>>,
    /// The `From` of mails that have no other.
    pub sender: Option<Option<Mailbox>>,
    /// Its own rate of mails; none: that of each merchant.
    pub mails_rate: Option<Option<String>>,
}

pub(super) const MERCHANT: &str =
    "merchants.id, merchants.name, merchants.country, merchants.language, merchants.sender_name,
    merchants.sender_email, merchants.secret, merchants.mails_rate, merchants.suspended_at, merchants.test";

impl Store {
    /// Creates a merchant.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken; else those of a write: see [`StoreError`].
    pub async fn create_merchant(&self, merchant: &NewMerchant) -> Result<(), StoreError> {
        let entry = self.entry(Action::MerchantCreated, &merchant.id, Some(&merchant.id));
        let insert = query(
            "INSERT INTO merchants (id, name, country, language, sender_name, sender_email, secret, created_at, test)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
        )
        .bind(merchant.id.to_string())
        .bind(merchant.name.clone())
        .bind(merchant.country.clone())
        .bind(merchant.language.clone())
        .bind(merchant.sender.as_ref().and_then(|sender| sender.name.clone()))
        .bind(merchant.sender.as_ref().map(|sender| sender.email.to_string()))
        .bind(merchant.secret.clone())
        .bind(clock::now().millis())
        .bind(i64::from(merchant.is_test));
        let done = self.change(insert, "create a merchant", entry).await?;
        created(done, "a merchant with this id")
    }

    /// Finds a merchant.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn merchant(&self, id: &MerchantId) -> Result<Option<Merchant>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!("SELECT {MERCHANT} FROM merchants WHERE id = $1")))
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("find a merchant")?;
        row.map(|row| read(&Columns { table: "merchants", row: &row })).transpose()
    }

    /// The merchants that have a rate of mails of their own, with it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mails_rates(&self) -> Result<Vec<(MerchantId, String)>, StoreError> {
        let rows = query("SELECT id, mails_rate FROM merchants WHERE mails_rate IS NOT NULL ORDER BY id")
            .fetch_all(&self.readers)
            .await
            .doing("read the rates of merchants")?;
        let read = |row| {
            let columns = Columns { table: "merchants", row };
            Ok((columns.parsed("id")?, columns.text("mails_rate")?))
        };
        rows.iter().map(read).collect()
    }

    /// Lists merchants by id, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn merchants(&self, after: &str, limit: u32) -> Result<Vec<Merchant>, StoreError> {
        let text = format!("SELECT {MERCHANT} FROM merchants WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = query(sqlx::AssertSqlSafe(text))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .doing("list merchants")?;
        rows.iter().map(|row| read(&Columns { table: "merchants", row })).collect()
    }

    /// Changes a merchant; `None`: there is no such merchant.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn change_merchant(
        &self,
        id: &MerchantId,
        change: MerchantChange,
    ) -> Result<Option<Merchant>, StoreError> {
        let entry = self.entry(Action::MerchantUpdated, id, Some(id));
        let entry = entry.map(|entry| entry.with(change.details()));
        let text = format!(
            "UPDATE merchants SET name = COALESCE($2, name), country = COALESCE($3, country),
                language = CASE WHEN $4 = 1 THEN $5 ELSE language END,
                sender_name = CASE WHEN $6 = 1 THEN $7 ELSE sender_name END,
                sender_email = CASE WHEN $6 = 1 THEN $8 ELSE sender_email END,
                mails_rate = CASE WHEN $9 = 1 THEN $10 ELSE mails_rate END
             WHERE id = $1 RETURNING {MERCHANT}"
        );
        let MerchantChange { name, country, language, sender, mails_rate } = change;
        let is_given = |given: bool| i64::from(given);
        let update = query(sqlx::AssertSqlSafe(text))
            .bind(id.to_string())
            .bind(name)
            .bind(country)
            .bind(is_given(language.is_some()))
            .bind(language.flatten())
            .bind(is_given(sender.is_some()))
            .bind(sender.as_ref().and_then(|sender| sender.as_ref()?.name.clone()))
            .bind(sender.as_ref().and_then(|sender| Some(sender.as_ref()?.email.to_string())))
            .bind(is_given(mails_rate.is_some()))
            .bind(mails_rate.flatten());
        let row = self.change_one(update, "change a merchant", entry).await?;
        row.map(|row| read(&Columns { table: "merchants", row: &row })).transpose()
    }

    /// Suspends a merchant, or lets it go on; returns false when it is so already, or there is no such merchant.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn suspend_merchant(&self, id: &MerchantId, is_suspended: bool) -> Result<bool, StoreError> {
        let (action, text) = match is_suspended {
            true => (
                Action::MerchantSuspended,
                "UPDATE merchants SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL",
            ),
            false => (
                Action::MerchantResumed,
                "UPDATE merchants SET suspended_at = NULL WHERE id = $1 AND suspended_at IS NOT NULL",
            ),
        };
        let update = query(text).bind(id.to_string());
        let update = if is_suspended { update.bind(clock::now().millis()) } else { update };
        let entry = self.entry(action, id, Some(id));
        Ok(self.change(update, "suspend or resume a merchant", entry).await? > 0)
    }
}

impl MerchantChange {
    /// What is changed, for the audit; of the sender only whether there is one.
    fn details(&self) -> Value {
        let mut details = Map::new();
        let mut note = |field: &str, value: Value| details.insert(field.to_owned(), value);
        if let Some(name) = &self.name {
            note("name", json!(name));
        }
        if let Some(country) = &self.country {
            note("country", json!(country));
        }
        if let Some(language) = &self.language {
            note("language", json!(language));
        }
        if let Some(sender) = &self.sender {
            note("sender", json!(sender.as_ref().map(|_| "changed")));
        }
        if let Some(rate) = &self.mails_rate {
            note("rate", json!(rate));
        }
        details.into()
    }
}

pub(super) fn created(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Exists(what)) }
}

pub(super) fn read(columns: &Columns<'_>) -> Result<Merchant, StoreError> {
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
        is_test: columns.integer("test")? != 0,
    })
}
