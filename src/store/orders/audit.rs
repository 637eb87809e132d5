//! Who asked for which mail of an order, and why.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    mail::{MerchantId, Timestamp},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

/// A request for a mail of an order, whatever its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who asked.
    pub actor: String,
    /// The template's name as it was given.
    pub template: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Whether it was to be sent whatever the store's cool-down says.
    pub forced: bool,
}

/// An entry to record, once however often it is tried.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// UUIDv7.
    pub id: Uuid,
    /// Whose order.
    pub merchant: MerchantId,
    /// The merchant's id for it.
    pub order: String,
    /// The entry.
    pub entry: AuditEntry,
}

static INSERT: Sql = Sql::new(
    "INSERT INTO order_audit (id, merchant_id, order_id, actor, template, reason, at, forced)
     SELECT id, merchant, document, actor, template, reason, at, forced
     FROM {rows: id text, merchant text, document text, actor text, template text, reason text, at bigint, forced bigint}
     WHERE true ON CONFLICT (id) DO NOTHING",
);

#[derive(Serialize)]
struct Row<'a> {
    id: Uuid,
    merchant: &'a MerchantId,
    document: &'a str,
    actor: &'a str,
    template: Option<&'a str>,
    reason: &'a str,
    at: i64,
    forced: u8,
}

/// Records who asked.
pub(in crate::store) async fn audit<'a>(
    dialect: Dialect,
    on: &mut Connection,
    entries: impl Iterator<Item = &'a NewAuditEntry>,
) -> Result<(), StoreError> {
    let row = |new: &'a NewAuditEntry| Row {
        id: new.id,
        merchant: &new.merchant,
        document: &new.order,
        actor: &new.entry.actor,
        template: new.entry.template.as_deref(),
        reason: &new.entry.reason,
        at: new.entry.at.millis(),
        forced: new.entry.forced.into(),
    };
    let rows: Vec<_> = entries.map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    INSERT.with(dialect, &rows).execute(on).await.map(drop).doing("record who asked for mails of orders")
}

impl Store {
    /// Lists who asked for mails of an order, oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn order_audit(
        &self,
        merchant: &MerchantId,
        order: &str,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = query(
            "SELECT actor, template, reason, at, forced FROM order_audit WHERE merchant_id = $1 AND order_id = $2 ORDER BY id",
        )
        .bind(merchant.as_str())
        .bind(order)
        .fetch_all(&self.readers)
        .await
        .doing("read who asked for mails of an order")?;
        let read = |columns: &Columns<'_>| {
            Ok(AuditEntry {
                actor: columns.text("actor")?,
                template: columns.optional_text("template")?,
                reason: columns.text("reason")?,
                at: columns.time("at")?,
                forced: columns.integer("forced")? != 0,
            })
        };
        rows.iter().map(|row| read(&Columns { table: "order_audit", row })).collect()
    }
}
