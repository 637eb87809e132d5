//! Forgetting actions that are long over, and drafts that nobody confirmed.

use std::time::Duration;

use crate::{
    clock,
    mail::Timestamp,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        statement::query,
        steps::{STEP, in_steps},
    },
};

/// The most actions in one round.
const ROUND: i64 = 100;

const OLD: &str = "SELECT id FROM bulk_actions
     WHERE wake_at IS NULL AND (COALESCE(finished_at, stopped_at) < $1 OR (state = 'draft' AND drafted_at < $2))
     ORDER BY id LIMIT $3";

impl Store {
    /// Forgets actions that were over or stopped longer ago than `keep`, and drafts older than `keep_drafts`, with
    /// their results; returns how many actions that were.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_actions(&self, keep: Duration, keep_drafts: Duration) -> Result<u64, StoreError> {
        let now = clock::now();
        in_steps(ROUND, || self.forget_some_actions(now - keep, now - keep_drafts)).await
    }

    async fn forget_some_actions(&self, over: Timestamp, drafted: Timestamp) -> Result<u64, StoreError> {
        let rows = query(OLD)
            .bind(over.millis())
            .bind(drafted.millis())
            .bind(ROUND)
            .fetch_all(&self.readers)
            .await
            .doing("look for old actions")?;
        let mut forgotten = 0;
        for row in &rows {
            let id = Columns { table: "bulk_actions", row }.text("id")?;
            // The results first: what is left of them after a crash would never be found again.
            self.forget_results(&id).await?;
            let delete = query("DELETE FROM bulk_actions WHERE id = $1 AND wake_at IS NULL").bind(id);
            forgotten += self.writer.execute(delete, "forget an action").await?;
        }
        Ok(forgotten)
    }

    async fn forget_results(&self, action: &str) -> Result<(), StoreError> {
        in_steps(STEP, || {
            let delete = query(
                "DELETE FROM bulk_action_results WHERE action_id = $1 AND mail_id IN (
                    SELECT mail_id FROM bulk_action_results WHERE action_id = $1 ORDER BY mail_id LIMIT $2)",
            )
            .bind(action.to_owned())
            .bind(STEP);
            self.writer.execute(delete, "forget results of an action")
        })
        .await
        .map(drop)
    }
}
