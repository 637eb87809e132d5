//! What the scheduler asks of mails that can expire: those whose time is over while they wait, for whatever it may be.

use std::sync::LazyLock;

use futures_util::FutureExt;

use super::stop::EXPIRED;
use crate::{
    clock,
    mail::{MailEvent, MailLane, MailState},
    store::{
        batches::{self, BatchMove},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        orders,
        row::Columns,
        row::Row,
        sql::Sql,
        statement::query,
    },
};

/// The most mails in one transaction.
const ROUND: i64 = 1_000;

/// Which have: those that wait. One that is being sent is asked by its worker.
const OVER: &str = "FROM mails {index: mails_by_expiry} WHERE expires_at IS NOT NULL AND wake_at IS NOT NULL
    AND expires_at <= $1 AND state IN {mail states before claimed}";

/// A part of a statement that has a row with this text when the time of a mail was over before `$1`.
pub(in crate::store) fn is_any(word: &str) -> String {
    format!("SELECT '{word}' AS lane WHERE EXISTS (SELECT 1 {OVER})")
}

static EXPIRE: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "UPDATE mails SET state = $2, wake_at = NULL, settled_at = $1, error = $3
         WHERE id IN (SELECT id {OVER} ORDER BY expires_at LIMIT $4 {{skip_locked}})
         RETURNING id, merchant_id, lane, order_id, batch_id, attempt, test"
    ))
});

impl Store {
    /// Expires mails that wait and whose time is over, as many as one transaction may.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn expire_mails(&self) -> Result<Vec<ExpiredMail>, StoreError> {
        let dialect = self.dialect;
        self.writer.run(move |on| async move { expire(dialect, on).await }.boxed()).await
    }
}

async fn expire(dialect: Dialect, on: &mut Connection) -> Result<Vec<ExpiredMail>, StoreError> {
    let state = MailState::Queued.after(MailEvent::TimedOut).unwrap_or(MailState::Expired);
    let rows = query(EXPIRE.on(dialect))
        .bind(clock::now().millis())
        .bind(state.as_str())
        .bind(EXPIRED)
        .bind(ROUND)
        .fetch_all(&mut *on)
        .await
        .doing("expire mails")?;
    let expired = rows.iter().map(|row| Expired::read(row, state)).collect::<Result<Vec<_>, _>>()?;
    let of_orders = expired.iter().filter(|expired| expired.is_about_an_order);
    orders::follow(dialect, &mut *on, of_orders.map(|expired| (expired.moved.id, state))).await?;
    let batches: Vec<_> = expired.iter().filter_map(|expired| expired.batch).collect();
    let (mails, moved): (Vec<_>, Vec<_>) =
        expired.into_iter().map(|expired| (expired.mail, expired.moved)).unzip();
    events::record_for_mails(dialect, &mut *on, &moved).await?;
    batches::follow(dialect, on, &batches).await?;
    Ok(mails)
}

/// A mail that has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredMail {
    /// Its lane.
    pub lane: MailLane,
    /// Whether it was for the sandbox.
    pub is_test: bool,
}

struct Expired {
    mail: ExpiredMail,
    is_about_an_order: bool,
    batch: Option<BatchMove>,
    moved: MovedMail,
}

impl Expired {
    fn read(row: &Row, state: MailState) -> Result<Self, StoreError> {
        let columns = Columns { table: "mails", row };
        let is_first_try = columns.integer("attempt")? == 0;
        let batch = columns.optional_parsed("batch_id")?;
        Ok(Self {
            mail: ExpiredMail { lane: columns.parsed("lane")?, is_test: columns.integer("test")? != 0 },
            is_about_an_order: columns.optional_text("order_id")?.is_some(),
            batch: batch.map(|batch| BatchMove { batch, from: MailState::Queued, to: state, is_first_try }),
            moved: MovedMail::without_reply(columns.parsed("id")?, columns.parsed("merchant_id")?, state),
        })
    }
}
