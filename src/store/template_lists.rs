//! Templates and their versions in lists, for people.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::{Columns, Row},
    sql::Sql,
    statement::query,
};
use crate::{
    mail::{MerchantId, Timestamp},
    shop::{ResourceKind, TemplateSource},
};

/// A version of a template in a list.
#[derive(Clone, Debug)]
pub struct TemplateVersionRecord {
    /// Its id.
    pub id: String,
    /// The subject, with its placeholders; empty for a partial.
    pub subject: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A version as it was written and as it was made.
#[derive(Clone, Debug)]
pub struct WrittenVersion {
    /// Its id.
    pub id: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The document as it was given, where it is kept.
    pub document: Option<String>,
    /// The partials in it, by name, with the version of each.
    pub partials: BTreeMap<String, String>,
    /// The parts as mails are made from them.
    pub source: TemplateSource,
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

static AMONG: Sql = Sql::new(
    "SELECT resources.id FROM {rows: id text} JOIN resources ON resources.merchant_id = $2
        AND resources.kind = 'templates' AND resources.id = rows.id",
);

impl Store {
    /// Which of these templates a merchant has.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn templates_among(
        &self,
        merchant: &MerchantId,
        ids: &[String],
    ) -> Result<HashSet<String>, StoreError> {
        let asked: Vec<_> = ids.iter().map(|id| Id { id }).collect();
        let rows = AMONG
            .with(self.dialect, &asked)
            .bind(merchant.as_str())
            .fetch_all(&self.readers)
            .await
            .doing("find templates")?;
        rows.iter().map(|row| Columns { table: "resources", row }.text("id")).collect()
    }

    /// The versions of a merchant's template or partial, the newest first; with `after`, those before that one.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn versions_of_template(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        template: &str,
        after: Option<&TemplateVersionRecord>,
        limit: u32,
    ) -> Result<Vec<TemplateVersionRecord>, StoreError> {
        let (before, id) =
            after.map_or((i64::MAX, ""), |after| (after.created_at.millis(), after.id.as_str()));
        let rows = query(
            "SELECT id, subject, created_at FROM template_versions WHERE merchant_id = $1 AND template_id = $2
                AND kind = $4 AND (created_at, id) < ($5, $6) ORDER BY created_at DESC, id DESC LIMIT $3",
        )
        .bind(merchant.as_str())
        .bind(template)
        .bind(i64::from(limit))
        .bind(kind.as_str())
        .bind(before)
        .bind(id)
        .fetch_all(&self.readers)
        .await
        .doing("list versions of a template")?;
        rows.iter().map(|row| read_record(&Columns { table: "template_versions", row })).collect()
    }

    async fn version_row(
        &self,
        columns: &str,
        merchant: &MerchantId,
        kind: ResourceKind,
        (template, version): (&str, &str),
    ) -> Result<Option<Row>, StoreError> {
        query(sqlx::AssertSqlSafe(format!(
            "SELECT {columns} FROM template_versions
             WHERE id = $1 AND merchant_id = $2 AND template_id = $3 AND kind = $4"
        )))
        .bind(version)
        .bind(merchant.as_str())
        .bind(template)
        .bind(kind.as_str())
        .fetch_optional(&self.readers)
        .await
        .doing("find a version of a template")
    }

    /// A version of a merchant's template or partial, as in the list.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn listed_version(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        template: &str,
        version: &str,
    ) -> Result<Option<TemplateVersionRecord>, StoreError> {
        let row = self.version_row("id, subject, created_at", merchant, kind, (template, version)).await?;
        row.map(|row| read_record(&Columns { table: "template_versions", row: &row })).transpose()
    }

    /// A version of a merchant's template or partial.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn written_version(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        template: &str,
        version: &str,
    ) -> Result<Option<WrittenVersion>, StoreError> {
        let columns = "id, created_at, document, partials, subject, html, text";
        let row = self.version_row(columns, merchant, kind, (template, version)).await?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns { table: "template_versions", row: &row };
        Ok(Some(WrittenVersion {
            id: columns.text("id")?,
            created_at: columns.time("created_at")?,
            document: columns.optional_text("document")?,
            partials: columns.optional_json("partials")?.unwrap_or_default(),
            source: TemplateSource {
                subject: columns.text("subject")?,
                html: columns.text("html")?,
                text: columns.optional_text("text")?,
            },
        }))
    }
}

fn read_record(columns: &Columns<'_>) -> Result<TemplateVersionRecord, StoreError> {
    Ok(TemplateVersionRecord {
        id: columns.text("id")?,
        subject: columns.text("subject")?,
        created_at: columns.time("created_at")?,
    })
}
