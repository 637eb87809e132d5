//! Gives claims back: mails that no relay was offered, as if they had never been claimed.

use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;

use crate::{
    clock,
    mail::{MailEvent, MailId, MailState, WorkerId},
    store::{
        batches::{self, BatchMove},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        row::Columns,
        sql::Sql,
        statement::Statement,
    },
};

// Fenced like a settlement: what was settled meanwhile, or went to another worker, stays as it is.
// A mail over which something broke too often ($2) is held.
static GIVE_BACK: Sql = Sql::new(
    "UPDATE mails SET state = CASE WHEN rescues + rows.broken > $2 THEN 'held' ELSE rows.state END,
        wake_at = CASE WHEN rescues + rows.broken > $2 THEN NULL ELSE rows.wake_at END,
        settled_at = CASE WHEN rescues + rows.broken > $2 THEN $3 END,
        error = CASE WHEN rescues + rows.broken > $2 THEN $4 ELSE error END,
        worker = NULL, claimed_at = NULL, attempt = attempt - 1, rescues = rescues + rows.broken
     FROM {rows: id text, worker text, state text, wake_at bigint, broken bigint}
     WHERE mails.id = rows.id AND mails.state = 'sending' AND mails.worker = rows.worker
     RETURNING mails.id, mails.merchant_id, mails.state, mails.batch_id, mails.attempt",
);

#[derive(Serialize)]
struct Row {
    id: String,
    worker: String,
    state: &'static str,
    wake_at: i64,
    broken: u8,
}

/// A claim that is given back.
#[derive(Clone, Copy, Debug)]
pub struct GivenBack {
    /// The mail.
    pub mail: MailId,
    /// When somebody is woken for it again.
    pub pause: Duration,
    /// Something broke over it, and may do so again.
    pub is_broken: bool,
}

impl Store {
    /// Gives back mails that a worker claimed and offered to no relay, without an attempt. One over which something broke
    /// more than `rescues` times is held. Returns how many were still the worker's.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn give_back_mails(
        &self,
        worker: WorkerId,
        mails: &[GivenBack],
        rescues: u32,
    ) -> Result<u64, StoreError> {
        let Some(state) = MailState::Sending.after(MailEvent::GivenBack) else { return Ok(0) };
        let now = clock::now();
        let row = |back: &GivenBack| Row {
            id: back.mail.to_string(),
            worker: worker.to_string(),
            state: state.as_str(),
            wake_at: (now + back.pause).millis(),
            broken: back.is_broken.into(),
        };
        let give_back = GIVE_BACK.with(self.dialect, &mails.iter().map(row).collect::<Vec<_>>());
        let dialect = self.dialect;
        self.writer.run(move |on| run(give_back, dialect, on, rescues).boxed()).await
    }
}

async fn run(
    give_back: Statement,
    dialect: Dialect,
    on: &mut Connection,
    rescues: u32,
) -> Result<u64, StoreError> {
    let moved = give_back
        .bind(i64::from(rescues))
        .bind(clock::now().millis())
        .bind(format!(
            "it could not be offered to a relay {rescues} times, the most that `retry.rescues` allows"
        ))
        .fetch_all(&mut *on)
        .await
        .doing("give mails back")?;
    let (mut moves, mut held) = (Vec::new(), Vec::new());
    for row in &moved {
        let columns = Columns { table: "mails", row };
        let to: MailState = columns.parsed("state")?;
        if to == MailState::Held {
            let (id, merchant) = (columns.parsed("id")?, columns.parsed("merchant_id")?);
            held.push(MovedMail::without_reply(id, merchant, to));
        }
        if let (MailState::Held, Some(batch)) = (to, columns.optional_parsed("batch_id")?) {
            let is_first_try = columns.integer("attempt")? == 0;
            moves.push(BatchMove { batch, from: MailState::Sending, to, is_first_try });
        }
    }
    events::record_for_mails(dialect, &mut *on, &held).await?;
    batches::follow(dialect, on, &moves).await?;
    Ok(moved.len() as u64)
}
