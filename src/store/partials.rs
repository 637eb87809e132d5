//! Partials and the templates that have them in them: what uses what, and storing what belongs together in one transaction.
//!
//! A template's version is whole, so a partial that changes makes new versions of all templates that have it. Whoever
//! stores either says what was seen of the others; where that has changed meanwhile, nothing is stored.

use futures_util::FutureExt;
use serde::Serialize;

use super::{
    audit,
    connection::Connection,
    database::Store,
    dialect::Dialect,
    documents::{AnyDocument, Key, Stored, read},
    error::{Doing, StoreError},
    resources::{self, ResourceRow},
    row::Columns,
    sql::Sql,
    statement::query,
};
use crate::{audit::Action, mail::MerchantId, shop::ResourceKind};

/// A template or a partial that is stored, with all that belongs to it.
#[derive(Debug)]
pub struct Composition {
    /// What is stored.
    pub document: ResourceRow,
    /// The templates that have it in them, made anew; for a partial.
    pub remade: Vec<ResourceRow>,
    /// What all of this was made from and must still be so.
    pub seen: Vec<Seen>,
}

/// The version of a document that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Templates or partials.
    pub kind: ResourceKind,
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// What became of a [`Composition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composed {
    /// It is stored, and there was none of this id.
    New,
    /// It is stored in place of another.
    Replaced,
    /// What was seen has changed meanwhile; nothing is stored.
    Outdated,
}

// Writes what is there already: that locks the rows and counts those that are as they were seen.
static STILL_SO: Sql = Sql::new(
    "UPDATE resources SET version = rows.seen FROM {rows: kind_of text, document text, seen text}
     WHERE resources.merchant_id = $2 AND resources.kind = rows.kind_of AND resources.id = rows.document
        AND resources.version = rows.seen",
);

#[derive(Serialize)]
struct SeenRow<'a> {
    kind_of: &'static str,
    document: &'a str,
    seen: &'a str,
}

impl Store {
    /// Stores a template or a partial with all that belongs to it, or nothing.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_composition(
        &self,
        merchant: &MerchantId,
        composition: Composition,
    ) -> Result<Composed, StoreError> {
        let (dialect, merchant) = (self.dialect, merchant.clone());
        let target = format!("{}/{}", composition.document.kind, composition.document.id);
        let entry = self.entry(Action::ResourceStored, target, Some(&merchant));
        self.writer
            .run(move |on| {
                async move {
                    let Composition { document, remade, mut seen } = composition;
                    seen.sort();
                    let is_new = !resources::exists(on, &merchant, document.kind, &document.id).await?;
                    if !is_still_so(dialect, on, &merchant, &seen).await?
                        || !are_all(on, &merchant, &document, &remade).await?
                    {
                        return Ok(Composed::Outdated);
                    }
                    resources::upsert(dialect, on, &merchant, std::slice::from_ref(&document)).await?;
                    for some in remade.chunks(20) {
                        resources::upsert(dialect, on, &merchant, some).await?;
                    }
                    audit::record(on, entry.as_ref()).await?;
                    Ok(if is_new { Composed::New } else { Composed::Replaced })
                }
                .boxed()
            })
            .await
    }

    /// The partials of these names that a merchant has.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn partials(&self, merchant: &MerchantId, names: &[String]) -> Result<Vec<Stored>, StoreError> {
        let keys = names.iter().map(|name| Key::new(merchant, ResourceKind::Partials, name)).collect();
        let found = self.documents.find(keys).await?;
        Ok(found.values().filter_map(AnyDocument::document).cloned().collect())
    }

    /// The templates that have a partial in them, at most `limit`.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn templates_with(
        &self,
        merchant: &MerchantId,
        partial: &str,
        limit: u32,
    ) -> Result<Vec<Stored>, StoreError> {
        let rows = query(
            "SELECT resources.id, brand_id, version, body, created_at, updated_at FROM partial_uses
             JOIN resources ON resources.merchant_id = $1 AND resources.kind = 'templates' AND resources.id = user_id
             WHERE partial_uses.merchant_id = $1 AND partial = $2 AND user_kind = 'templates'
             ORDER BY user_id LIMIT $3",
        )
        .bind(merchant.as_str())
        .bind(partial)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("find the templates of a partial")?;
        rows.iter().map(|row| read(&Columns { table: "resources", row })).collect()
    }

    /// What uses a partial, as in `templates/welcome`, at most `limit` of it.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn users_of_partial(
        &self,
        merchant: &MerchantId,
        partial: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT user_kind, user_id FROM partial_uses WHERE merchant_id = $1 AND partial = $2
             ORDER BY user_kind, user_id LIMIT $3",
        )
        .bind(merchant.as_str())
        .bind(partial)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("find what uses a partial")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "partial_uses", row };
                Ok(format!("{}/{}", columns.text("user_kind")?, columns.text("user_id")?))
            })
            .collect()
    }
}

/// Whether all that was seen is still so. Nobody changes it before this transaction ends.
async fn is_still_so(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    seen: &[Seen],
) -> Result<bool, StoreError> {
    if seen.is_empty() {
        return Ok(true);
    }
    let kept: Vec<_> = seen
        .iter()
        .map(|Seen { kind, id, version }| SeenRow { kind_of: kind.as_str(), document: id, seen: version })
        .collect();
    let rows = STILL_SO
        .with(dialect, &kept)
        .bind(merchant.as_str())
        .execute(on)
        .await
        .doing("look whether partials are as they were seen")?;
    Ok(rows.rows_affected() == seen.len() as u64)
}

/// Whether the templates that were made anew are all that have a partial in them.
async fn are_all(
    on: &mut Connection,
    merchant: &MerchantId,
    document: &ResourceRow,
    remade: &[ResourceRow],
) -> Result<bool, StoreError> {
    if document.kind != ResourceKind::Partials {
        return Ok(true);
    }
    let rows = query(
        "SELECT user_id FROM partial_uses WHERE merchant_id = $1 AND partial = $2 AND user_kind = 'templates'",
    )
    .bind(merchant.as_str())
    .bind(&document.id)
    .fetch_all(on)
    .await
    .doing("find the templates of a partial")?;
    for row in &rows {
        let id = Columns { table: "partial_uses", row }.text("user_id")?;
        if !remade.iter().any(|remade| remade.id == id) {
            return Ok(false);
        }
    }
    Ok(true)
}
