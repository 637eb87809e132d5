//! Changes of what may be a lot, in steps: a statement that takes a million rows at once keeps everybody else waiting.

use std::{future::Future, time::Duration};

use super::error::StoreError;

/// The most rows that one statement changes.
pub(super) const STEP: i64 = 1_000;
/// Between two steps, so that others have their turn: SQLite has one writer, and Postgres one disk.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest after which a row that was enqueued is due again.
pub(super) const ENQUEUED_AGAIN: Duration = Duration::from_secs(60);

/// Takes steps until one of them finds fewer than `most` rows; returns how many all of them changed.
pub(super) async fn in_steps<F>(most: i64, mut step: impl FnMut() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut deleted = 0;
    loop {
        let rows = step().await?;
        deleted += rows;
        if rows < most.unsigned_abs() {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
