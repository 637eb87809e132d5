//! What the rescuer asks of mails: taking those from their workers that nobody works on any more.

use std::{sync::LazyLock, time::Duration};

use futures_util::FutureExt;
use serde::Serialize;

use super::due::{DueMail, read_due};
use crate::{
    clock,
    mail::{AttemptOutcome, BatchId, MailEvent, MailId, MailState, Rescue, RetryPolicy, Timestamp, WorkerId},
    store::{
        batches::{self, BatchMove},
        claimable::{Lost, LostOf, LostRow},
        database::Store,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        row::Columns,
        sql::Sql,
    },
};

static LOST: LazyLock<Lost> = LazyLock::new(|| {
    Lost::new(&LostOf {
        table: "mails",
        // Reads every mail that is not settled: asked only when a worker is known to be dead, and once in a while.
        at_work: "wake_at IS NOT NULL AND state = 'sending'",
        reads: ", lane, merchant_id, sender, recipient, wake_at, attempt, on_crash, claimed_at, batch_id, rescues,
            recorded_at, send_at, due_at, test, state",
    })
});

// Who had it may have recorded it with a clock that was ahead, and it was due then.
static FREE: Sql = Sql::new(
    "UPDATE mails SET state = rows.state, worker = NULL, wake_at = rows.wake_at, settled_at = rows.settled_at,
        due_at = CASE WHEN rows.wake_at < mails.due_at THEN rows.wake_at ELSE mails.due_at END,
        rescues = rescues + rows.rescued, error = rows.error, class = 'unknown'
     FROM {rows: id text, worker text, number bigint, state text, wake_at bigint, settled_at bigint, rescued bigint,
        error text}
     WHERE mails.id = rows.id AND mails.state = 'sending' AND mails.worker = rows.worker
        AND mails.attempt = rows.number",
);

static LOST_ATTEMPTS: Sql = Sql::new(
    "INSERT INTO attempts (mail_id, number, worker, at, route, phase, outcome, reply, millis, class)
     SELECT id, number, worker, at, '', NULL, outcome, error, millis, 'unknown'
     FROM {rows: id text, number bigint, worker text, at bigint, outcome text, error text, millis bigint} WHERE true
     ON CONFLICT (mail_id, number) DO NOTHING",
);

#[derive(Serialize)]
struct LostMail {
    id: String,
    #[serde(skip)]
    due: Option<DueMail>,
    #[serde(skip)]
    batch: Option<BatchMove>,
    #[serde(skip)]
    held: Option<MovedMail>,
    state: &'static str,
    wake_at: Option<i64>,
    settled_at: Option<i64>,
    rescued: i64,
    error: String,
    worker: String,
    number: i64,
    at: i64,
    outcome: &'static str,
    millis: i64,
}

/// Mails that were taken from their workers.
#[derive(Debug, Default)]
pub struct TakenMails {
    /// Those that are due again.
    pub due: Vec<DueMail>,
    /// How many are held.
    pub held: usize,
}

impl Store {
    /// Takes mails from workers that have been silent for `silence`, or are not known at all, and from the worker `own`
    /// those that it is not at work on: the answer to its claim was lost, or its job ended early. Each is queued again
    /// or held, as its template and `policy` say.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn take_lost_mails(
        &self,
        silence: Duration,
        own: WorkerId,
        policy: &RetryPolicy,
        is_at_work_on: impl Fn(MailId) -> bool + Send + Sync + 'static,
    ) -> Result<TakenMails, StoreError> {
        let (dialect, policy, now) = (self.dialect, policy.clone(), clock::now());
        self.writer
            .run(move |on| {
                async move {
                    let found = LOST.find(dialect, &mut *on, (now, silence), own, is_at_work_on).await?;
                    let mut lost = found
                        .iter()
                        .map(|LostRow { row, is_own }| {
                            read_lost(&Columns { table: "mails", row }, &policy, *is_own, now)
                        })
                        .collect::<Result<Vec<_>, StoreError>>()?;
                    if !lost.is_empty() {
                        for statement in [&FREE, &LOST_ATTEMPTS] {
                            statement
                                .with(dialect, &lost)
                                .execute(&mut *on)
                                .await
                                .doing("free lost mails")?;
                        }
                        let held: Vec<_> = lost.iter_mut().filter_map(|lost| lost.held.take()).collect();
                        events::record_for_mails(dialect, &mut *on, &held).await?;
                        let moves: Vec<_> = lost.iter().filter_map(|lost| lost.batch).collect();
                        batches::follow(dialect, on, &moves).await?;
                    }
                    let due: Vec<_> = lost.iter_mut().filter_map(|row| row.due.take()).collect();
                    Ok(TakenMails { held: lost.len() - due.len(), due })
                }
                .boxed()
            })
            .await
    }
}

fn read_lost(
    columns: &Columns<'_>,
    policy: &RetryPolicy,
    is_own: bool,
    now: Timestamp,
) -> Result<LostMail, StoreError> {
    let rescues = u32::try_from(columns.integer("rescues")?).unwrap_or(u32::MAX);
    let meant_for = columns.optional_time("send_at")?.map_or_else(|| columns.time("recorded_at"), Ok)?;
    let rescue = policy.judge_lost(rescues, columns.parsed("on_crash")?, meant_for, now);
    let event = match rescue {
        Rescue::Resend => MailEvent::LostAndResent,
        Rescue::Hold | Rescue::Spent(_) | Rescue::TooOld => MailEvent::LostAndHeld,
    };
    let now = now.millis();
    let state = MailState::Sending.after(event).unwrap_or(MailState::Held);
    let waits = !state.is_settled();
    let claimed_at = columns.optional_integer("claimed_at")?.unwrap_or(now);
    let number = columns.integer("attempt")?;
    let batch: Option<BatchId> = columns.optional_parsed("batch_id")?;
    let from = MailState::Sending;
    Ok(LostMail {
        id: columns.text("id")?,
        batch: batch.map(|batch| BatchMove { batch, from, to: state, is_first_try: number == 1 }),
        due: if waits { Some(read_due(columns)?) } else { None },
        held: match waits {
            true => None,
            false => {
                let (id, merchant) = (columns.parsed("id")?, columns.parsed("merchant_id")?);
                Some(MovedMail::without_reply(id, merchant, state))
            }
        },
        state: state.as_str(),
        wake_at: waits.then_some(now),
        settled_at: (!waits).then_some(now),
        rescued: i64::from(rescue == Rescue::Resend),
        error: error_of(rescue, is_own),
        worker: columns.text("worker")?,
        number,
        at: claimed_at,
        outcome: AttemptOutcome::Unknown.as_str(),
        millis: now.saturating_sub(claimed_at).max(0),
    })
}

/// Why a mail was taken from its worker and what follows, for people.
fn error_of(rescue: Rescue, is_own: bool) -> String {
    let what = if is_own { "the job ended early" } else { "the worker died" };
    let unknown = "whether the relay took the mail is unknown";
    match rescue {
        Rescue::Resend | Rescue::Hold => format!("{what}; {unknown}"),
        Rescue::Spent(times) => {
            format!(
                "{what}; {unknown}; it was queued again {times} times already, the most that `retry.rescues` allows"
            )
        }
        Rescue::TooOld => format!("{what}; {unknown}; it is older than `retry.max_age`"),
    }
}
