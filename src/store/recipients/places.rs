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

/// The columns of one table.
pub(super) struct Place {
    pub(super) table: &'static str,
    /// What a row is called by, all of it text. Where more than one row has the same, their texts tell them apart.
    pub(super) key: &'static [&'static str],
    /// Where the address is only a part of the text, or may be replaced.
    pub(super) texts: &'static [&'static str],
    /// Ids of a merchant's that may be an address: nothing takes their place.
    pub(super) ids: &'static [&'static str],
}

const fn place(
    table: &'static str,
    key: &'static [&'static str],
    texts: &'static [&'static str],
    ids: &'static [&'static str],
) -> Place {
    Place { table, key, texts, ids }
}

/// Where a document is.
pub(super) const DOCUMENTS: &str = "resources";
/// Where a mail is.
pub(super) const MAILS: &str = "mails";

/// Rows that are about one address, which they have as `address_key`: nothing is left of them without it.
pub(super) const OF_ONE_ADDRESS: [&str; 3] = ["suppressions", "bad_addresses", "unsubscribe_links"];

pub(super) static PLACES: [Place; 17] = [
    place(
        MAILS,
        &["id"],
        &["recipient", "recipient_key", "recipient_name", "tags", "extras", "error"],
        &["member_id", "order_id", "cart_id", "subscription_id"],
    ),
    place("mail_tags", &["tag", "tag_merchant", "mail_id"], &["tag"], &[]),
    place("attempts", &["mail_id"], &["reply", "transcript"], &[]),
    place("order_emails", &["mail_id"], &["recipient"], &[]),
    place("order_audit", &["id"], &["reason", "order_id"], &[]),
    place(DOCUMENTS, &["merchant_id", "kind", "id"], &["body"], &[]),
    place("passes", &["id"], &["member_id", "identifier"], &[]),
    place("events", &["id"], &["body"], &[]),
    place("deliveries", &["id"], &["body", "answer"], &[]),
    place("delivery_attempts", &["delivery_id"], &["answer"], &[]),
    place("batch_chunks", &["batch_id"], &["users"], &[]),
    place("bulk_actions", &["id"], &["query"], &[]),
    place("idempotency", &["merchant_id", "path", "key"], &["body"], &[]),
    place("audit", &["id"], &["target", "details"], &[]),
    place("suppressions", &["id"], &["address_key", "note", "replaced_note"], &[]),
    place("bad_addresses", &["merchant_id", "address_key"], &["address_key"], &[]),
    place("unsubscribe_links", &["token"], &["address_key"], &[]),
];

impl Place {
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
        for place in PLACES.iter().filter(|place| place.table != MAILS) {
            let mut stretch = Stretch::default();
            while let Some(found) = self.next_traces(place, &person, &mut stretch).await? {
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
        place: &'static Place,
        person: &Person,
        stretch: &mut Stretch,
    ) -> Result<Option<Vec<Trace>>, StoreError> {
        if stretch.is_last {
            return Ok(None);
        }
        let end = self.end_of_stretch(place, stretch.after.as_deref()).await?;
        let after = stretch.after.take();
        stretch.is_last = end.is_none();
        stretch.after.clone_from(&end);
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (compared, bound) in [(">", &after), ("<=", &end)] {
            if let Some(bound) = bound {
                conditions.push(beside(place.key, compared, values.len()));
                values.extend(bound.iter().cloned());
            }
        }
        let texts: Vec<_> = place.columns().map(|column| format!("COALESCE({column}, '')")).collect();
        let text = texts.join(" || ' ' || ");
        let patterns = person.patterns();
        let fits = (1..=patterns.len())
            .map(|number| format!("lower({text}) LIKE ${} ESCAPE '\\'", values.len() + number));
        conditions.push(format!("({})", fits.collect::<Vec<_>>().join(" OR ")));
        values.extend(patterns);
        let columns: Vec<_> = place.key.iter().copied().chain(place.columns()).collect();
        let statement =
            format!("SELECT {} FROM {} WHERE {}", columns.join(", "), place.table, conditions.join(" AND "));
        let rows = self.rows_of(statement, values).await?;
        rows.iter().map(|row| read(place, row)).collect::<Result<_, _>>().map(Some)
    }

    /// The key at which a stretch ends; `None` where the table ends before.
    async fn end_of_stretch(
        &self,
        place: &Place,
        after: Option<&[String]>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let keys = place.key.join(", ");
        let condition = after.map(|_| format!("WHERE {}", beside(place.key, ">", 0))).unwrap_or_default();
        let statement = format!(
            "SELECT {keys} FROM {} {condition} ORDER BY {keys} LIMIT 1 OFFSET {}",
            place.table,
            STRETCH - 1
        );
        let rows = self.rows_of(statement, after.unwrap_or_default().to_vec()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        key_of(place, &Columns { table: place.table, row }).map(Some)
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

fn key_of(place: &Place, columns: &Columns<'_>) -> Result<Vec<String>, StoreError> {
    place.key.iter().map(|column| columns.text(column)).collect()
}

fn read(place: &'static Place, row: &Row) -> Result<Trace, StoreError> {
    let columns = Columns { table: place.table, row };
    let texts = place.columns().map(|column| Ok((column, columns.optional_text(column)?)));
    Ok(Trace {
        table: place.table,
        key: key_of(place, &columns)?,
        columns: texts.collect::<Result<_, StoreError>>()?,
    })
}
