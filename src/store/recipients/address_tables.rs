//! Every column that may hold a recipient's address, and the rows where one stands.

use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::person::Person;
use crate::{
    mail::Address,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        row::Row,
        statement::query,
    },
};

/// How many rows one statement looks through.
const STRETCH: usize = 5_000;

/// A table in which addresses may stand, and where in it.
pub(super) struct AddressTable {
    /// What it is called.
    pub(super) name: &'static str,
    /// What a row is called by, all of it text. Where more than one row has the same, their texts tell them apart.
    pub(super) key: &'static [&'static str],
    /// Where the address is only a part of the text, or may be replaced.
    pub(super) texts: &'static [&'static str],
    /// Ids of a merchant's that may be an address: nothing takes their place.
    pub(super) ids: &'static [&'static str],
}

const fn addresses_in(
    table: &'static str,
    key: &'static [&'static str],
    texts: &'static [&'static str],
    ids: &'static [&'static str],
) -> AddressTable {
    AddressTable { name: table, key, texts, ids }
}

/// Where a document is.
pub(super) const DOCUMENTS: &str = "resources";
/// Where a mail is.
pub(super) const MAILS: &str = "mails";

/// Rows that are about one address, which they have as `address_key`: nothing is left of them without it.
pub(super) const OF_ONE_ADDRESS: [&str; 3] = ["suppressions", "bad_addresses", "unsubscribe_links"];

pub(super) static ADDRESS_TABLES: [AddressTable; 17] = [
    addresses_in(
        MAILS,
        &["id"],
        &["recipient", "recipient_key", "recipient_name", "tags", "extras", "error"],
        &["member_id", "order_id", "cart_id", "subscription_id"],
    ),
    addresses_in("mail_tags", &["tag", "tag_merchant", "mail_id"], &["tag"], &[]),
    addresses_in("attempts", &["mail_id"], &["reply", "transcript"], &[]),
    addresses_in("order_emails", &["mail_id"], &["recipient"], &[]),
    addresses_in("order_audit", &["id"], &["reason", "order_id"], &[]),
    addresses_in(DOCUMENTS, &["merchant_id", "kind", "id"], &["body"], &[]),
    addresses_in("passes", &["id"], &["member_id", "identifier"], &[]),
    addresses_in("events", &["id"], &["body"], &[]),
    addresses_in("deliveries", &["id"], &["body", "answer"], &[]),
    addresses_in("delivery_attempts", &["delivery_id"], &["answer"], &[]),
    addresses_in("batch_chunks", &["batch_id"], &["users"], &[]),
    addresses_in("bulk_actions", &["id"], &["query"], &[]),
    addresses_in("idempotency", &["merchant_id", "path", "key"], &["body"], &[]),
    addresses_in("audit", &["id"], &["target", "details"], &[]),
    addresses_in("suppressions", &["id"], &["address_key", "note", "replaced_note"], &[]),
    addresses_in("bad_addresses", &["merchant_id", "address_key"], &["address_key"], &[]),
    addresses_in("unsubscribe_links", &["token"], &["address_key"], &[]),
];

impl AddressTable {
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.texts.iter().chain(self.ids).copied()
    }
}

/// A row in which an address stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Its table.
    pub table: &'static str,
    /// What it is called by.
    pub key: Vec<String>,
    /// Those of its columns that may hold an address, as they are now.
    pub columns: Vec<(&'static str, Option<String>)>,
}

impl Store {
    /// Lists the rows in which an address stands, whosever they are: everything that is known of a recipient but for
    /// mails, which are found by [`Store::search_mails`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn traces_of(&self, address: &Address) -> Result<Vec<Trace>, StoreError> {
        let (person, mut traces) = (Person::of(address), Vec::new());
        for table in ADDRESS_TABLES.iter().filter(|table| table.name != MAILS) {
            let mut stretch = Stretch::default();
            while let Some(found) = self.next_traces(table, &person, &mut stretch).await? {
                traces.extend(found.into_iter().filter(|trace| {
                    trace
                        .columns
                        .iter()
                        .any(|(_, text)| text.as_deref().is_some_and(|text| person.without(text).is_some()))
                }));
            }
        }
        Ok(traces)
    }

    /// The rows of the next stretch that may be traces; `None` after the last.
    pub(super) async fn next_traces(
        &self,
        table: &'static AddressTable,
        person: &Person,
        stretch: &mut Stretch,
    ) -> Result<Option<Vec<Trace>>, StoreError> {
        if stretch.is_last {
            return Ok(None);
        }
        let end = self.end_of_stretch(table, stretch.after.as_deref()).await?;
        let after = stretch.after.take();
        stretch.is_last = end.is_none();
        stretch.after.clone_from(&end);
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (compared, bound) in [(">", &after), ("<=", &end)] {
            if let Some(bound) = bound {
                conditions.push(beside(table.key, compared, values.len()));
                values.extend(bound.iter().cloned());
            }
        }
        let texts: Vec<_> = table.columns().map(|column| format!("COALESCE({column}, '')")).collect();
        let text = texts.join(" || ' ' || ");
        let patterns = person.patterns();
        let fits = (1..=patterns.len())
            .map(|number| format!("lower({text}) LIKE ${} ESCAPE '\\'", values.len() + number));
        conditions.push(format!("({})", fits.collect::<Vec<_>>().join(" OR ")));
        values.extend(patterns);
        let columns: Vec<_> = table.key.iter().copied().chain(table.columns()).collect();
        let statement =
            format!("SELECT {} FROM {} WHERE {}", columns.join(", "), table.name, conditions.join(" AND "));
        let rows = self.rows_of(statement, values).await?;
        rows.iter().map(|row| read(table, row)).collect::<Result<_, _>>().map(Some)
    }

    /// The key at which a stretch ends; `None` where the table ends before.
    async fn end_of_stretch(
        &self,
        table: &AddressTable,
        after: Option<&[String]>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let keys = table.key.join(", ");
        let condition = after.map(|_| format!("WHERE {}", beside(table.key, ">", 0))).unwrap_or_default();
        let statement = format!(
            "SELECT {keys} FROM {} {condition} ORDER BY {keys} LIMIT 1 OFFSET {}",
            table.name,
            STRETCH - 1
        );
        let rows = self.rows_of(statement, after.unwrap_or_default().to_vec()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        key_of(table, &Columns { table: table.name, row }).map(Some)
    }

    async fn rows_of(&self, statement: String, values: Vec<String>) -> Result<Vec<Row>, StoreError> {
        let query =
            values.into_iter().fold(query(AssertSqlSafe(statement)), |query, value| query.bind(value));
        query.fetch_all(&self.readers).await.doing("look for an address")
    }
}

/// How far a table is looked through.
#[derive(Default)]
pub(super) struct Stretch {
    after: Option<Vec<String>>,
    is_last: bool,
}

/// `(a, b) > ($1, $2)`, the numbers after `before`.
fn beside(key: &[&str], compared: &str, before: usize) -> String {
    let marks: Vec<_> = (1..=key.len()).map(|number| format!("${}", before + number)).collect();
    format!("({}) {compared} ({})", key.join(", "), marks.join(", "))
}

fn key_of(table: &AddressTable, columns: &Columns<'_>) -> Result<Vec<String>, StoreError> {
    table.key.iter().map(|column| columns.text(column)).collect()
}

fn read(table: &'static AddressTable, row: &Row) -> Result<Trace, StoreError> {
    let columns = Columns { table: table.name, row };
    let texts = table.columns().map(|column| Ok((column, columns.optional_text(column)?)));
    Ok(Trace {
        table: table.name,
        key: key_of(table, &columns)?,
        columns: texts.collect::<Result<_, StoreError>>()?,
    })
}
