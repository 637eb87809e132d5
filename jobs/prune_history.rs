//! Forgets what is over: mails settled long ago, old idempotency answers, callbacks long settled,
//! bulk actions long over, users that were staged for batches whose requests never ended, old audit entries, pauses and
//! suppressions that are over.
//!
//! Comes by itself, every few minutes in every process; running twice is harmless.

use std::time::Duration;

use async_trait::async_trait;

use super::job::{Job, Outcome};
use crate::app::App;

/// No clock of another machine is so far behind.
const CLOCKS: Duration = Duration::from_secs(15 * 60);

/// How long the dashboard's charts reach back.
const ACTIVITY: Duration = Duration::from_secs(48 * 60 * 60);

/// Forgets old mails, answers and callbacks.
pub struct PruneHistory;

#[async_trait]
impl Job for PruneHistory {
    const NAME: &'static str = "prune_history";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let mails = app.store.forget_old_mails(app.config.keep.mails).await?;
        let entries = app.store.forget_stray_entries(app.config.keep.mails).await?;
        let files = app.store.forget_unused_attachments().await?;
        let answers = app.store.forget_old_answers().await?;
        let callbacks = app.store.forget_old_deliveries(app.config.keep.callbacks).await?;
        let chunks = app.store.discard_forgotten_chunks(longest_request(app)).await?;
        let (keep, keep_drafts) = (app.config.actions.keep, app.config.actions.keep_drafts);
        let actions = app.store.forget_old_actions(keep, keep_drafts).await?;
        let audit = app.store.forget_old_audit(app.config.keep.audit).await?;
        let pauses = app.store.forget_ended_pauses().await?;
        let sessions = app.store.forget_ended_sessions().await?;
        let suppressions = app.store.forget_ended_suppressions().await?;
        app.store.forget_bad_addresses().await?;
        app.store.forget_old_activity(ACTIVITY).await?;
        tracing::debug!(
            mails,
            entries,
            files,
            answers,
            callbacks,
            chunks,
            actions,
            audit,
            pauses,
            sessions,
            suppressions,
            "history pruned"
        );
        let forgotten = mails
            + entries
            + files
            + answers
            + callbacks
            + chunks
            + actions
            + audit
            + pauses
            + sessions
            + suppressions;
        Ok(if forgotten == 0 { Outcome::NothingToDo } else { Outcome::Done })
    }
}

/// A request for a batch that began longer ago has ended.
fn longest_request(app: &App) -> Duration {
    app.config.batches.timeout * 2 + CLOCKS
}
