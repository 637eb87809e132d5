//! Versions of templates. A version never changes, so a version that was read may be kept.

use std::collections::BTreeMap;

use futures_util::FutureExt;
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
use crate::{
    clock,
    mail::{CrashPolicy, Mailbox, MerchantId},
    shop::{ResourceKind, TemplateClass, TemplateSource, TemplateVersion},
};

/// A checked version to store.
#[derive(Clone, Debug)]
pub struct NewTemplateVersion {
    /// Names the version among all versions of all templates.
    pub id: String,
    /// Templates or partials.
    pub kind: ResourceKind,
    /// The template or partial it is a version of.
    pub template: String,
    /// The parts, with partials in their places and CSS inlined; of a partial, as they were given.
    pub source: TemplateSource,
    /// The partials in it, by name, with the version of each.
    pub partials: BTreeMap<String, String>,
    /// The placeholders it uses.
    pub tags: Vec<String>,
    /// Its own `From`.
    pub sender: Option<Mailbox>,
    /// What it is for, where it says so.
    pub class: Option<TemplateClass>,
    /// What to do with its mails when a crash left their outcome unknown.
    pub on_crash: CrashPolicy,
    /// The language it is written in.
    pub language: Option<String>,
}

impl From<NewTemplateVersion> for TemplateVersion {
    fn from(new: NewTemplateVersion) -> Self {
        let NewTemplateVersion { id, template, source, tags, sender, class, on_crash, language, .. } = new;
        Self { id, template, source, tags, sender, class, on_crash, language }
    }
}

static INSERT: Sql = Sql::new(
    "INSERT INTO template_versions (id, merchant_id, template_id, subject, html, text, tags, sender, class, class_is_said,
        on_crash, language, kind, document, partials, created_at)
     SELECT id, merchant, template, subject, html, text, tags, sender, class, class_is_said, on_crash, language, kind,
        document, partials, $2
     FROM {rows: id text, merchant text, template text, subject text, html text, text text, tags text, sender text,
        class text, class_is_said bigint, on_crash text, language text, kind text, document text, partials text} WHERE true ON CONFLICT (id) DO NOTHING",
);

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    merchant: Option<&'a str>,
    template: &'a str,
    subject: &'a str,
    html: &'a str,
    text: Option<&'a str>,
    tags: &'a [String],
    sender: Option<&'a Mailbox>,
    class: &'static str,
    class_is_said: u8,
    on_crash: &'static str,
    language: Option<&'a str>,
    kind: &'static str,
    document: Option<&'a str>,
    partials: Option<&'a BTreeMap<String, String>>,
}

/// Inserts versions that are not there yet, each with its document as it was given.
pub(super) async fn insert(
    dialect: Dialect,
    on: &mut Connection,
    merchant: Option<&MerchantId>,
    versions: &[(&NewTemplateVersion, Option<&str>)],
) -> Result<(), StoreError> {
    if versions.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = versions
        .iter()
        .map(|(version, document)| Row {
            id: &version.id,
            merchant: merchant.map(MerchantId::as_str),
            template: &version.template,
            subject: &version.source.subject,
            html: &version.source.html,
            text: version.source.text.as_deref(),
            tags: &version.tags,
            sender: version.sender.as_ref(),
            class: version.class.unwrap_or(TemplateClass::Transactional).as_str(),
            class_is_said: version.class.is_some().into(),
            on_crash: version.on_crash.as_str(),
            language: version.language.as_deref(),
            kind: version.kind.as_str(),
            document: *document,
            partials: Some(&version.partials).filter(|partials| !partials.is_empty()),
        })
        .collect();
    INSERT
        .with(dialect, &rows)
        .bind(clock::now().millis())
        .execute(on)
        .await
        .map(drop)
        .doing("store template versions")
}

impl Store {
    /// Stores a built-in template's version unless it is there.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn put_builtin_version(&self, version: &NewTemplateVersion) -> Result<(), StoreError> {
        let (dialect, version) = (self.dialect, version.clone());
        self.writer
            .in_background()
            .run(move |on| async move { insert(dialect, on, None, &[(&version, None)]).await }.boxed())
            .await
    }

    /// Reads a version.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn template_version(&self, id: &str) -> Result<Option<TemplateVersion>, StoreError> {
        let row = query(
            "SELECT id, template_id, subject, html, text, tags, sender, class, class_is_said, on_crash, language
             FROM template_versions WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await
        .doing("read a template version")?;
        row.map(|row| read(&Columns { table: "template_versions", row: &row })).transpose()
    }
}

fn read(columns: &Columns<'_>) -> Result<TemplateVersion, StoreError> {
    Ok(TemplateVersion {
        id: columns.text("id")?,
        template: columns.text("template_id")?,
        source: TemplateSource {
            subject: columns.text("subject")?,
            html: columns.text("html")?,
            text: columns.optional_text("text")?,
        },
        tags: columns.json("tags")?,
        sender: columns.optional_json("sender")?,
        class: match columns.integer("class_is_said")? {
            1 => Some(columns.parsed("class")?),
            _ => None,
        },
        on_crash: columns.parsed("on_crash")?,
        language: columns.optional_text("language")?,
    })
}
