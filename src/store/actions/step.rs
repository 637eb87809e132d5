//! One step of an action: its next mails are acted on, with their results and the counts, in one transaction.

use std::collections::HashMap;

use futures_util::FutureExt;
use serde::Serialize;

use super::{look_up::ActionRecord, suppress::suppress_recipients};
use crate::{
    clock,
    mail::{ActionKind, ActionResult, ActionState, MailEvent, MailId, MailState, Timestamp},
    store::{
        batches::{self, BatchMove},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        mails::{FoundMails, MailRecord},
        orders,
        row::Columns,
        sql::Sql,
        statement::query,
        steps::ENQUEUED_AGAIN,
        webhooks,
    },
};

/// How far a step brought an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepTaken {
    /// There may be more mails.
    More,
    /// That was all.
    Over,
    /// The action was stopped, or another worker took the step.
    NotYours,
}

/// What a mail came to.
#[derive(Debug, Serialize)]
struct ResultRow {
    mail: MailId,
    result: &'static str,
    why: Option<String>,
}

#[derive(Serialize)]
struct MovingRow {
    id: MailId,
    state: &'static str,
}

// Whoever moves the cursor on from here takes the step; nobody else can any more.
static TAKE: Sql = Sql::new(
    "UPDATE bulk_actions SET cursor = $3, wake_at = $4
     WHERE id = $1 AND cursor = $2 AND state IN {action states before completed}
     RETURNING done + skipped AS results",
);

// One that waits again does so until its time, where that is still ahead.
static MOVE: Sql = Sql::new(
    "UPDATE mails SET state = $2, wake_at = CASE WHEN send_at > $3 THEN send_at ELSE $3 END,
        due_at = CASE WHEN send_at > $3 THEN send_at ELSE COALESCE($3, due_at) END, settled_at = $4, rescues = 0,
        cancel_reason = NULL, expires_at = CASE WHEN expires_at > $5 OR $3 IS NULL THEN expires_at END
     FROM {rows: id text, state text}
     WHERE mails.id = rows.id AND mails.state = rows.state
     RETURNING mails.id",
);

static STATES: Sql =
    Sql::new("SELECT mails.id, mails.state FROM {rows: id text} JOIN mails ON mails.id = rows.id");

static RECORD: Sql = Sql::new(
    "INSERT INTO bulk_action_results (action_id, mail_id, result, why)
     SELECT $2, mail, result, why FROM {rows: mail text, result text, why text} WHERE true
     ON CONFLICT (action_id, mail_id) DO NOTHING",
);

const COUNT: &str =
    "UPDATE bulk_actions SET done = done + $2, skipped = skipped + $3, state = $4, finished_at = $5,
        wake_at = $6
     WHERE id = $1";

/// What one transaction needs to know of its action.
struct Step {
    action: ActionRecord,
    mails: Vec<MailRecord>,
    /// The mail that the action comes to; none where that is all.
    next: Option<MailId>,
    keep_results: u64,
}

impl Store {
    /// Acts on the mails that were found for an action, unless they have moved since it was drafted, and brings the action
    /// on to the next ones. Of an action at most `keep_results` results are kept; the counts are of all.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. Then nothing of the step is done.
    pub async fn take_action_step(
        &self,
        action: &ActionRecord,
        found: FoundMails,
        keep_results: u64,
    ) -> Result<StepTaken, StoreError> {
        let dialect = self.dialect;
        let step = Step { action: action.clone(), mails: found.mails, next: found.next, keep_results };
        self.writer.run(move |on| async move { step.take(dialect, on).await }.boxed()).await
    }
}

impl Step {
    async fn take(self, dialect: Dialect, on: &mut Connection) -> Result<StepTaken, StoreError> {
        let now = clock::now();
        let Some(recorded) = self.begin(dialect, on, now).await? else { return Ok(StepTaken::NotYours) };
        let (mut fresh, mut results) = (Vec::new(), Vec::new());
        for mail in &self.mails {
            match self.why_skipped(mail) {
                None => fresh.push(mail),
                Some(why) => results.push(ResultRow::skipped(mail.id, why)),
            }
        }
        let mut moves = Vec::new();
        match (self.action.kind, self.action.kind.event()) {
            (_, Some(event)) => {
                let done = move_mails(dialect, on, &fresh, event, now).await?;
                moves = batch_moves(&fresh, &done);
                results.extend(self.results_of_moves(dialect, on, &fresh, &done).await?);
            }
            (ActionKind::Suppress, None) => {
                let suppressed = suppress_recipients(dialect, on, &fresh, now).await?;
                results.extend(suppressed.into_iter().map(|(mail, is_new)| match is_new {
                    true => ResultRow::done(mail),
                    false => ResultRow::skipped(mail, "its recipient gets no mail already".to_owned()),
                }));
            }
            (_, None) => results.extend(self.replay(dialect, on, &fresh).await?),
        }
        let done = results.iter().filter(|row| row.result == ActionResult::Done.as_str()).count();
        let skipped = results.len() - done;
        results.truncate(usize::try_from(self.keep_results.saturating_sub(recorded)).unwrap_or(usize::MAX));
        self.record(dialect, on, &results).await?;
        self.end(on, (done, skipped), now).await?;
        batches::follow(dialect, on, &moves).await?;
        Ok(if self.next.is_some() { StepTaken::More } else { StepTaken::Over })
    }

    /// Why a mail is left alone before anything is tried with it.
    fn why_skipped(&self, mail: &MailRecord) -> Option<String> {
        let becomes = self.action.kind.event().and_then(|event| mail.state.after(event));
        if self.has_moved(mail) {
            return Some(format!("it became {} after the action was drafted", mail.state));
        }
        if becomes.is_some_and(|state| !state.is_settled()) && mail.is_to_nobody() {
            return Some("its recipient is gone".to_owned());
        }
        if self.action.kind == ActionKind::Suppress && mail.is_test {
            return Some("it is a test mail".to_owned());
        }
        None
    }

    /// Whether a worker or a person has moved a mail since the action was drafted: it is not what was shown then. What is
    /// only told again does not depend on it.
    fn has_moved(&self, mail: &MailRecord) -> bool {
        let moved_at = mail.settled_at.max(mail.claimed_at);
        self.action.kind.event().is_some() && moved_at > Some(self.action.drafted_at)
    }

    /// Takes the step; returns how many results there are so far, or nothing where it is not to be taken.
    async fn begin(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let cursor = self.action.cursor.map(|id| id.to_string()).unwrap_or_default();
        let row = query(TAKE.on(dialect))
            .bind(self.action.id.to_string())
            .bind(cursor)
            .bind(self.next.unwrap_or(self.action.mark).to_string())
            .bind((now + ENQUEUED_AGAIN).millis())
            .fetch_optional(on)
            .await
            .doing("take a step of an action")?;
        row.map(|row| Columns { table: "bulk_actions", row: &row }.count("results")).transpose()
    }

    async fn results_of_moves(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        mails: &[&MailRecord],
        done: &HashMap<MailId, MailState>,
    ) -> Result<Vec<ResultRow>, StoreError> {
        let missed: Vec<_> = mails.iter().map(|mail| mail.id).filter(|id| !done.contains_key(id)).collect();
        let states = if missed.is_empty() { HashMap::new() } else { states_of(dialect, on, &missed).await? };
        let result = |id: MailId| match (done.contains_key(&id), states.get(&id)) {
            (true, _) => ResultRow::done(id),
            (false, Some(state)) => ResultRow::skipped(id, format!("it is {state} now")),
            (false, None) => ResultRow::skipped(id, "it is gone".to_owned()),
        };
        Ok(mails.iter().map(|mail| result(mail.id)).collect())
    }

    async fn replay(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        mails: &[&MailRecord],
    ) -> Result<Vec<ResultRow>, StoreError> {
        let ids: Vec<_> = mails.iter().map(|mail| mail.id).collect();
        let replayed = webhooks::replay_for_mails(dialect, on, &ids, self.action.drafted_at).await?;
        let result = |id: MailId| match replayed.contains(&id) {
            true => ResultRow::done(id),
            false => ResultRow::skipped(id, "no callback about it can be sent again".to_owned()),
        };
        Ok(ids.into_iter().map(result).collect())
    }

    async fn record(
        &self,
        dialect: Dialect,
        on: &mut Connection,
        results: &[ResultRow],
    ) -> Result<(), StoreError> {
        if results.is_empty() {
            return Ok(());
        }
        RECORD
            .with(dialect, results)
            .bind(self.action.id.to_string())
            .execute(on)
            .await
            .doing("record results of an action")
            .map(drop)
    }

    async fn end(
        &self,
        on: &mut Connection,
        (done, skipped): (usize, usize),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_over = self.next.is_none();
        let state = if is_over { ActionState::Done } else { ActionState::Running };
        query(COUNT)
            .bind(self.action.id.to_string())
            .bind(i64::try_from(done).unwrap_or(i64::MAX))
            .bind(i64::try_from(skipped).unwrap_or(i64::MAX))
            .bind(state.as_str())
            .bind(is_over.then_some(now.millis()))
            .bind((!is_over).then_some((now + ENQUEUED_AGAIN).millis()))
            .execute(on)
            .await
            .doing("count what an action did")
            .map(drop)
    }
}

impl ResultRow {
    fn done(mail: MailId) -> Self {
        Self { mail, result: ActionResult::Done.as_str(), why: None }
    }

    fn skipped(mail: MailId, why: String) -> Self {
        Self { mail, result: ActionResult::Skipped.as_str(), why: Some(why) }
    }
}

/// Moves the mails that are still as they were found; returns what those are now.
async fn move_mails(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[&MailRecord],
    event: MailEvent,
    now: Timestamp,
) -> Result<HashMap<MailId, MailState>, StoreError> {
    let Some(next) = mails.iter().find_map(|mail| mail.state.after(event)) else {
        return Ok(HashMap::new());
    };
    let can = mails.iter().filter(|mail| mail.state.after(event) == Some(next));
    let rows: Vec<_> = can.map(|mail| MovingRow { id: mail.id, state: mail.state.as_str() }).collect();
    let moved = MOVE
        .with(dialect, &rows)
        .bind(next.as_str())
        .bind((!next.is_settled()).then_some(now.millis()))
        .bind(next.is_settled().then_some(now.millis()))
        .bind(now.millis())
        .fetch_all(&mut *on)
        .await
        .doing("move mails of an action")?;
    let ids = moved.iter().map(|row| Columns { table: "mails", row }.parsed("id"));
    let done: HashMap<MailId, MailState> =
        ids.map(|id| Ok((id?, next))).collect::<Result<_, StoreError>>()?;
    let of_orders = mails.iter().filter(|mail| mail.origin.order.is_some() && done.contains_key(&mail.id));
    orders::follow(dialect, &mut *on, of_orders.map(|mail| (mail.id, next))).await?;
    let moved = mails.iter().filter(|mail| done.contains_key(&mail.id));
    let moved: Vec<_> =
        moved.map(|mail| MovedMail::without_reply(mail.id, mail.merchant.clone(), next)).collect();
    events::record_for_mails(dialect, on, &moved).await?;
    Ok(done)
}

/// What the counts of batches have to follow.
fn batch_moves(mails: &[&MailRecord], done: &HashMap<MailId, MailState>) -> Vec<BatchMove> {
    mails
        .iter()
        .filter_map(|mail| {
            let (batch, to) = (mail.origin.batch?, *done.get(&mail.id)?);
            let is_first_try = mail.attempt == 0 && to.is_settled();
            Some(BatchMove { batch, from: mail.state, to, is_first_try })
        })
        .collect()
}

async fn states_of(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[MailId],
) -> Result<HashMap<MailId, MailState>, StoreError> {
    #[derive(Serialize)]
    struct Asked {
        id: MailId,
    }
    let asked: Vec<_> = mails.iter().map(|&id| Asked { id }).collect();
    let rows = STATES.with(dialect, &asked).fetch_all(on).await.doing("look at mails")?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "mails", row };
            Ok((columns.parsed("id")?, columns.parsed("state")?))
        })
        .collect()
}
