//! Turns a chunk of users into mails. The chunk's row is the right to do so: the transaction that writes the mails
//! deletes it, so a second worker finds nothing to do.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use futures_util::FutureExt;

use serde::Serialize;

use super::counts::{self, Change};
use crate::{
    clock,
    mail::{BatchId, MailId, MailState, NewMail, ReplyClass},
    store::{
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        mail_row::MailRow,
        passes::{self, NewPass},
        row::Columns,
        sql::Sql,
        statement::query,
        suppressions,
    },
};

/// A batch that makes mails is due again after this, should its worker die.
const REDUE_AFTER: Duration = Duration::from_secs(60);

/// Users whose mails are not made yet.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its place among the batch's.
    pub number: i64,
    /// A JSON array of user objects.
    pub users: String,
}

/// A mail of a batch, or why it cannot be sent.
#[derive(Debug)]
pub struct MadeMail {
    /// The mail.
    pub mail: NewMail,
    /// Why it is `failed` from the start.
    pub error: Option<String>,
}

/// The result of making the mails of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Making {
    /// They are recorded. These are settled with that: their recipients are suppressed, or they cannot be made.
    Done(Vec<MailState>),
    /// Somebody else made them, or the batch was stopped meanwhile; nothing was recorded.
    NotYours,
}

const COLUMNS: &str = "id text, merchant_id text, lane text, template text, template_version text, sender text,
    reply_to text, recipient_name text, recipient text, recipient_key text, message_id text, tags text, member_id text,
    batch_id text, on_crash text, recorded_at bigint, due_at bigint, wake_at bigint, send_at bigint, expires_at bigint,
    test bigint, fault text";

// What cannot be sent has failed, also where its recipient is suppressed.
static INSERT: LazyLock<Sql> = LazyLock::new(|| {
    let kept =
        "id, merchant_id, lane, template, template_version, sender, reply_to, recipient_name, recipient,
        recipient_key, message_id, tags, member_id, batch_id, on_crash, recorded_at, due_at, promotional,
        unsubscribe_token, unsubscribe_language, send_at, expires_at, test";
    Sql::made(format!(
        "INSERT {{or_fail}}INTO mails ({kept}, state, wake_at, settled_at, class, error)
         {} SELECT {kept},
            CASE WHEN fault IS NOT NULL THEN 'failed' WHEN suppressed IS NOT NULL THEN 'suppressed' ELSE 'queued' END,
            CASE WHEN fault IS NULL AND suppressed IS NULL THEN wake_at END,
            CASE WHEN fault IS NOT NULL OR suppressed IS NOT NULL THEN recorded_at END,
            CASE WHEN fault IS NOT NULL THEN '{}' END,
            COALESCE(fault, '{}' || suppressed)
         FROM recorded WHERE true
         ON CONFLICT DO NOTHING RETURNING id, state",
        suppressions::with_recorded(COLUMNS),
        ReplyClass::MessageFault,
        suppressions::KEPT_BACK
    ))
});

// A batch whose time has not come stays queued: its mails are made, and wait.
static START: Sql = Sql::new(
    "UPDATE batches SET state = CASE WHEN send_at > $2 THEN state ELSE 'processing' END,
        started_at = COALESCE(started_at, CASE WHEN send_at > $2 THEN NULL ELSE $2 END),
        wake_at = CASE WHEN made + $4 >= mails THEN NULL ELSE $3 END
     WHERE id = $1 AND state IN {batch states before started} AND stopped_at IS NULL",
);

const LACKING: &str = "SELECT mails - made AS lacking FROM batches WHERE id = $1";

static ALL_MADE: Sql = Sql::new(
    "UPDATE batches SET wake_at = NULL, mails = made, state = CASE WHEN send_at > $2 THEN state ELSE 'processing' END,
        started_at = COALESCE(started_at, CASE WHEN send_at > $2 THEN NULL ELSE $2 END)
     WHERE id = $1 AND state IN {batch states before started} AND stopped_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM batch_chunks WHERE batch_id = $1)",
);

#[derive(Serialize)]
struct MadeRow<'a> {
    #[serde(flatten)]
    mail: MailRow<'a>,
    fault: Option<&'a str>,
}

impl Store {
    /// Users of a batch whose mails are not made, if they still are not.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn chunk(&self, batch: BatchId, number: i64) -> Result<Option<Chunk>, StoreError> {
        let row = query("SELECT number, users FROM batch_chunks WHERE batch_id = $1 AND number = $2")
            .bind(batch.to_string())
            .bind(number)
            .fetch_optional(&self.readers)
            .await
            .doing("find users of a batch")?;
        row.map(|row| {
            let columns = Columns { table: "batch_chunks", row: &row };
            Ok(Chunk { number: columns.integer("number")?, users: columns.text("users")? })
        })
        .transpose()
    }

    /// Notes, before anything else is done with it, that a worker sets out to make the mails of the next chunk; returns
    /// which and how often that was noted of it. `None`: there is none.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn begin_chunk(&self, batch: BatchId) -> Result<Option<(i64, u32)>, StoreError> {
        let begin = query(
            "UPDATE batches SET chunk = next.number,
                chunk_tries = CASE WHEN chunk = next.number THEN chunk_tries + 1 ELSE 1 END
             FROM (SELECT MIN(number) AS number FROM batch_chunks WHERE batch_id = $1) AS next
             WHERE id = $1 AND next.number IS NOT NULL
             RETURNING chunk, chunk_tries",
        );
        let begin = begin.bind(batch.to_string());
        let row = self.writer.fetch_optional(begin, "begin with users of a batch").await?;
        row.map(|row| {
            let columns = Columns { table: "batches", row: &row };
            let tries = u32::try_from(columns.integer("chunk_tries")?).unwrap_or(u32::MAX);
            Ok((columns.integer("chunk")?, tries))
        })
        .transpose()
    }

    /// Takes a [`Store::begin_chunk`] back: what ended it was no fault of the chunk's.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forgive_chunk(&self, batch: BatchId, number: i64) -> Result<(), StoreError> {
        let forgive = "UPDATE batches SET chunk_tries = chunk_tries - 1
            WHERE id = $1 AND chunk = $2 AND chunk_tries > 0";
        let forgive = query(forgive).bind(batch.to_string()).bind(number);
        self.writer.execute(forgive, "forgive users of a batch").await.map(drop)
    }

    /// Records the mails that a chunk became, and that the chunk is done.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn make_mails(
        &self,
        batch: BatchId,
        chunk: i64,
        made: Vec<MadeMail>,
        passes: Vec<NewPass>,
    ) -> Result<Making, StoreError> {
        let dialect = self.dialect;
        match self
            .writer
            .run(move |on| {
                async move {
                    let taken = query("DELETE FROM batch_chunks WHERE batch_id = $1 AND number = $2")
                        .bind(batch.to_string())
                        .bind(chunk)
                        .execute(&mut *on)
                        .await
                        .doing("take users of a batch")?;
                    if taken.rows_affected() == 0 {
                        return Err(StoreError::RolledBack);
                    }
                    // In the order in which single mails are recorded.
                    let (change, settled) = insert(dialect, &mut *on, &made).await?;
                    passes::insert(dialect, &mut *on, passes.iter()).await?;
                    if !starts(dialect, &mut *on, batch, change.made).await? {
                        return Err(StoreError::RolledBack);
                    }
                    counts::add(dialect, on, batch, &change).await?;
                    Ok(settled)
                }
                .boxed()
            })
            .await
        {
            Ok(settled) => Ok(Making::Done(settled)),
            Err(StoreError::RolledBack) => Ok(Making::NotYours),
            Err(error) => Err(error),
        }
    }

    /// Notes that a batch has no users left: it is of the mails that are made. Returns how many fewer these are than its
    /// request was answered, which is a fault of ours.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn all_made(&self, batch: BatchId) -> Result<u64, StoreError> {
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let before = query(LACKING).bind(batch.to_string()).fetch_optional(&mut *on).await;
                    let before = before.doing("look for mails that a batch lacks")?;
                    let noted = query(ALL_MADE.on(dialect))
                        .bind(batch.to_string())
                        .bind(clock::now().millis())
                        .execute(&mut *on)
                        .await
                        .doing("note that all mails of a batch are made")?;
                    let Some(before) = before.filter(|_| noted.rows_affected() == 1) else { return Ok(0) };
                    counts::add(dialect, on, batch, &Change::default()).await?;
                    Columns { table: "batches", row: &before }.count("lacking")
                }
                .boxed()
            })
            .await
    }
}

/// Writes mails; those that were there already do not count. Returns also which states those are in that are settled.
async fn insert(
    dialect: Dialect,
    on: &mut Connection,
    made: &[MadeMail],
) -> Result<(Change, Vec<MailState>), StoreError> {
    suppressions::insert_links(dialect, on, made.iter().map(|made| &made.mail)).await?;
    let rows: Vec<_> = made
        .iter()
        .map(|made| MadeRow { mail: MailRow::of(&made.mail), fault: made.error.as_deref() })
        .collect();
    let inserted = INSERT.with(dialect, &rows).fetch_all(&mut *on).await.doing("record mails of a batch")?;
    let mut settled: HashMap<MailId, MailState> = HashMap::new();
    for row in &inserted {
        let columns = Columns { table: "mails", row };
        let state: MailState = columns.parsed("state")?;
        if state.is_settled() {
            settled.insert(columns.parsed("id")?, state);
        }
    }
    let mut change = Change::default();
    change.made = inserted.len() as i64;
    let moved = made.iter().filter_map(|made| {
        let (id, state) = (made.mail.id, *settled.get(&made.mail.id)?);
        let moved = MovedMail::without_reply(id, made.mail.merchant.clone(), state);
        Some(MovedMail { reply: made.error.clone(), ..moved })
    });
    let moved: Vec<_> = moved.collect();
    for mail in &moved {
        change.enters(mail.state);
        change.tried += 1;
    }
    events::record_for_mails(dialect, on, &moved).await?;
    Ok((change, settled.into_values().collect()))
}

/// Notes that the batch is being worked on, unless it was stopped.
async fn starts(
    dialect: Dialect,
    on: &mut Connection,
    batch: BatchId,
    made: i64,
) -> Result<bool, StoreError> {
    let now = clock::now();
    query(START.on(dialect))
        .bind(batch.to_string())
        .bind(now.millis())
        .bind((now + REDUE_AFTER).millis())
        .bind(made)
        .execute(on)
        .await
        .map(|done| done.rows_affected() == 1)
        .doing("start a batch")
}
