//! Which documents have which partials in them. Whoever stores or deletes documents keeps it, in its transaction.

use serde::Serialize;

use super::{
    connection::Connection,
    dialect::Dialect,
    error::{Doing, StoreError},
    sql::Sql,
    statement::query,
};
use crate::{mail::MerchantId, shop::ResourceKind};

static FORGET_USES: Sql = Sql::new(
    "DELETE FROM partial_uses WHERE merchant_id = $2
        AND (user_kind, user_id) IN (SELECT rows.kind_of, rows.document FROM {rows: kind_of text, document text})",
);

static INSERT_USES: Sql = Sql::new(
    "INSERT INTO partial_uses (merchant_id, partial, user_kind, user_id)
     SELECT $2, partial, kind_of, document FROM {rows: partial text, kind_of text, document text} WHERE true
     ON CONFLICT DO NOTHING",
);

#[derive(Serialize)]
struct UseRow<'a> {
    partial: &'a str,
    kind_of: &'static str,
    document: &'a str,
}

/// A document, and the partials that it has in it.
pub(super) struct User<'a> {
    pub(super) kind: ResourceKind,
    pub(super) id: &'a str,
    pub(super) partials: Vec<&'a str>,
}

impl<'a> User<'a> {
    fn of(&self, partial: &'a str) -> UseRow<'a> {
        UseRow { partial, kind_of: self.kind.as_str(), document: self.id }
    }
}

/// Notes which partials these documents use, in place of what was noted before.
pub(super) async fn note_uses(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    users: &[User<'_>],
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    FORGET_USES
        .with(dialect, &users.iter().map(|user| user.of("")).collect::<Vec<_>>())
        .bind(merchant.as_str())
        .execute(&mut *on)
        .await
        .doing("forget what partials were used")?;
    let uses: Vec<_> =
        users.iter().flat_map(|user| user.partials.iter().map(|partial| user.of(partial))).collect();
    if uses.is_empty() {
        return Ok(());
    }
    INSERT_USES
        .with(dialect, &uses)
        .bind(merchant.as_str())
        .execute(on)
        .await
        .map(drop)
        .doing("note what partials are used")
}

/// Forgets which partials a document used, which is deleted.
pub(super) async fn forget_uses(
    on: &mut Connection,
    merchant: &MerchantId,
    kind: ResourceKind,
    id: &str,
) -> Result<(), StoreError> {
    query("DELETE FROM partial_uses WHERE merchant_id = $1 AND user_kind = $2 AND user_id = $3")
        .bind(merchant.as_str())
        .bind(kind.as_str())
        .bind(id)
        .execute(on)
        .await
        .map(drop)
        .doing("forget what partials were used")
}
