//! The counts of batches: they follow the mails in the transactions that move these, one statement for each batch of a
//! group, and the move that settles the last mail closes the batch and records its webhook and events.

use std::collections::BTreeMap;

use super::close::close;
use crate::{
    clock,
    mail::{BatchEvent, BatchId, BatchState, MailState},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
    },
};

/// So many seconds are one span of the rate.
pub(super) const SPAN: i64 = 10;

/// A mail of a batch that has moved.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct BatchMove {
    pub(in crate::store) batch: BatchId,
    pub(in crate::store) from: MailState,
    pub(in crate::store) to: MailState,
    /// Whether it was in the queue for the first time until now.
    pub(in crate::store) is_first_try: bool,
}

/// What is to be added to a batch's counts.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) made: i64,
    pub(super) tried: i64,
    settled: BTreeMap<MailState, i64>,
    newly_settled: i64,
}

impl Change {
    /// A mail is in this state now.
    pub(super) fn enters(&mut self, state: MailState) {
        if state.is_settled() {
            *self.settled.entry(state).or_default() += 1;
            self.newly_settled += 1;
        }
    }

    fn leaves(&mut self, state: MailState) {
        if state.is_settled() {
            *self.settled.entry(state).or_default() -= 1;
        }
    }
}

/// Lets the counts follow mails that have moved. To be called last in a transaction.
pub(in crate::store) async fn follow(
    dialect: Dialect,
    on: &mut Connection,
    moves: &[BatchMove],
) -> Result<(), StoreError> {
    // In the order of their ids, so that two groups never wait for each other.
    let mut changes: BTreeMap<BatchId, Change> = BTreeMap::new();
    for BatchMove { batch, from, to, is_first_try } in moves {
        let change = changes.entry(*batch).or_default();
        change.leaves(*from);
        change.enters(*to);
        change.tried += i64::from(*is_first_try);
    }
    for (batch, change) in &changes {
        add(dialect, on, *batch, change).await?;
    }
    Ok(())
}

// A batch that waited for its time is still queued when its first mail goes.
const ADD: &str = "UPDATE batches SET made = made + $2, tried = tried + $3, sent = sent + $4, failed = failed + $5,
        bounced = bounced + $6, suppressed = suppressed + $7, cancelled = cancelled + $8, expired = expired + $9,
        held = held + $10,
        in_span_before = CASE WHEN span = $11 THEN in_span_before WHEN span = $11 - 1 THEN in_span ELSE 0 END,
        in_span = CASE WHEN span = $11 THEN in_span ELSE 0 END + $12, span = $11,
        started_at = CASE WHEN state = 'queued' AND $3 > 0 AND COALESCE(send_at, 0) <= $13 THEN COALESCE(started_at, $13) ELSE started_at END,
        state = CASE WHEN state = 'queued' AND $3 > 0 AND COALESCE(send_at, 0) <= $13 THEN 'processing' ELSE state END
     WHERE id = $1
     RETURNING state, mails, sent + failed + bounced + suppressed + cancelled + expired + held AS settled";

/// Adds to a batch's counts, and closes it when that was the last mail.
pub(super) async fn add(
    dialect: Dialect,
    on: &mut Connection,
    batch: BatchId,
    change: &Change,
) -> Result<(), StoreError> {
    let of = |state| change.settled.get(&state).copied().unwrap_or(0);
    let row = query(ADD)
        .bind(batch.to_string())
        .bind(change.made)
        .bind(change.tried)
        .bind(of(MailState::Sent))
        .bind(of(MailState::Failed))
        .bind(of(MailState::Bounced))
        .bind(of(MailState::Suppressed))
        .bind(of(MailState::Cancelled))
        .bind(of(MailState::Expired))
        .bind(of(MailState::Held))
        .bind(clock::now().millis().div_euclid(SPAN * 1_000))
        .bind(change.newly_settled)
        .bind(clock::now().millis())
        .fetch_optional(&mut *on)
        .await
        .doing("count mails of a batch")?;
    let Some(row) = row else { return Ok(()) };
    let columns = Columns { table: "batches", row: &row };
    let state: BatchState = columns.parsed("state")?;
    if state.is_open() && columns.integer("settled")? >= columns.integer("mails")? {
        close(dialect, on, batch, BatchEvent::Completed, None).await?;
    }
    Ok(())
}
