//! Templates and their versions in lists, for people.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    database::Store,
    dialect::Sql,
    error::{Doing, StoreError},
    row::{Columns, to_json},
};
use crate::mail::{MerchantId, Timestamp};

/// A version of a template in a list.
#[derive(Clone, Debug)]
pub struct TemplateVersionRecord {
    /// Its id.
    pub id: String,
    /// The subject, with its placeholders.
    pub subject: String,
    /// When it was stored.
    pub created_at: Timestamp,
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
        let rows = sqlx::query(AMONG.on(self.dialect))
            .bind(to_json(&asked))
            .bind(merchant.as_str())
            .fetch_all(&self.readers)
            .await
            .doing("find templates")?;
        rows.iter().map(|row| Columns { table: "resources", row }.text("id")).collect()
    }

    /// The versions of a merchant's template, the newest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn versions_of_template(
        &self,
        merchant: &MerchantId,
        template: &str,
        limit: u32,
    ) -> Result<Vec<TemplateVersionRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, subject, created_at FROM template_versions WHERE merchant_id = $1 AND template_id = $2
             ORDER BY created_at DESC, id DESC LIMIT $3",
        )
        .bind(merchant.as_str())
        .bind(template)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list versions of a template")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "template_versions", row };
                Ok(TemplateVersionRecord {
                    id: columns.text("id")?,
                    subject: columns.text("subject")?,
                    created_at: columns.time("created_at")?,
                })
            })
            .collect()
    }
}
