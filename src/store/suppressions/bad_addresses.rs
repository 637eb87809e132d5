//! What follows when a relay says that there is no such address: the second time within 30 days the address is
//! suppressed for 180 days. A mail that a relay takes takes both back.
//!
//! Only replies that say so cost anything: what a mail's recipient is known for is read with its claim.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock,
    mail::{MerchantId, Timestamp},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        rounds,
        sql::Sql,
        statement::query,
        steps::{STEP, in_steps},
    },
};

/// A second reply within this time suppresses.
const COUNTED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long the address is suppressed.
const SUPPRESSED: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// A column of a statement that claims mails: whether a relay said before that the recipient's address is bad.
pub(in crate::store) const WAS_REFUSED: &str =
    "CASE WHEN mails.state = 'sending' AND EXISTS (SELECT 1 FROM bad_addresses WHERE bad_addresses.merchant_id = mails.merchant_id
        AND bad_addresses.address_key = mails.recipient_key) THEN 1 ELSE 0 END";

/// What a relay said of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct AddressReply {
    pub(in crate::store) merchant: MerchantId,
    /// As `mails.recipient_key`.
    pub(in crate::store) key: String,
    /// Whether it took a mail for it; else it said that there is no such address.
    pub(in crate::store) is_good: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    merchant: &'a MerchantId,
    address_key: &'a str,
}

// An address that is suppressed by hand stays so; one that is suppressed for this reason stays so for longer.
static SUPPRESS: Sql = Sql::new(
    "INSERT INTO suppressions (id, merchant_id, address_key, scope, reason, expires_at, created_at)
     SELECT rows.id, rows.merchant, rows.address_key, 'all', 'hard_bounce', $4, $2
     FROM {rows: id text, merchant text, address_key text}
     JOIN bad_addresses ON bad_addresses.merchant_id = rows.merchant AND bad_addresses.address_key = rows.address_key
     WHERE bad_addresses.at > $3
     ON CONFLICT (merchant_id, address_key, scope) DO UPDATE SET reason = excluded.reason, note = NULL,
        expires_at = excluded.expires_at, created_at = excluded.created_at
     WHERE suppressions.reason = 'hard_bounce' OR suppressions.expires_at <= $2",
);

static COUNT: Sql = Sql::new(
    "INSERT INTO bad_addresses (merchant_id, address_key, at)
     SELECT merchant, address_key, $2 FROM {rows: merchant text, address_key text} WHERE true
     ON CONFLICT (merchant_id, address_key) DO UPDATE SET at = excluded.at",
);

// By the rows that are given: asked of each row of the table instead, SQLite would read it through for each of them.
static TAKE_BACK: [Sql; 2] = [
    Sql::new(
        "DELETE FROM bad_addresses WHERE (merchant_id, address_key) IN
            (SELECT rows.merchant, rows.address_key FROM {rows: merchant text, address_key text})",
    ),
    Sql::new(
        "DELETE FROM suppressions WHERE scope = 'all' AND reason = 'hard_bounce' AND (merchant_id, address_key) IN
            (SELECT rows.merchant, rows.address_key FROM {rows: merchant text, address_key text})",
    ),
];

/// Counts what relays said of addresses, in its order.
pub(in crate::store) async fn judge_replies(
    dialect: Dialect,
    on: &mut Connection,
    mut replies: Vec<AddressReply>,
) -> Result<(), StoreError> {
    if replies.is_empty() {
        return Ok(());
    }
    let now = clock::now();
    // In the order of the key, so that two transactions never wait for each other; those of one key keep theirs.
    replies.sort_by(|a, b| (&a.merchant, &a.key).cmp(&(&b.merchant, &b.key)));
    let keyed = replies.iter().map(|reply| ((&reply.merchant, &reply.key), reply));
    for round in rounds::with_distinct_keys(keyed) {
        let rows = |is_good: bool| {
            let rows = round.iter().filter(|reply| reply.is_good == is_good).map(|reply| Row {
                id: Uuid::now_v7().to_string(),
                merchant: &reply.merchant,
                address_key: &reply.key,
            });
            rows.collect::<Vec<_>>()
        };
        let (good, bad) = (rows(true), rows(false));
        if !bad.is_empty() {
            count(dialect, on, &bad, now).await?;
        }
        if !good.is_empty() {
            for statement in &TAKE_BACK {
                statement
                    .with(dialect, &good)
                    .execute(&mut *on)
                    .await
                    .doing("take back what was said of addresses")?;
            }
        }
    }
    Ok(())
}

async fn count(
    dialect: Dialect,
    on: &mut Connection,
    bad: &[Row<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    SUPPRESS
        .with(dialect, bad)
        .bind(now.millis())
        .bind((now - COUNTED).millis())
        .bind((now + SUPPRESSED).millis())
        .execute(&mut *on)
        .await
        .doing("suppress addresses that do not exist")?;
    COUNT
        .with(dialect, bad)
        .bind(now.millis())
        .execute(on)
        .await
        .map(drop)
        .doing("count addresses that do not exist")
}

impl Store {
    /// Forgets what relays said of addresses too long ago to count; returns how much that was.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_bad_addresses(&self) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - COUNTED).millis();
        in_steps(STEP, || async {
            let delete = query(
                "DELETE FROM bad_addresses WHERE (merchant_id, address_key) IN (
                    SELECT merchant_id, address_key FROM bad_addresses WHERE at <= $1 LIMIT $2) AND at <= $1",
            );
            self.writer
                .in_background()
                .execute(delete.bind(long_ago).bind(STEP), "forget bad addresses")
                .await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::webhooks_fixture as fixture;

    /// However many addresses are suppressed.
    #[tokio::test]
    async fn suppressions_of_an_address_are_found_by_its_key() {
        let (store, _folder) = fixture::open().await;
        for statement in [&SUPPRESS, &TAKE_BACK[0], &TAKE_BACK[1]] {
            let plan = fixture::plan_of(&store, statement).await;
            let reads = |line: &&String| line.contains("suppressions") || line.contains("bad_addresses");
            let reads: Vec<_> = plan.iter().filter(reads).collect();
            assert!(reads.iter().all(|line| line.starts_with("SEARCH ")), "{plan:#?}");
        }
    }
}
