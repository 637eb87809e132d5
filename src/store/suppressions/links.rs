//! Unsubscribe links: made with the mails that carry them, followed by recipients.
//!
//! A recipient has one link of each language with each merchant, whichever mails carry it. The row is all that makes a
//! token good: no key is involved, and no mail has to be there any more.

use std::{collections::BTreeMap, sync::LazyLock};

use futures_util::FutureExt;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock,
    mail::{Address, MerchantId, NewMail, UnsubscribeToken},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, NewEvent},
        row::Columns,
        sql::Sql,
        statement::query,
    },
    webhook::{
        EventKind,
        event::{self, UnsubscribeSubject},
    },
};

/// Where an unsubscribe link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubscribeLink {
    /// Whose mails.
    pub merchant: MerchantId,
    /// Whose address, in lower case.
    pub address: String,
    /// The language of the mails that carry the link.
    pub language: String,
    /// Whether the recipient has unsubscribed.
    pub is_unsubscribed: bool,
}

/// What following a link came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The recipient gets no promotional mails from now on.
    Now,
    /// It was so already.
    Before,
}

static INSERT: Sql = Sql::new(
    "INSERT INTO unsubscribe_links (token, merchant_id, address_key, language, created_at)
     SELECT token, merchant, address_key, language, $2
     FROM {rows: token text, merchant text, address_key text, language text} WHERE true
     ON CONFLICT DO NOTHING",
);

/// Makes the links of mails whose recipients have none yet. To be called before the mails are recorded.
pub(in crate::store) async fn insert_links<'a>(
    dialect: Dialect,
    on: &mut Connection,
    mails: impl Iterator<Item = &'a NewMail>,
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Row<'a> {
        token: &'a str,
        merchant: &'a MerchantId,
        address_key: &'a str,
        language: &'a str,
    }
    // In the order of the key, so that two transactions never wait for each other.
    let mut links = BTreeMap::new();
    for mail in mails {
        let Some(link) = &mail.unsubscribe else { continue };
        links.insert((&mail.merchant, mail.recipient.email.search_key(), &*link.language), &link.token);
    }
    if links.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = links
        .iter()
        .map(|((merchant, key, language), token)| Row {
            token: token.as_str(),
            merchant,
            address_key: key,
            language,
        })
        .collect();
    INSERT
        .with(dialect, &rows)
        .bind(clock::now().millis())
        .execute(on)
        .await
        .map(drop)
        .doing("make unsubscribe links")
}

const FIND: &str = "SELECT merchant_id, address_key, language,
        CASE WHEN EXISTS (SELECT 1 FROM suppressions WHERE suppressions.merchant_id = unsubscribe_links.merchant_id
            AND suppressions.address_key = unsubscribe_links.address_key AND scope = 'promotional'
            AND reason = 'unsubscribed' AND (expires_at IS NULL OR expires_at > $2)) THEN 1 ELSE 0 END AS is_unsubscribed
     FROM unsubscribe_links WHERE token = $1";

// What the recipient says goes over what the merchant said, which is kept beneath it; said again, it changes nothing.
const UNSUBSCRIBE: &str =
    "INSERT INTO suppressions (id, merchant_id, address_key, scope, reason, created_at)
     SELECT $1, merchant_id, address_key, 'promotional', 'unsubscribed', $3 FROM unsubscribe_links WHERE token = $2
     ON CONFLICT (merchant_id, address_key, scope) DO UPDATE SET reason = excluded.reason, note = NULL,
        expires_at = NULL, created_at = excluded.created_at,
        replaced_reason = CASE WHEN suppressions.reason <> 'unsubscribed' THEN suppressions.reason END,
        replaced_note = suppressions.note, replaced_expires_at = suppressions.expires_at,
        replaced_created_at = suppressions.created_at
     WHERE suppressions.reason <> 'unsubscribed' OR suppressions.expires_at IS NOT NULL
     RETURNING merchant_id, address_key";

/// What the recipient of a link did with it.
const OF_RECIPIENT: &str = "scope = 'promotional' AND reason = 'unsubscribed'
        AND (merchant_id, address_key) IN (SELECT merchant_id, address_key FROM unsubscribe_links WHERE token = $1)";

/// Puts back what the merchant had said before, unless that has ended.
static RESTORE_REPLACED: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "UPDATE suppressions SET reason = replaced_reason, note = replaced_note, expires_at = replaced_expires_at,
            created_at = replaced_created_at, replaced_reason = NULL
         WHERE {OF_RECIPIENT} AND replaced_reason IS NOT NULL
            AND (replaced_expires_at IS NULL OR replaced_expires_at > $2)"
    ))
});

static SUBSCRIBE_AGAIN: LazyLock<Sql> =
    LazyLock::new(|| Sql::made(format!("DELETE FROM suppressions WHERE {OF_RECIPIENT}")));

impl Store {
    /// Finds where a link leads.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn unsubscribe_link(
        &self,
        token: &UnsubscribeToken,
    ) -> Result<Option<UnsubscribeLink>, StoreError> {
        let row = query(FIND)
            .bind(token.as_str())
            .bind(clock::now().millis())
            .fetch_optional(&self.readers)
            .await
            .doing("follow an unsubscribe link")?;
        row.map(|row| {
            let columns = Columns { table: "unsubscribe_links", row: &row };
            Ok(UnsubscribeLink {
                merchant: columns.parsed("merchant_id")?,
                address: Address::of_search_key(&columns.text("address_key")?),
                language: columns.text("language")?,
                is_unsubscribed: columns.integer("is_unsubscribed")? == 1,
            })
        })
        .transpose()
    }

    /// Lets the recipient that a link is for get no promotional mails any more, and records the event where that is new.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn unsubscribe(&self, token: &UnsubscribeToken) -> Result<Unsubscribed, StoreError> {
        let (dialect, token, now) = (self.dialect, token.as_str().to_owned(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    let row = query(UNSUBSCRIBE)
                        .bind(Uuid::now_v7().to_string())
                        .bind(&token)
                        .bind(now.millis())
                        .fetch_optional(&mut *on)
                        .await
                        .doing("unsubscribe a recipient")?;
                    let Some(row) = row else { return Ok(Unsubscribed::Before) };
                    let columns = Columns { table: "suppressions", row: &row };
                    let recipient = Address::of_search_key(&columns.text("address_key")?);
                    let kind = EventKind::EmailUnsubscribed;
                    let event = NewEvent {
                        merchant: columns.parsed("merchant_id")?,
                        kind,
                        body: event::body(kind, now, &UnsubscribeSubject::of(recipient, now)),
                        mail: None,
                        trace_parent: None,
                    };
                    events::record(dialect, on, &[event]).await?;
                    Ok(Unsubscribed::Now)
                }
                .boxed()
            })
            .await
    }

    /// Takes back what the recipient did with a link. What the merchant had said of the address before is in force again.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn subscribe_again(&self, token: &UnsubscribeToken) -> Result<(), StoreError> {
        let restore = query(RESTORE_REPLACED.on(self.dialect)).bind(token.as_str().to_owned());
        let restore = restore.bind(clock::now().millis());
        let delete = query(SUBSCRIBE_AGAIN.on(self.dialect)).bind(token.as_str().to_owned());
        self.writer
            .run(move |on| {
                async move {
                    restore.execute(&mut *on).await.doing("put back what an unsubscription replaced")?;
                    delete.execute(on).await.map(drop).doing("take an unsubscription back")
                }
                .boxed()
            })
            .await
    }
}
