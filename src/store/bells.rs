//! What the waker asks: which rows need a bell, and which rows lost their worker.

use futures_util::FutureExt;
use std::time::Duration;

use serde::Serialize;

use super::{
    Doing, Store, StoreError,
    batches::{self, BatchMove},
    dialect::Sql,
    mails::to_json,
    row::Columns,
};
use crate::{
    clock,
    mail::{BatchId, CrashPolicy, Lane, MailEvent, MailId, MailState, MerchantId, Outcome, WorkerId},
};

/// The most rows in one round, so that any number of processes may take rounds at once.
const ROUND: i64 = 1_000;

/// A mail that somebody has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ringing {
    /// The mail.
    pub mail: MailId,
    /// Its lane.
    pub lane: Lane,
    /// Whose mail it is.
    pub merchant: MerchantId,
}

static DUE: Sql = Sql::new(
    "UPDATE mails SET ring_at = $2 WHERE id IN (
        SELECT id FROM mails WHERE ring_at <= $1 AND state IN ('queued', 'deferred')
        ORDER BY ring_at LIMIT $3 {skip_locked})
     RETURNING id, lane, merchant_id",
);

// Reads every mail that is not settled: asked only when a worker is known to be dead, and once in a while.
static LOST: Sql = Sql::new(
    "SELECT id, lane, merchant_id, worker, attempt, on_crash, claimed_at, batch_id FROM mails
     WHERE ring_at IS NOT NULL AND state = 'sending'
        AND (worker = $3 OR worker NOT IN (SELECT id FROM workers WHERE heartbeat_at > $1))
     ORDER BY worker = $3 LIMIT $2 {skip_locked}",
);

static FREE: Sql = Sql::new(
    "UPDATE mails SET state = rows.state, worker = NULL, ring_at = rows.ring_at, settled_at = rows.settled_at,
        error = 'the worker died; whether the relay took the mail is unknown'
     FROM {rows: id text, worker text, number bigint, state text, ring_at bigint, settled_at bigint}
     WHERE mails.id = rows.id AND mails.state = 'sending' AND mails.worker = rows.worker
        AND mails.attempt = rows.number",
);

static LOST_ATTEMPTS: Sql = Sql::new(
    "INSERT INTO attempts (mail_id, number, worker, at, route, phase, outcome, reply, millis)
     SELECT id, number, worker, at, '', NULL, outcome, 'the worker died; whether the relay took the mail is unknown',
        millis
     FROM {rows: id text, number bigint, worker text, at bigint, outcome text, millis bigint} WHERE true
     ON CONFLICT (mail_id, number) DO NOTHING",
);

#[derive(Serialize)]
struct Lost {
    id: String,
    #[serde(skip)]
    ringing: Option<Ringing>,
    #[serde(skip)]
    batch: Option<BatchMove>,
    state: &'static str,
    ring_at: Option<i64>,
    settled_at: Option<i64>,
    worker: String,
    number: i64,
    at: i64,
    outcome: &'static str,
    millis: i64,
}

impl Store {
    /// Marks mails whose time to ring has come and returns them; unless claimed they ring again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_due_mails(&self, again: Duration) -> Result<Vec<Ringing>, StoreError> {
        let now = clock::now();
        let rows = self
            .writer
            .fetch_all(
                sqlx::query(DUE.on(self.dialect)).bind(now.millis()).bind((now + again).millis()).bind(ROUND),
                "find mails that are due",
            )
            .await?;
        rows.iter().map(|row| read_ringing(&Columns { table: "mails", row })).collect()
    }

    /// Makes every mail that waits ring at the next round: the queue lost its bells.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ring_all_again(&self) -> Result<u64, StoreError> {
        self.writer
            .execute(
                sqlx::query(
                    "UPDATE mails SET ring_at = due_at WHERE ring_at IS NOT NULL AND ring_at > due_at",
                ),
                "ring for all waiting mails",
            )
            .await
    }

    /// Takes mails from workers that have been silent for `silence`, or are not known at all, and from the worker `own`
    /// those that it is not at work on: the answer to its claim was lost, or its job ended early. Each is queued again
    /// or held, as its template's policy says. Returns those to ring for.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn take_lost_mails(
        &self,
        silence: Duration,
        own: WorkerId,
        is_at_work_on: impl Fn(MailId) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Ringing>, StoreError> {
        let now = clock::now();
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let rows = sqlx::query(LOST.on(dialect))
                        .bind((now - silence).millis())
                        .bind(ROUND)
                        .bind(own.to_string())
                        .fetch_all(&mut *on)
                        .await
                        .doing("find lost mails")?;
                    let mut lost = Vec::new();
                    for row in &rows {
                        let columns = Columns { table: "mails", row };
                        // Asked only now: these rows cannot be claimed or settled until the end of this transaction.
                        if columns.parsed::<WorkerId>("worker")? != own
                            || !is_at_work_on(columns.parsed("id")?)
                        {
                            lost.push(read_lost(&columns, now.millis())?);
                        }
                    }
                    if !lost.is_empty() {
                        let json = to_json(&lost);
                        for statement in [&FREE, &LOST_ATTEMPTS] {
                            sqlx::query(statement.on(dialect))
                                .bind(&json)
                                .execute(&mut *on)
                                .await
                                .doing("free lost mails")?;
                        }
                        let moves: Vec<_> = lost.iter().filter_map(|lost| lost.batch).collect();
                        batches::follow(dialect, on, &moves).await?;
                    }
                    Ok(lost.iter_mut().filter_map(|row| row.ringing.take()).collect())
                }
                .boxed()
            })
            .await
    }
}

fn read_ringing(columns: &Columns<'_>) -> Result<Ringing, StoreError> {
    Ok(Ringing {
        mail: columns.parsed("id")?,
        lane: columns.parsed("lane")?,
        merchant: columns.parsed("merchant_id")?,
    })
}

fn read_lost(columns: &Columns<'_>, now: i64) -> Result<Lost, StoreError> {
    let event = match columns.parsed("on_crash")? {
        CrashPolicy::Resend => MailEvent::LostAndResent,
        CrashPolicy::Hold => MailEvent::LostAndHeld,
    };
    let state = MailState::Sending.after(event).unwrap_or(MailState::Held);
    let waits = !state.is_settled();
    let claimed_at = columns.optional_integer("claimed_at")?.unwrap_or(now);
    let number = columns.integer("attempt")?;
    let batch: Option<BatchId> = columns.optional_parsed("batch_id")?;
    let from = MailState::Sending;
    Ok(Lost {
        id: columns.text("id")?,
        batch: batch.map(|batch| BatchMove { batch, from, to: state, is_first_try: number == 1 }),
        ringing: if waits { Some(read_ringing(columns)?) } else { None },
        state: state.as_str(),
        ring_at: waits.then_some(now),
        settled_at: (!waits).then_some(now),
        worker: columns.text("worker")?,
        number,
        at: claimed_at,
        outcome: Outcome::Unknown.as_str(),
        millis: now.saturating_sub(claimed_at).max(0),
    })
}
