//! Abandoned carts in pages, and the reminders that were recorded of them.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    database::Store,
    documents::{self, COLUMNS, Stored},
    error::{Doing, StoreError},
    row::Columns,
    sql::Sql,
    statement::query,
};
use crate::{
    mail::{MailId, MailState, MerchantId, Timestamp},
    shop::{ResourceKind, cart::CartStatus},
};

/// One page of carts.
#[derive(Debug)]
pub struct CartsPage {
    /// The carts, newest first.
    pub carts: Vec<Stored>,
    /// How many there are on all pages.
    pub total: u64,
}

/// A reminder as its cart shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReminderRecord {
    /// Its mail.
    pub mail: MailId,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Its subject.
    pub subject: String,
    /// Where its mail is.
    pub state: MailState,
    /// Whether its mail is only tried out.
    pub is_test: bool,
}

// A cart shows its latest 100: nobody writes more to a shopper, and a page of carts stays bounded.
static REMINDERS: Sql = Sql::new(
    "SELECT cart_id, id, recorded_at, subject, state, test FROM (
        SELECT cart_id, id, recorded_at, tags{as_json} ->> 'subject' AS subject, state, test,
            ROW_NUMBER() OVER (PARTITION BY cart_id ORDER BY id DESC) AS place
        FROM mails WHERE merchant_id = $2 AND cart_id IS NOT NULL
            AND cart_id IN (SELECT cart FROM {rows: cart text})
     ) AS placed WHERE place <= 100 ORDER BY id",
);

#[derive(Serialize)]
struct Row<'a> {
    cart: &'a str,
}

impl Store {
    /// Lists carts, the most recently stored first; only those of a status when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn carts(
        &self,
        merchant: &MerchantId,
        status: Option<CartStatus>,
        skip: u64,
        limit: u32,
    ) -> Result<CartsPage, StoreError> {
        let of_status = |place: u32| status.map(|_| format!(" AND status = ${place}")).unwrap_or_default();
        let carts =
            format!("FROM resources WHERE merchant_id = $1 AND kind = '{}'", ResourceKind::AbandonedCarts);
        let count = format!("SELECT COUNT(*) {carts}{}", of_status(2));
        let mut count = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).bind(merchant.as_str());
        let page = format!(
            "SELECT {COLUMNS} {carts}{} ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
            of_status(4)
        );
        let mut page = query(sqlx::AssertSqlSafe(page))
            .bind(merchant.as_str())
            .bind(i64::from(limit))
            .bind(i64::try_from(skip).unwrap_or(i64::MAX));
        if let Some(status) = status {
            count = count.bind(status.as_str());
            page = page.bind(status.as_str());
        }
        let total: i64 = count.fetch_one(&self.readers).await.doing("count carts")?;
        let rows = page.fetch_all(&self.readers).await.doing("list carts")?;
        let carts = rows.iter().map(|row| documents::read(&Columns { table: "resources", row }));
        Ok(CartsPage { carts: carts.collect::<Result<_, _>>()?, total: u64::try_from(total).unwrap_or(0) })
    }

    /// The latest reminders of carts, at most 100 of each, oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn reminders(
        &self,
        merchant: &MerchantId,
        carts: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, Vec<ReminderRecord>>, StoreError> {
        let carts: Vec<_> = carts.map(|cart| Row { cart }).collect();
        let rows = REMINDERS
            .with(self.dialect, &carts)
            .bind(merchant.as_str())
            .fetch_all(&self.readers)
            .await
            .doing("list reminders")?;
        let mut reminders: HashMap<String, Vec<ReminderRecord>> = HashMap::new();
        for row in &rows {
            let columns = Columns { table: "mails", row };
            reminders.entry(columns.text("cart_id")?).or_default().push(ReminderRecord {
                mail: columns.parsed("id")?,
                recorded_at: columns.time("recorded_at")?,
                subject: columns.optional_text("subject")?.unwrap_or_default(),
                state: columns.parsed("state")?,
                is_test: columns.integer("test")? != 0,
            });
        }
        Ok(reminders)
    }
}
