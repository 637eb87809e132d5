//! Documents as they are stored, and looking many up at once by what names them.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    dialect::Dialect,
    error::{Doing, StoreError},
    group_read::Lookup,
    readers::Readers,
    row::Columns,
    sql::Sql,
};
use crate::{
    mail::{MerchantId, Timestamp},
    shop::ResourceKind,
};

/// One document as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The merchant's id for it.
    pub id: String,
    /// The brand it belongs to.
    pub brand_id: Option<String>,
    /// For a template: its newest version.
    pub version: Option<String>,
    /// The document, JSON.
    pub body: String,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last stored.
    pub updated_at: Timestamp,
}

/// A template as it is stored, without its document: that may be large, and a mail is made from the version.
#[derive(Clone, Debug)]
pub struct TemplateHead {
    /// The brand it belongs to.
    pub brand_id: Option<String>,
    /// Its newest version.
    pub version: Option<String>,
}

/// What is found by a key.
#[derive(Clone, Debug)]
pub(super) enum AnyDocument {
    Template(TemplateHead),
    Document(Stored),
}

impl AnyDocument {
    pub(super) fn template(&self) -> Option<&TemplateHead> {
        match self {
            Self::Template(head) => Some(head),
            Self::Document(_) => None,
        }
    }

    pub(super) fn document(&self) -> Option<&Stored> {
        match self {
            Self::Template(_) => None,
            Self::Document(stored) => Some(stored),
        }
    }
}

/// Names one document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Key {
    pub(super) merchant: MerchantId,
    pub(super) kind: ResourceKind,
    pub(super) id: String,
}

impl Key {
    pub(super) fn new(merchant: &MerchantId, kind: ResourceKind, id: &str) -> Self {
        Self { merchant: merchant.clone(), kind, id: id.to_owned() }
    }
}

// A template's document is large and its version holds all that a mail needs: it stays in the database.
static FIND: Sql = Sql::new(
    "SELECT resources.merchant_id, resources.kind, resources.id, brand_id, version,
        CASE resources.kind WHEN 'templates' THEN '' ELSE body END AS body, created_at, updated_at
     FROM {rows: merchant text, kind text, id text}
     JOIN resources ON resources.merchant_id = rows.merchant AND resources.kind = rows.kind
        AND resources.id = rows.id",
);

impl Lookup for AnyDocument {
    type Key = Key;

    async fn find(
        dialect: Dialect,
        readers: &Readers,
        keys: &[&Key],
    ) -> Result<HashMap<Key, Self>, StoreError> {
        let rows = FIND.with(dialect, keys).fetch_all(readers).await.doing("find resources")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "resources", row };
                let kind = columns.parsed("kind")?;
                let key = Key { merchant: columns.parsed("merchant_id")?, kind, id: columns.text("id")? };
                let found = match kind {
                    ResourceKind::Templates => Self::Template(TemplateHead {
                        brand_id: columns.optional_text("brand_id")?,
                        version: columns.optional_text("version")?,
                    }),
                    _ => Self::Document(read(&columns)?),
                };
                Ok((key, found))
            })
            .collect()
    }
}

pub(super) const COLUMNS: &str = "id, brand_id, version, body, created_at, updated_at";

pub(super) fn read(columns: &Columns<'_>) -> Result<Stored, StoreError> {
    Ok(Stored {
        id: columns.text("id")?,
        brand_id: columns.optional_text("brand_id")?,
        version: columns.optional_text("version")?,
        body: columns.text("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}
