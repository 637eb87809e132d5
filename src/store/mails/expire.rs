//! What the scheduler asks of mails that can expire: those whose time is over while they wait, for whatever it may be, and those
//! that were tried and have waited too long for a relay.

use std::sync::LazyLock;

use futures_util::FutureExt;
use serde::Serialize;

use super::{due::DueMail, stop::EXPIRED};
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
         RETURNING {EXPIRED_COLUMNS}"
    ))
});

/// What has to be known of a mail that expired.
const EXPIRED_COLUMNS: &str = "id, merchant_id, lane, order_id, batch_id, attempt, test";

// What became of a mail since it was marked due counts: it has another time then. It keeps what its last attempt came to. One of a
// batch that is paused stays.
static GIVE_UP: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "UPDATE mails SET state = $2, wake_at = NULL, settled_at = $3 WHERE id IN (
            SELECT mails.id FROM {{rows: id text, wake_at bigint}} JOIN mails ON mails.id = rows.id
            WHERE mails.wake_at = rows.wake_at AND mails.state = 'deferred' AND NOT EXISTS (
                SELECT 1 FROM batches WHERE batches.id = mails.batch_id AND batches.stopped_at IS NOT NULL) {{skip_locked}})
         RETURNING {EXPIRED_COLUMNS}"
    ))
});

#[derive(Serialize)]
struct GivenUp {
    id: String,
    wake_at: i64,
}

impl Store {
    /// Expires mails that wait and whose time is over, as many as one transaction may.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn expire_mails(&self) -> Result<Vec<ExpiredMail>, StoreError> {
        let dialect = self.dialect;
        self.writer.run(move |on| async move { expire(dialect, on).await }.boxed()).await
    }

    /// Expires mails that were tried, marked due and are too old for another attempt, unless anything became of them since.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn give_up_mails(&self, mails: &[DueMail]) -> Result<Vec<ExpiredMail>, StoreError> {
        let given_up =
            |mail: &DueMail| GivenUp { id: mail.mail.to_string(), wake_at: mail.again_at.millis() };
        let (dialect, mails) = (self.dialect, mails.iter().map(given_up).collect::<Vec<_>>());
        self.writer.run(move |on| async move { give_up(dialect, on, &mails).await }.boxed()).await
    }
}

async fn give_up(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[GivenUp],
) -> Result<Vec<ExpiredMail>, StoreError> {
    let rows = GIVE_UP
        .with(dialect, mails)
        .bind(STATE.as_str())
        .bind(clock::now().millis())
        .fetch_all(&mut *on)
        .await
        .doing("give mails up")?;
    follow(dialect, on, &rows).await
}

/// Where a mail goes whose time is over.
const STATE: MailState = match MailState::Queued.after(MailEvent::TimedOut) {
    Some(state) => state,
    None => MailState::Expired,
};

async fn expire(dialect: Dialect, on: &mut Connection) -> Result<Vec<ExpiredMail>, StoreError> {
    let rows = query(EXPIRE.on(dialect))
        .bind(clock::now().millis())
        .bind(STATE.as_str())
        .bind(EXPIRED)
        .bind(ROUND)
        .fetch_all(&mut *on)
        .await
        .doing("expire mails")?;
    follow(dialect, on, &rows).await
}

/// Lets orders, callbacks and batches follow mails that expired.
async fn follow(dialect: Dialect, on: &mut Connection, rows: &[Row]) -> Result<Vec<ExpiredMail>, StoreError> {
    let expired = rows.iter().map(|row| Expired::read(row, STATE)).collect::<Result<Vec<_>, _>>()?;
    let of_orders = expired.iter().filter(|expired| expired.is_about_an_order);
    orders::follow(dialect, &mut *on, of_orders.map(|expired| (expired.moved.id, STATE))).await?;
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
