//! Stopping batches: pause and resume, cancel, fail.

use futures_util::FutureExt;

use super::{
    close::close,
    counts::{BatchMove, follow},
};
use crate::{
    audit::Action,
    clock,
    mail::{BatchAction, BatchEvent, BatchId, BatchState, MailState, MerchantId},
    store::{
        audit::{self, NewEntry},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        row::Columns,
        sql::Sql,
        statement::query,
        steps::{STEP, through_ids},
    },
};

/// The most mails that are taken back in one transaction.
const MAILS: i64 = 1_000;
/// The most chunks that are thrown away in one transaction.
const CHUNKS: i64 = 20;

/// The result of moving a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchMoved {
    /// It is so now.
    Now,
    /// It was so already: paused, or not paused.
    Unchanged,
    /// It is over, in this state.
    Over(BatchState),
    /// There is no such batch.
    Unknown,
}

/// How far a batch is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// There is more to take back.
    More {
        /// How many mails were cancelled.
        cancelled: u64,
    },
    /// The rest is just being sent; look again in a while.
    Waits,
    /// All of it.
    Done,
}

// Only an open batch; the same as those that can be cancelled.
static PAUSE_BATCH: Sql = Sql::new(
    "UPDATE batches SET stopped_at = $2, wake_at = NULL
     WHERE id = $1 AND stopped_at IS NULL AND state IN {batch states before cancelled}",
);
static RESUME_BATCH: Sql = Sql::new(
    "UPDATE batches SET stopped_at = NULL, wake_at = $2
     WHERE id = $1 AND stopped_at IS NOT NULL AND state IN {batch states before cancelled}",
);

// While it was paused their jobs did nothing. There may be very many.
static MAKE_MAILS_DUE: Sql = Sql::new(
    "UPDATE mails SET wake_at = due_at WHERE id IN (
        SELECT id FROM mails WHERE batch_id = $1 AND id > $2 AND wake_at > due_at
            AND state IN {mail states before claimed} ORDER BY id LIMIT $3)
     RETURNING id",
);

impl Store {
    /// Does with a batch what somebody asks.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn move_batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
        action: BatchAction,
    ) -> Result<BatchMoved, StoreError> {
        match action {
            BatchAction::Pause => self.pause_batch(merchant, id, true).await,
            BatchAction::Resume => self.pause_batch(merchant, id, false).await,
            BatchAction::Cancel => self.cancel_batch(merchant, id).await,
        }
    }

    /// Stops a batch, or lets it go on: while it is paused none of its mails is made or claimed.
    async fn pause_batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
        paused: bool,
    ) -> Result<BatchMoved, StoreError> {
        let Some(batch) = self.batch(merchant, id).await? else { return Ok(BatchMoved::Unknown) };
        let (dialect, now) = (self.dialect, clock::now().millis());
        let action = if paused { Action::BatchPaused } else { Action::BatchResumed };
        let entry = self.entry(action, id, Some(&batch.merchant));
        let done = self
            .writer
            .run(move |on| {
                async move {
                    let statement = if paused { &PAUSE_BATCH } else { &RESUME_BATCH };
                    let done = query(statement.on(dialect))
                        .bind(id.to_string())
                        .bind(now)
                        .execute(&mut *on)
                        .await
                        .doing("pause or resume a batch")?;
                    let is_done = done.rows_affected() == 1;
                    audit::record(on, entry.as_ref().filter(|_| is_done)).await?;
                    Ok(is_done)
                }
                .boxed()
            })
            .await?;
        let moved = self.moved(done, id, batch.state).await?;
        // Also where it was resumed before: whoever did that may have failed half-way.
        if !paused && matches!(moved, BatchMoved::Now | BatchMoved::Unchanged) {
            self.make_mails_due(id).await?;
        }
        Ok(moved)
    }

    /// Has the scheduler enqueue the mails of a batch that was paused. One that is not reached is enqueued a little later.
    async fn make_mails_due(&self, id: BatchId) -> Result<(), StoreError> {
        let (_, done) = through_ids(STEP, |after| {
            let due = query(MAKE_MAILS_DUE.on(self.dialect)).bind(id.to_string()).bind(after).bind(STEP);
            self.writer.change_ids(due, "make the mails of a batch due")
        })
        .await;
        done
    }

    /// Cancels a batch: nothing more of it is sent, and its webhook reports it as failed.
    async fn cancel_batch(
        &self,
        merchant: Option<&MerchantId>,
        id: BatchId,
    ) -> Result<BatchMoved, StoreError> {
        let Some(batch) = self.batch(merchant, id).await? else { return Ok(BatchMoved::Unknown) };
        let left = batch.mails.saturating_sub(batch.settled_mails());
        let entry = self.entry(Action::BatchCancelled, id, Some(&batch.merchant)).map(|entry| entry.of(left));
        let closed = self.close_batch(id, BatchEvent::Cancelled, "cancelled", entry).await?;
        self.moved(closed, id, batch.state).await
    }

    /// Gives a batch up that cannot be run. What was made of it goes on.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn fail_batch(&self, id: BatchId, error: &str) -> Result<bool, StoreError> {
        self.close_batch(id, BatchEvent::Failed, error, None).await
    }

    async fn close_batch(
        &self,
        id: BatchId,
        event: BatchEvent,
        error: &str,
        entry: Option<NewEntry>,
    ) -> Result<bool, StoreError> {
        let (dialect, error) = (self.dialect, error.to_owned());
        self.writer
            .run(move |on| {
                async move {
                    let is_closed = close(dialect, &mut *on, id, event, Some(&error)).await?;
                    audit::record(on, entry.as_ref().filter(|_| is_closed)).await?;
                    Ok(is_closed)
                }
                .boxed()
            })
            .await
    }

    async fn moved(&self, done: bool, id: BatchId, seen: BatchState) -> Result<BatchMoved, StoreError> {
        if done {
            return Ok(BatchMoved::Now);
        }
        let now = self.batch(None, id).await?.map_or(seen, |batch| batch.state);
        Ok(if now.is_open() { BatchMoved::Unchanged } else { BatchMoved::Over(now) })
    }

    /// Takes back a part of what a closed batch has not sent: mails of a cancelled one, and users whose mails were
    /// never made.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn take_back(&self, id: BatchId, state: BatchState) -> Result<TakenBack, StoreError> {
        let dialect = self.dialect;
        self.writer
            .run(move |on| {
                async move {
                    let mails = match state {
                        BatchState::Cancelled => cancel_mails(dialect, &mut *on, id).await?,
                        _ => 0,
                    };
                    let chunks = query(
                        "DELETE FROM batch_chunks WHERE batch_id = $1 AND number IN (
                SELECT number FROM batch_chunks WHERE batch_id = $1 ORDER BY number LIMIT $2)",
                    )
                    .bind(id.to_string())
                    .bind(CHUNKS)
                    .execute(&mut *on)
                    .await
                    .doing("throw users of a batch away")?
                    .rows_affected();
                    let is_under_way = state == BatchState::Cancelled
                        && query("SELECT 1 FROM mails WHERE batch_id = $1 AND wake_at IS NOT NULL LIMIT 1")
                            .bind(id.to_string())
                            .fetch_optional(&mut *on)
                            .await
                            .doing("look for mails of a batch")?
                            .is_some();
                    let taken = match (mails + chunks, is_under_way) {
                        (0, false) => TakenBack::Done,
                        (0, true) => TakenBack::Waits,
                        _ => TakenBack::More { cancelled: mails },
                    };
                    if taken == TakenBack::Done {
                        query("UPDATE batches SET wake_at = NULL, stopped_at = NULL WHERE id = $1")
                            .bind(id.to_string())
                            .execute(&mut *on)
                            .await
                            .doing("leave a batch alone")?;
                    }
                    Ok(taken)
                }
                .boxed()
            })
            .await
    }
}

static CANCEL_MAILS: Sql = Sql::new(
    "UPDATE mails SET state = 'cancelled', wake_at = NULL, settled_at = $2 WHERE id IN (
        SELECT id FROM mails WHERE batch_id = $1 AND wake_at IS NOT NULL AND state IN {mail states before cancelled}
        LIMIT $3 {skip_locked})
     RETURNING id, merchant_id, attempt",
);

async fn cancel_mails(dialect: Dialect, on: &mut Connection, batch: BatchId) -> Result<u64, StoreError> {
    let rows = query(CANCEL_MAILS.on(dialect))
        .bind(batch.to_string())
        .bind(clock::now().millis())
        .bind(MAILS)
        .fetch_all(&mut *on)
        .await
        .doing("cancel mails of a batch")?;
    let moves = rows
        .iter()
        .map(|row| {
            let is_first_try = Columns { table: "mails", row }.integer("attempt")? == 0;
            Ok(BatchMove { batch, from: MailState::Queued, to: MailState::Cancelled, is_first_try })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let moved = rows.iter().map(|row| {
        let columns = Columns { table: "mails", row };
        let (id, merchant) = (columns.parsed("id")?, columns.parsed("merchant_id")?);
        Ok(MovedMail::without_reply(id, merchant, MailState::Cancelled))
    });
    let moved = moved.collect::<Result<Vec<_>, StoreError>>()?;
    events::record_for_mails(dialect, &mut *on, &moved).await?;
    follow(dialect, on, &moves).await?;
    Ok(rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Author,
        store::{AuditFilter, webhooks_fixture as fixture},
    };

    #[tokio::test]
    async fn a_batch_that_is_paused_or_resumed_already_is_not_changed_and_leaves_no_entry() {
        let (store, _folder) = fixture::open().await;
        fixture::fill(&store, &fixture::tea()).await;
        let batch = fixture::new_batch(&fixture::tea());
        store.record_batch(&batch, None).await.unwrap();
        let acting = store.acting_for(Author::at_the_command_line("ann", "pts/1"));
        let id = batch.id;
        for (action, expected) in [
            (BatchAction::Resume, BatchMoved::Unchanged),
            (BatchAction::Pause, BatchMoved::Now),
            (BatchAction::Pause, BatchMoved::Unchanged),
            (BatchAction::Resume, BatchMoved::Now),
            (BatchAction::Resume, BatchMoved::Unchanged),
            (BatchAction::Cancel, BatchMoved::Now),
            (BatchAction::Cancel, BatchMoved::Over(BatchState::Cancelled)),
            (BatchAction::Pause, BatchMoved::Over(BatchState::Cancelled)),
            (BatchAction::Resume, BatchMoved::Over(BatchState::Cancelled)),
        ] {
            assert_eq!(acting.move_batch(None, id, action).await.unwrap(), expected, "{action}");
        }
        let entries = store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
        let actions: Vec<_> = entries.iter().rev().map(|entry| entry.action).collect();
        assert_eq!(actions, [Action::BatchPaused, Action::BatchResumed, Action::BatchCancelled]);
    }
}
