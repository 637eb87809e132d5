//! Forgets what nobody can ask for any more: old idempotency answers, callbacks long settled, workers long dead.
//!
//! Comes by itself, every few minutes in every process; running twice is harmless.

use std::time::Duration;

use async_trait::async_trait;

use super::{Job, Outcome};
use crate::app::App;

/// A dead worker is shown to operators for so long.
const DEAD_WORKERS_SHOWN: Duration = Duration::from_secs(60 * 60);

/// Forgets old answers, callbacks and workers.
pub struct PruneHistory;

#[async_trait]
impl Job for PruneHistory {
    const NAME: &'static str = "prune_history";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let answers = app.store.forget_old_answers().await?;
        let callbacks = app.store.forget_old_deliveries(app.config.callbacks.keep).await?;
        let workers = app.store.forget_dead_workers(DEAD_WORKERS_SHOWN).await?;
        tracing::debug!(answers, callbacks, workers, "history pruned");
        Ok(if answers + callbacks + workers == 0 { Outcome::NothingToDo } else { Outcome::Done })
    }
}
