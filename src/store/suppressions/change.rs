//! Storing, importing and removing suppressions.

use std::collections::HashSet;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{merge, record::NewSuppression};
use crate::{
    audit::Action,
    clock,
    mail::{Address, MerchantId, Timestamp},
    store::{
        audit,
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
        steps::{STEP, in_steps},
        target::Target,
    },
};

const IS_SUPPRESSED: &str = "SELECT 1 FROM suppressions WHERE merchant_id = $1 AND address_key = $2
        AND (expires_at IS NULL OR expires_at > $3)";

// What the recipient asked for stays, for the time when the wider one ends.
const REPLACE_OTHER_SCOPE: &str =
    "DELETE FROM suppressions WHERE merchant_id = $1 AND address_key = $2 AND scope <> $3
        AND (scope = 'all' OR reason NOT IN ('unsubscribed', 'complaint'))";

static FIND: Sql = Sql::new(
    "SELECT suppressions.address_key FROM {rows: address_key text}
     JOIN suppressions ON suppressions.merchant_id = $2 AND suppressions.address_key = rows.address_key
        AND (suppressions.scope = 'all' OR $4 = 1)
        AND (suppressions.expires_at IS NULL OR suppressions.expires_at > $3)",
);

/// The keys of those addresses that get no mail at all.
pub(in crate::store) async fn wholly_suppressed(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    addresses: &[Address],
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    find(dialect, on, merchant, addresses, (false, now)).await
}

async fn find(
    dialect: Dialect,
    on: impl Target,
    merchant: &MerchantId,
    addresses: &[Address],
    (is_promotional, now): (bool, Timestamp),
) -> Result<HashSet<String>, StoreError> {
    #[derive(Serialize)]
    struct Asked {
        address_key: String,
    }
    let asked: Vec<_> = addresses.iter().map(|address| Asked { address_key: address.search_key() }).collect();
    let rows = FIND
        .with(dialect, &asked)
        .bind(merchant.as_str())
        .bind(now.millis())
        .bind(i64::from(is_promotional))
        .fetch_all(on)
        .await
        .doing("find suppressions")?;
    rows.iter().map(|row| Columns { table: "suppressions", row }.text("address_key")).collect()
}

async fn is_suppressed(
    on: &mut Connection,
    merchant: &MerchantId,
    key: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let row = query(IS_SUPPRESSED)
        .bind(merchant.as_str())
        .bind(key)
        .bind(now.millis())
        .fetch_optional(on)
        .await
        .doing("find a suppression")?;
    Ok(row.is_some())
}

impl Store {
    /// The keys of those addresses that get no mail, or where `is_promotional`, no promotional mail.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn suppressed(
        &self,
        merchant: &MerchantId,
        addresses: &[Address],
        is_promotional: bool,
    ) -> Result<HashSet<String>, StoreError> {
        find(self.dialect, &self.readers, merchant, addresses, (is_promotional, clock::now())).await
    }

    /// Makes this the suppression of its address, beneath an unsubscription of the same scope; returns whether the address was
    /// not suppressed before.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_suppression(
        &self,
        merchant: &MerchantId,
        suppression: NewSuppression,
    ) -> Result<bool, StoreError> {
        let target = format!("suppressions/{}", suppression.address.masked());
        let entry = self.entry(Action::SuppressionStored, target, Some(merchant));
        let details = json!({"reason": suppression.reason, "scope": suppression.scope});
        let entry = entry.map(|entry| entry.with(details));
        let (dialect, merchant, now) = (self.dialect, merchant.clone(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    let key = suppression.address.search_key();
                    let was_suppressed = is_suppressed(on, &merchant, &key, now).await?;
                    merge::put(dialect, on, &merchant, &suppression, now).await?;
                    query(REPLACE_OTHER_SCOPE)
                        .bind(merchant.as_str())
                        .bind(&key)
                        .bind(suppression.scope.as_str())
                        .execute(&mut *on)
                        .await
                        .doing("replace a suppression")?;
                    audit::record(on, entry.as_ref()).await?;
                    Ok(!was_suppressed)
                }
                .boxed()
            })
            .await
    }

    /// Stores many suppressions, all or none, as a part of an import, which has one entry in the audit, however many parts
    /// it has. It suppresses more, never less.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn import_suppressions(
        &self,
        import: Uuid,
        merchant: &MerchantId,
        suppressions: Vec<NewSuppression>,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Action::ResourceImported, "import", Some(merchant));
        let entry = entry.map(|entry| entry.part_of(import).of(suppressions.len() as u64));
        let (dialect, merchant, now) = (self.dialect, merchant.clone(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    merge::add(dialect, on, &merchant, &suppressions, now).await?;
                    audit::record(on, entry.as_ref()).await
                }
                .boxed()
            })
            .await
    }

    /// Lets an address get mails again, and forgets what relays said of it; returns whether it was suppressed.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn remove_suppression(
        &self,
        merchant: &MerchantId,
        address: &Address,
    ) -> Result<bool, StoreError> {
        let target = format!("suppressions/{}", address.masked());
        let entry = self.entry(Action::SuppressionRemoved, target, Some(merchant));
        let (merchant, key, now) = (merchant.clone(), address.search_key(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    let was_suppressed = is_suppressed(on, &merchant, &key, now).await?;
                    for delete in [
                        "DELETE FROM suppressions WHERE merchant_id = $1 AND address_key = $2",
                        "DELETE FROM bad_addresses WHERE merchant_id = $1 AND address_key = $2",
                    ] {
                        query(delete)
                            .bind(merchant.as_str())
                            .bind(&key)
                            .execute(&mut *on)
                            .await
                            .doing("remove a suppression")?;
                    }
                    audit::record(on, entry.as_ref().filter(|_| was_suppressed)).await?;
                    Ok(was_suppressed)
                }
                .boxed()
            })
            .await
    }

    /// Forgets suppressions that ended by themselves; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_ended_suppressions(&self) -> Result<u64, StoreError> {
        let now = clock::now().millis();
        in_steps(STEP, || async {
            let delete = query(
                "DELETE FROM suppressions WHERE id IN (
                    SELECT id FROM suppressions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
                    AND expires_at <= $1",
            );
            self.writer
                .in_background()
                .execute(delete.bind(now).bind(STEP), "forget suppressions that ended")
                .await
        })
        .await
    }
}
