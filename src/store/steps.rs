//! Changes of what may be a lot, in steps: a statement that takes a million rows at once keeps everybody else waiting.

use std::{future::Future, time::Duration};

use super::error::StoreError;

/// The most rows that one statement changes.
pub(super) const STEP: i64 = 1_000;
/// Between two steps, so that others have their turn: SQLite has one writer, and Postgres one disk.
const STEP_INTERVAL: Duration = Duration::from_millis(20);

/// The longest after which a row that was enqueued is due again.
pub(super) const ENQUEUED_AGAIN: Duration = Duration::from_secs(60);

/// Takes steps until one of them finds fewer than `most` rows; returns how many all of them changed.
pub(super) async fn in_steps<F>(most: i64, mut step: impl FnMut() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut changed = 0;
    loop {
        let rows = step().await?;
        changed += rows;
        if rows < most.unsigned_abs() {
            return Ok(changed);
        }
        tokio::time::sleep(STEP_INTERVAL).await;
    }
}

/// The same for rows that are changed in the order of their ids: each step returns the ids that it changed, and the next takes those
/// after them, so that no row is looked at twice. Returns how many were changed, also where a step failed then.
pub(super) async fn through_ids<F>(
    most: i64,
    mut step: impl FnMut(String) -> F,
) -> (u64, Result<(), StoreError>)
where
    F: Future<Output = Result<Vec<String>, StoreError>>,
{
    let (mut changed, mut after) = (0, String::new());
    loop {
        let ids = match step(after).await {
            Ok(ids) => ids,
            Err(error) => return (changed, Err(error)),
        };
        let rows = ids.len() as u64;
        changed += rows;
        match ids.into_iter().max() {
            Some(last) if rows >= most.unsigned_abs() => after = last,
            _ => return (changed, Ok(())),
        }
        tokio::time::sleep(STEP_INTERVAL).await;
    }
}
