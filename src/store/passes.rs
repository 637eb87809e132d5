//! Passes: what members are shown of their coupons and store cards. Recorded together with the mail that links to them.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

use super::{
    connection::Connection,
    database::Store,
    dialect::Dialect,
    error::{Doing, StoreError},
    row::Columns,
    sql::Sql,
    statement::query,
};
use crate::{clock, mail::MerchantId, shop::pass::PassSubject};

/// A pass to record, unless it is there.
#[derive(Clone, Debug)]
pub struct NewPass {
    /// Its id, which follows from the merchant's secret and its subject.
    pub id: String,
    /// Whose.
    pub merchant: MerchantId,
    /// What it is of.
    pub subject: PassSubject,
    /// What its QR code says from now on; `None` leaves it as it is.
    pub identifier: Option<String>,
    /// Whether a live merchant only tries out the mail that links to it: then a pass that is there stays as it is.
    pub is_tried_out: bool,
}

/// A pass as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whose.
    pub merchant: MerchantId,
    /// What it is of.
    pub subject: PassSubject,
    /// What its QR code says; `None`: the link to the pass.
    pub identifier: Option<String>,
}

/// Inserts passes; what becomes of those that are there follows.
const INSERT: &str =
    "INSERT INTO passes (id, merchant_id, coupon_id, storecard_id, member_id, identifier, created_at)
     SELECT id, merchant, coupon, storecard, member, identifier, $2
     FROM {rows: id text, merchant text, coupon text, storecard text, member text, identifier text} WHERE true
     ON CONFLICT (id) DO";

static PUT: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "{INSERT} UPDATE SET identifier = excluded.identifier WHERE excluded.identifier IS NOT NULL"
    ))
});

static ADD: LazyLock<Sql> = LazyLock::new(|| Sql::made(format!("{INSERT} NOTHING")));

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    merchant: &'a str,
    coupon: Option<&'a str>,
    storecard: Option<&'a str>,
    member: &'a str,
    identifier: Option<&'a str>,
}

/// Inserts passes that are not there yet and gives those that are their new identifier, in earnest alone.
pub(super) async fn insert<'a>(
    dialect: Dialect,
    on: &mut Connection,
    passes: impl Iterator<Item = &'a NewPass>,
) -> Result<(), StoreError> {
    let (tried_out, in_earnest): (Vec<_>, Vec<_>) = passes.partition(|pass| pass.is_tried_out);
    write(dialect, on, &PUT, &in_earnest).await?;
    write(dialect, on, &ADD, &tried_out).await
}

async fn write(
    dialect: Dialect,
    on: &mut Connection,
    statement: &'static Sql,
    passes: &[&NewPass],
) -> Result<(), StoreError> {
    // One statement may not write a row twice: the last identifier of a pass stands. In one order, so that two never wait for
    // each other.
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for pass in passes {
        let row = rows.entry(&pass.id).or_insert_with(|| Row {
            id: &pass.id,
            merchant: pass.merchant.as_str(),
            coupon: pass.subject.coupon.as_deref(),
            storecard: pass.subject.storecard.as_deref(),
            member: &pass.subject.member,
            identifier: None,
        });
        row.identifier = pass.identifier.as_deref().or(row.identifier);
    }
    if rows.is_empty() {
        return Ok(());
    }
    statement
        .with(dialect, &rows.into_values().collect::<Vec<_>>())
        .bind(clock::now().millis())
        .execute(on)
        .await
        .map(drop)
        .doing("record passes")
}

impl Store {
    /// Finds a pass by its secret id.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn pass(&self, id: &str) -> Result<Option<Pass>, StoreError> {
        let row = query(
            "SELECT merchant_id, coupon_id, storecard_id, member_id, identifier FROM passes WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await
        .doing("find a pass")?;
        row.map(|row| {
            let columns = Columns { table: "passes", row: &row };
            Ok(Pass {
                merchant: columns.parsed("merchant_id")?,
                subject: PassSubject {
                    coupon: columns.optional_text("coupon_id")?,
                    storecard: columns.optional_text("storecard_id")?,
                    member: columns.text("member_id")?,
                },
                identifier: columns.optional_text("identifier")?,
            })
        })
        .transpose()
    }
}
