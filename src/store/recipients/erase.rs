//! Takes a recipient's address, and what came with it, out of every row. The rows stay, and with them the counts.

use futures_util::FutureExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;

use super::{
    address_tables::{ADDRESS_TABLES, AddressTable, DOCUMENTS, MAILS, OF_ONE_ADDRESS, Stretch, Trace},
    person::Person,
};
use crate::{
    audit::Action,
    mail::{Address, MailEvent, MailId},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        mails::Moved,
        row::Columns,
        statement::query,
    },
};

/// The most mails of one recipient that wait and are taken back in one call.
const MOST_WAITING: i64 = 10_000;

/// What an erasure came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Mails that waited and were cancelled.
    pub cancelled: u64,
    /// Mails that are being sent at this moment: they are left as they are.
    pub sending: u64,
    /// Rows that were changed.
    pub rows: u64,
}

/// What becomes of a row.
enum Change {
    Delete,
    Set(Vec<(&'static str, Option<String>)>),
}

impl Change {
    /// Whether a mail loses its tags, its metadata and its files.
    fn takes_extras(&self) -> bool {
        matches!(self, Self::Set(set) if set.iter().any(|(column, text)| *column == "extras" && text.is_none()))
    }
}

/// What somebody is called in the audit: the address itself must not be there, and who knows it can compute this.
fn audited(person: &Person) -> String {
    format!("sha256:{}", base16ct::lower::encode_string(&Sha256::digest(person.key())))
}

impl Store {
    /// Takes an address out of all rows, whosever they are: mails to it that wait are cancelled, members with it deleted;
    /// mails lose their values and names, orders and carts their person. What is being sent meanwhile stays; the answer
    /// says so, and a second call finds it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. What was erased until then stays erased.
    pub async fn erase_recipient(&self, address: &Address) -> Result<Erased, StoreError> {
        let person = Person::of(address);
        let mut erased = self.take_back_mails_to(&person).await?;
        for table in &ADDRESS_TABLES {
            let mut stretch = Stretch::default();
            while let Some(traces) = self.next_traces(table, &person, &mut stretch).await? {
                erased.rows += self.erase_from(table, traces, &person).await?;
            }
        }
        let entry = self.entry(Action::RecipientErased, audited(&person), None);
        let details = json!({"cancelled": erased.cancelled});
        self.note(entry.map(|entry| entry.of(erased.rows).with(details))).await?;
        Ok(erased)
    }

    /// Notes that so many mails to an address were written out for somebody.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn note_export(&self, address: &Address, mails: u64) -> Result<(), StoreError> {
        let entry = self.entry(Action::RecipientExported, audited(&Person::of(address)), None);
        self.note(entry.map(|entry| entry.of(mails))).await
    }

    /// Rewrites the database's files without what rows held before: until then it may stand in pages that are free. Takes
    /// long, and SQLite takes no writes meanwhile.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn vacuum(&self) -> Result<(), StoreError> {
        let mut connection = self.writer.own_connection().await?;
        let statements: &[&str] = match self.dialect {
            Dialect::Sqlite => &["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"],
            Dialect::Postgres => &["SET statement_timeout = 0", "VACUUM"],
        };
        for statement in statements {
            sqlx::raw_sql(*statement).execute(&mut connection).await.doing("be vacuumed")?;
        }
        Ok(())
    }

    async fn take_back_mails_to(&self, person: &Person) -> Result<Erased, StoreError> {
        let rows = query(
            "SELECT id, state FROM mails WHERE recipient_key = $1 AND (wake_at IS NOT NULL OR state = 'sending') LIMIT $2",
        )
        .bind(person.key().to_owned())
        .bind(MOST_WAITING)
        .fetch_all(&self.readers)
        .await
        .doing("find a recipient's mails")?;
        let mut erased = Erased::default();
        for row in &rows {
            let id: MailId = Columns { table: MAILS, row }.parsed("id")?;
            match self.move_mail(None, id, MailEvent::Cancelled).await? {
                Moved::Now(_) => erased.cancelled += 1,
                Moved::Refused(state) if !state.is_settled() => erased.sending += 1,
                Moved::Refused(_) | Moved::ToNobody | Moved::Unknown => {}
            }
        }
        Ok(erased)
    }

    /// Changes rows in one transaction, as far as they are still as they were; returns how many.
    async fn erase_from(
        &self,
        table: &'static AddressTable,
        traces: Vec<Trace>,
        person: &Person,
    ) -> Result<u64, StoreError> {
        let changes = traces.into_iter().filter_map(|trace| Some((change(table, &trace, person)?, trace)));
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return Ok(0);
        }
        let dialect = self.dialect;
        self.writer
            .in_background()
            .run(move |on| {
                async move {
                    // SQLite: what the rows held is written over instead of left in the file.
                    secure_delete(dialect, on, "ON").await?;
                    let mut rows = 0;
                    for (change, trace) in changes {
                        let mail = change.takes_extras().then(|| trace.key.concat());
                        let changed = apply(table, change, trace, on).await?;
                        if let Some(mail) = mail.filter(|_| changed > 0) {
                            forget_extras(&mail, on).await?;
                        }
                        rows += changed;
                    }
                    secure_delete(dialect, on, "OFF").await?;
                    Ok(rows)
                }
                .boxed()
            })
            .await
    }
}

async fn secure_delete(dialect: Dialect, on: &mut Connection, value: &str) -> Result<(), StoreError> {
    if matches!(dialect, Dialect::Sqlite) {
        let pragma = format!("PRAGMA secure_delete = {value}");
        on.run(&pragma).await.doing("write over what is erased")?;
    }
    Ok(())
}

/// What becomes of a row; `None` where the address does not stand in it after all.
fn change(table: &AddressTable, trace: &Trace, person: &Person) -> Option<Change> {
    if table.name == DOCUMENTS {
        return document(trace, person);
    }
    if OF_ONE_ADDRESS.contains(&table.name) && trace.text("address_key") == Some(person.key()) {
        return Some(Change::Delete);
    }
    let is_theirs = table.name == MAILS && trace.text("recipient_key") == Some(person.key());
    let mut set = Vec::new();
    for (column, text) in &trace.columns {
        let Some(text) = text else { continue };
        let without = match *column {
            "recipient_name" | "extras" if is_theirs => None,
            "tags" if is_theirs => Some("{}".to_owned()),
            column => match erased(text, person) {
                Some(_) if table.ids.contains(&column) => None,
                Some(without) => Some(without),
                None => continue,
            },
        };
        set.push((*column, without));
    }
    (!set.is_empty()).then_some(Change::Set(set))
}

/// A member's document goes. From others goes the person, where it is this one, and the address wherever else it stands.
fn document(trace: &Trace, person: &Person) -> Option<Change> {
    let body = trace.text("body")?;
    let value: Value = serde_json::from_str(body).ok()?;
    let is_theirs = |value: &Value| value["email"].as_str().is_some_and(|email| person.is(email));
    if trace.key.get(1).is_some_and(|kind| kind == "members") && is_theirs(&value) {
        return Some(Change::Delete);
    }
    erased(body, person).map(|without| Change::Set(vec![("body", Some(without))]))
}

/// A text without the person: in JSON, whoever has this address goes as a whole; the address goes wherever else it stands.
fn erased(text: &str, person: &Person) -> Option<String> {
    let mut value: Option<Value> =
        text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten();
    let is_changed = value.as_mut().is_some_and(|value| take_out(value, person));
    let text = match value {
        Some(value) if is_changed => value.to_string(),
        _ => return person.without(text),
    };
    Some(person.without(&text).unwrap_or(text))
}

/// Empties each object below the outermost that has the person's address; returns whether there was one.
fn take_out(value: &mut Value, person: &Person) -> bool {
    let inner: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Object(fields) => Box::new(fields.values_mut()),
        Value::Array(items) => Box::new(items.iter_mut()),
        _ => return false,
    };
    let mut is_changed = false;
    for each in inner {
        if each["email"].as_str().is_some_and(|email| person.is(email)) {
            *each = json!({});
            is_changed = true;
        } else {
            is_changed |= take_out(each, person);
        }
    }
    is_changed
}

impl Trace {
    fn text(&self, column: &str) -> Option<&str> {
        self.columns.iter().find(|(name, _)| *name == column).and_then(|(_, text)| text.as_deref())
    }
}

/// Forgets what a mail is found by, and its files: those that no other mail has go with the next maintenance.
async fn forget_extras(mail: &str, on: &mut Connection) -> Result<(), StoreError> {
    for delete in
        ["DELETE FROM mail_attachments WHERE mail_id = $1", "DELETE FROM mail_tags WHERE mail_id = $1"]
    {
        query(delete).bind(mail.to_owned()).execute(&mut *on).await.doing("erase what goes with a mail")?;
    }
    Ok(())
}

async fn apply(
    table: &AddressTable,
    change: Change,
    trace: Trace,
    on: &mut Connection,
) -> Result<u64, StoreError> {
    let (mut values, mut conditions) = (Vec::new(), Vec::new());
    let mut mark = |value: Option<String>| {
        values.push(value);
        format!("${}", values.len())
    };
    let verb = match change {
        Change::Delete => format!("DELETE FROM {}", table.name),
        Change::Set(set) => {
            let set: Vec<_> =
                set.into_iter().map(|(column, text)| format!("{column} = {}", mark(text))).collect();
            format!("UPDATE {} SET {}", table.name, set.join(", "))
        }
    };
    for (column, value) in table.key.iter().zip(trace.key) {
        conditions.push(format!("{column} = {}", mark(Some(value))));
    }
    // As it was read: else somebody changed it, and it is found again.
    for (column, was) in trace.columns {
        conditions.push(match was {
            Some(was) => format!("{column} = {}", mark(Some(was))),
            None => format!("{column} IS NULL"),
        });
    }
    if table.name == MAILS {
        conditions.push("wake_at IS NULL AND state <> 'sending'".to_owned());
    }
    let statement = AssertSqlSafe(format!("{verb} WHERE {}", conditions.join(" AND ")));
    let query = values.into_iter().fold(query(statement), |query, value| query.bind(value));
    query.execute(on).await.map(|done| done.rows_affected()).doing("erase an address")
}
