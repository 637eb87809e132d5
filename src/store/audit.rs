//! Who changed what. An entry is written in the transaction of its change, where a [`Store`] acts for an [`Author`].

use std::{fmt::Display, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    connection::Connection,
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    row::Row,
    statement::Statement,
    statement::query,
    steps::{STEP, in_steps},
};
use crate::{
    audit::{Action, Author},
    clock,
    mail::{MerchantId, Timestamp},
};

/// The longest name of what was changed, in characters.
const LONGEST_TARGET: usize = 300;

/// Which entries are looked for.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// About this merchant.
    pub merchant: Option<MerchantId>,
    /// Of this actor, as in `cli:root`; or of a kind of them, as in `token`.
    pub actor: Option<String>,
    /// Of this kind.
    pub action: Option<Action>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// UUIDv7.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who, as [`Actor`](crate::audit::Actor) writes it.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// To what.
    pub target: String,
    /// Whose it is.
    pub merchant: Option<MerchantId>,
    /// To how many.
    pub number: u64,
    /// Where from.
    pub origin: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// More about it: an object without secrets, addresses and bodies.
    pub details: Value,
}

/// An entry to record with its change.
#[derive(Clone, Debug)]
pub(super) struct NewEntry {
    id: Uuid,
    author: std::sync::Arc<Author>,
    action: Action,
    target: String,
    merchant: Option<MerchantId>,
    /// Where nothing else is said, how many rows changed.
    number: Option<u64>,
    details: Value,
}

impl NewEntry {
    /// With more about it: an object without secrets, addresses and bodies.
    pub(super) fn with(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// About so many things.
    pub(super) fn of(self, number: u64) -> Self {
        Self { number: Some(number), ..self }
    }

    /// The part of an entry that grows with each further transaction of one action, by the id that this action has.
    pub(super) fn part_of(self, id: Uuid) -> Self {
        Self { id, ..self }
    }
}

/// Records an entry, where there is one. Of an entry that is there already the numbers are added up.
pub(super) async fn record(on: &mut Connection, entry: Option<&NewEntry>) -> Result<(), StoreError> {
    let Some(entry) = entry else { return Ok(()) };
    query(
        "INSERT INTO audit (id, at, actor, action, target, merchant_id, number, origin, request_id, details)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (id) DO UPDATE SET number = audit.number + excluded.number",
    )
    .bind(entry.id.to_string())
    .bind(clock::now().millis())
    .bind(entry.author.actor.to_string())
    .bind(entry.action.as_str())
    .bind(&entry.target)
    .bind(entry.merchant.as_ref().map(|merchant| merchant.as_str().to_owned()))
    .bind(i64::try_from(entry.number.unwrap_or(1)).unwrap_or(i64::MAX))
    .bind(entry.author.origin.as_deref().map(str::to_owned))
    .bind(entry.author.request_id.as_deref().map(str::to_owned))
    .bind(entry.details.to_string())
    .execute(on)
    .await
    .map(drop)
    .doing("record who changed something")
}

impl Store {
    /// The same rows for somebody: what they change is in the audit.
    pub fn acting_for(&self, author: Author) -> Self {
        let mut store = self.clone();
        store.author = Some(author.into());
        store
    }

    /// The entry of a change, where somebody answers for it.
    pub(super) fn entry(
        &self,
        action: Action,
        target: impl Display,
        merchant: Option<&MerchantId>,
    ) -> Option<NewEntry> {
        let author = self.author.clone()?;
        Some(NewEntry {
            id: Uuid::now_v7(),
            author,
            action,
            target: target.to_string().chars().take(LONGEST_TARGET).collect(),
            merchant: merchant.cloned(),
            number: None,
            details: json!({}),
        })
    }

    /// Runs one statement in a transaction of its own and records the entry where it changed anything; returns how many rows
    /// it changed.
    pub(super) async fn change(
        &self,
        statement: Statement,
        doing: &'static str,
        entry: Option<NewEntry>,
    ) -> Result<u64, StoreError> {
        self.writer.run(move |on| async move { changed(statement, on, doing, entry).await }.boxed()).await
    }

    /// The same for a statement that returns the row that it changed, or none.
    pub(super) async fn change_one(
        &self,
        statement: Statement,
        doing: &'static str,
        entry: Option<NewEntry>,
    ) -> Result<Option<Row>, StoreError> {
        self.writer
            .run(move |on| {
                async move {
                    let row = statement.fetch_optional(&mut *on).await.doing(doing)?;
                    record(on, entry.as_ref().filter(|_| row.is_some())).await?;
                    Ok(row)
                }
                .boxed()
            })
            .await
    }

    /// Notes that a mail was sent over a route to try it. Nothing else is recorded of it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn note_test_mail(&self, route: &str) -> Result<(), StoreError> {
        self.note(self.entry(Action::MailTested, route, None)).await
    }

    /// Notes that a process put these settings in force while it ran. Their values may be secrets and are left out.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn note_reload(&self, process: u32, settings: &[&str]) -> Result<(), StoreError> {
        let entry = self.entry(Action::ConfigReloaded, format!("process {process}"), None);
        self.note(entry.map(|entry| entry.of(settings.len() as u64).with(json!({ "settings": settings }))))
            .await
    }

    /// Records an entry, where there is one, of something that changed no row.
    pub(super) async fn note(&self, entry: Option<NewEntry>) -> Result<(), StoreError> {
        if entry.is_none() {
            return Ok(());
        }
        self.writer.run(move |on| async move { record(on, entry.as_ref()).await }.boxed()).await
    }

    /// Lists entries, newest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let (mut conditions, mut values) = (vec!["at >= $1 AND at < $2".to_owned()], Vec::new());
        let mut add = |condition: &str, value: String| {
            values.push(value);
            conditions.push(format!("{condition} ${}", values.len() + 3));
        };
        if let Some(merchant) = &filter.merchant {
            add("merchant_id =", merchant.to_string());
        }
        if let Some(action) = filter.action {
            add("action =", action.to_string());
        }
        match filter.actor.as_deref() {
            Some(actor) if actor.contains(':') => add("actor =", actor.to_owned()),
            Some(kind) => {
                add("actor >=", format!("{kind}:"));
                add("actor <", format!("{kind};")); // the character after the colon
            }
            None => {}
        }
        let text = format!(
            "SELECT id, at, actor, action, target, merchant_id, number, origin, request_id, details FROM audit
             WHERE {} ORDER BY at DESC, id DESC LIMIT $3",
            conditions.join(" AND ")
        );
        let query = query(sqlx::AssertSqlSafe(text))
            .bind(filter.since.map_or(i64::MIN, Timestamp::millis))
            .bind(filter.until.map_or(i64::MAX, Timestamp::millis))
            .bind(i64::from(filter.limit));
        let query = values.into_iter().fold(query, |query, value| query.bind(value));
        let rows = query.fetch_all(&self.readers).await.doing("list the audit")?;
        rows.iter().map(|row| read(&Columns { table: "audit", row })).collect()
    }

    /// Forgets entries that are older than `keep`; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_audit(&self, keep: Duration) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - keep).millis();
        in_steps(STEP, || async {
            let delete = query(
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
            );
            self.writer
                .in_background()
                .execute(delete.bind(long_ago).bind(STEP), "forget old audit entries")
                .await
        })
        .await
    }
}

pub(super) async fn changed(
    statement: Statement,
    on: &mut Connection,
    doing: &'static str,
    entry: Option<NewEntry>,
) -> Result<u64, StoreError> {
    let rows = statement.execute(&mut *on).await.doing(doing)?.rows_affected();
    let entry = entry.filter(|_| rows > 0);
    let entry = entry.map(|entry| NewEntry { number: entry.number.or(Some(rows)), ..entry });
    record(on, entry.as_ref()).await?;
    Ok(rows)
}

fn read(columns: &Columns<'_>) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        id: columns.text("id")?,
        at: columns.time("at")?,
        actor: columns.text("actor")?,
        action: columns.parsed("action")?,
        target: columns.text("target")?,
        merchant: columns.optional_parsed("merchant_id")?,
        number: columns.count("number")?,
        origin: columns.optional_text("origin")?,
        request_id: columns.optional_text("request_id")?,
        details: columns.json("details")?,
    })
}
