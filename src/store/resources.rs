//! What merchants' systems tell postroom: one document per thing, as it was given.

use std::collections::{HashMap, HashSet};

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    audit,
    connection::Connection,
    database::Store,
    dialect::Dialect,
    documents::{AnyDocument, COLUMNS, Key, Stored, TemplateHead, read},
    error::{Doing, StoreError},
    look_ups::LookUps,
    orders,
    partial_uses::{self, User},
    row::Columns,
    sql::Sql,
    statement::query,
    templates::{self, NewTemplateVersion},
};
use crate::{audit::Action, clock, mail::MerchantId, shop::ResourceKind};

/// One document to store.
#[derive(Debug)]
pub struct ResourceRow {
    /// What kind of thing.
    pub kind: ResourceKind,
    /// The merchant's id for it.
    pub id: String,
    /// The brand it belongs to, for kinds that have one.
    pub brand_id: Option<String>,
    /// Its status, for kinds that are listed by it.
    pub status: Option<&'static str>,
    /// For a template or a partial: the version that this document is.
    pub version: Option<NewTemplateVersion>,
    /// The document.
    pub body: Box<RawValue>,
}

/// What a request for a templated mail names.
#[derive(Debug, Default)]
pub struct MailingSubjects {
    /// The brand.
    pub brand: Option<Stored>,
    /// The template.
    pub template: Option<TemplateHead>,
    /// The member.
    pub member: Option<Stored>,
}

static UPSERT: Sql = Sql::new(
    "INSERT INTO resources (merchant_id, kind, id, brand_id, status, version, body, created_at, updated_at)
     SELECT $2, kind, id, brand_id, status, version, body, $3, $3
     FROM {rows: kind text, id text, brand_id text, status text, version text, body text} WHERE true
     ON CONFLICT (merchant_id, kind, id) DO UPDATE SET brand_id = excluded.brand_id, status = excluded.status,
        version = excluded.version, body = excluded.body, updated_at = excluded.updated_at",
);

#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    id: &'a str,
    brand_id: Option<&'a str>,
    status: Option<&'static str>,
    version: Option<&'a str>,
    body: &'a str,
}

impl Store {
    /// Stores one document; returns whether it is new.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_resource(
        &self,
        merchant: &MerchantId,
        resource: ResourceRow,
    ) -> Result<bool, StoreError> {
        let (dialect, merchant) = (self.dialect, merchant.clone());
        let target = format!("{}/{}", resource.kind, resource.id);
        // What merchants' systems keep postroom informed of is data, and more than anybody reads.
        let entry = resource
            .kind
            .is_definition()
            .then(|| self.entry(Action::ResourceStored, target, Some(&merchant)));
        let entry = entry.flatten();
        self.writer
            .run(move |on| {
                async move {
                    let is_new = !exists(on, &merchant, resource.kind, &resource.id).await?;
                    upsert(dialect, &mut *on, &merchant, std::slice::from_ref(&resource)).await?;
                    audit::record(on, entry.as_ref()).await?;
                    Ok(is_new)
                }
                .boxed()
            })
            .await
    }

    /// Stores a part of an import, all or none; of two documents with one id the later stands. An import has one entry in the
    /// audit, however many parts it has.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn import_resources(
        &self,
        import: Uuid,
        merchant: &MerchantId,
        resources: Vec<ResourceRow>,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Action::ResourceImported, "import", Some(merchant));
        let entry = entry.map(|entry| entry.part_of(import).of(resources.len() as u64));
        let (dialect, merchant) = (self.dialect, merchant.clone());
        self.writer
            .run(move |on| {
                async move {
                    upsert(dialect, &mut *on, &merchant, &resources).await?;
                    audit::record(on, entry.as_ref()).await
                }
                .boxed()
            })
            .await
    }

    /// Finds one document.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn resource(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        id: &str,
    ) -> Result<Option<Stored>, StoreError> {
        if kind == ResourceKind::Templates {
            return self.template(merchant, id).await;
        }
        let key = Key::new(merchant, kind, id);
        Ok(self.documents.find(vec![key.clone()]).await?.get(&key).and_then(AnyDocument::document).cloned())
    }

    /// Finds a template with its document, which may be large.
    async fn template(&self, merchant: &MerchantId, id: &str) -> Result<Option<Stored>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM resources WHERE merchant_id = $1 AND kind = 'templates' AND id = $2"
        )))
        .bind(merchant.as_str())
        .bind(id)
        .fetch_optional(&self.readers)
        .await
        .doing("find a template")?;
        row.map(|row| read(&Columns { table: "resources", row: &row })).transpose()
    }

    /// Lists documents of a kind by id, those after `after`, at most `limit`; only those of `brand` when it is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn resources(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        brand: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Stored>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM resources WHERE merchant_id = $1 AND kind = $2 AND id > $3
                AND ($4 = '' OR brand_id = $4) ORDER BY id LIMIT $5"
        )))
        .bind(merchant.as_str())
        .bind(kind.as_str())
        .bind(after)
        .bind(brand.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .doing("list resources")?;
        rows.iter().map(|row| read(&Columns { table: "resources", row })).collect()
    }

    /// Deletes one document; returns whether there was one that nothing uses. Mails already recorded keep their
    /// template's version.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn delete_resource(
        &self,
        merchant: &MerchantId,
        kind: ResourceKind,
        id: &str,
    ) -> Result<bool, StoreError> {
        let entry = self.entry(Action::ResourceDeleted, format!("{kind}/{id}"), Some(merchant));
        let delete = query(
            "DELETE FROM resources WHERE merchant_id = $1 AND kind = $2 AND id = $3 AND ($2 <> 'partials' OR NOT EXISTS (
                SELECT 1 FROM partial_uses WHERE partial_uses.merchant_id = $1 AND partial = $3))",
        )
        .bind(merchant.to_string())
        .bind(kind.as_str())
        .bind(id.to_owned());
        if !kind.has_versions() {
            return Ok(self.change(delete, "delete a resource", entry).await? > 0);
        }
        let (merchant, id) = (merchant.clone(), id.to_owned());
        self.writer
            .run(move |on| {
                async move {
                    let rows = audit::changed(delete, &mut *on, "delete a resource", entry).await?;
                    if rows > 0 {
                        partial_uses::forget_uses(on, &merchant, kind, &id).await?;
                    }
                    Ok(rows > 0)
                }
                .boxed()
            })
            .await
    }

    /// Begins the look-ups of a request of a merchant; requests of one kind need like things.
    pub fn look_ups(&self, merchant: &MerchantId, kind_of_request: &'static str) -> LookUps {
        LookUps::new(self.documents.clone(), self.guesses.clone(), merchant.clone(), kind_of_request)
    }

    /// Finds what a request for a templated mail names, in a round trip that it shares with others.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mailing_subjects(
        &self,
        merchant: &MerchantId,
        brand: &str,
        template: &str,
        member: &str,
    ) -> Result<MailingSubjects, StoreError> {
        let (brand, template, member) = (
            Key::new(merchant, ResourceKind::Brands, brand),
            Key::new(merchant, ResourceKind::Templates, template),
            Key::new(merchant, ResourceKind::Members, member),
        );
        let found = self.documents.find(vec![brand.clone(), template.clone(), member.clone()]).await?;
        Ok(MailingSubjects {
            brand: found.get(&brand).and_then(AnyDocument::document).cloned(),
            template: found.get(&template).and_then(AnyDocument::template).cloned(),
            member: found.get(&member).and_then(AnyDocument::document).cloned(),
        })
    }
}

pub(super) async fn upsert(
    dialect: Dialect,
    on: &mut Connection,
    merchant: &MerchantId,
    resources: &[ResourceRow],
) -> Result<(), StoreError> {
    let now = clock::now();
    let mut unchanged = HashSet::new();
    for (index, resource) in resources.iter().enumerate() {
        if let Some(version) = &resource.version
            && is_unchanged(on, merchant, resource, version).await?
        {
            unchanged.insert(index);
        }
    }
    let resources_at = |index: &usize| !unchanged.contains(index);
    let versions: Vec<_> = (0..resources.len())
        .filter(resources_at)
        .filter_map(|index| Some((resources[index].version.as_ref()?, Some(resources[index].body.get()))))
        .collect();
    templates::insert(dialect, on, Some(merchant), &versions).await?;
    let users: Vec<_> = resources.iter().filter_map(user_of).collect();
    partial_uses::note_uses(dialect, on, merchant, &users).await?;
    let of_orders = resources.iter().filter(|resource| resource.kind == ResourceKind::Orders);
    let of_orders = of_orders.map(|order| (order.id.as_str(), &*order.body));
    orders::forget_settled(dialect, on, merchant, of_orders).await?;
    // One statement may not write a row twice: the last document of an id stands.
    let mut last = HashMap::with_capacity(resources.len());
    for (index, resource) in resources.iter().enumerate() {
        last.insert((resource.kind, resource.id.as_str()), index);
    }
    let rows: Vec<_> = resources
        .iter()
        .enumerate()
        .filter(|(index, resource)| last.get(&(resource.kind, resource.id.as_str())) == Some(index))
        .filter(|(index, _)| resources_at(index))
        .map(|(_, resource)| Row {
            kind: resource.kind.as_str(),
            id: &resource.id,
            brand_id: resource.brand_id.as_deref(),
            status: resource.status,
            version: resource.version.as_ref().map(|version| version.id.as_str()),
            body: resource.body.get(),
        })
        .collect();
    UPSERT
        .with(dialect, &rows)
        .bind(merchant.as_str())
        .bind(now.millis())
        .execute(on)
        .await
        .map(drop)
        .doing("store resources")
}

/// Whether there is a document.
pub(super) async fn exists(
    on: &mut Connection,
    merchant: &MerchantId,
    kind: ResourceKind,
    id: &str,
) -> Result<bool, StoreError> {
    query("SELECT 1 FROM resources WHERE merchant_id = $1 AND kind = $2 AND id = $3")
        .bind(merchant.as_str())
        .bind(kind.as_str())
        .bind(id)
        .fetch_optional(on)
        .await
        .map(|row| row.is_some())
        .doing("find a resource")
}

/// Whether a template is stored as it is already: then it makes no version, which would be kept for good.
async fn is_unchanged(
    on: &mut Connection,
    merchant: &MerchantId,
    resource: &ResourceRow,
    version: &NewTemplateVersion,
) -> Result<bool, StoreError> {
    query(
        "SELECT 1 FROM resources JOIN template_versions ON template_versions.id = resources.version
         WHERE resources.merchant_id = $1 AND resources.kind = $2 AND resources.id = $3 AND resources.body = $4
            AND template_versions.subject = $5 AND template_versions.html = $6
            AND COALESCE(template_versions.text, '') = $7",
    )
    .bind(merchant.as_str())
    .bind(resource.kind.as_str())
    .bind(&resource.id)
    .bind(resource.body.get())
    .bind(&version.source.subject)
    .bind(&version.source.html)
    .bind(version.source.text.as_deref().unwrap_or_default())
    .fetch_optional(on)
    .await
    .map(|row| row.is_some())
    .doing("compare a template with its newest version")
}

/// A document of a kind that has versions, and the partials in its newest.
fn user_of(resource: &ResourceRow) -> Option<User<'_>> {
    let version = resource.version.as_ref()?;
    let partials = version.partials.keys().map(String::as_str).collect();
    Some(User { kind: resource.kind, id: &resource.id, partials })
}
