//! Makes all due that waits: the queue lost its jobs, or rows were marked whose jobs it never got.

use std::time::Duration;

use tokio::time::Instant;

use crate::{app::App, store::StoreError, telemetry::chain};

/// Between two looks at the queue's generation.
const GENERATION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Notices a queue that lost its jobs: its generation changes.
#[derive(Default)]
pub(super) struct GenerationWatch {
    looked_at: Option<Instant>,
    generation: Option<String>,
    is_first: bool,
    /// What was made due for this generation, until all is.
    made: Option<MadeDue>,
}

impl GenerationWatch {
    /// Makes all due that waits, where the queue is new to this process.
    pub(super) async fn look(&mut self, app: &App) -> Result<(), StoreError> {
        if self.looked_at.is_some_and(|at| at.elapsed() < GENERATION_CHECK_INTERVAL) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let Ok(now) = app.queue.generation().await else { return Ok(()) };
        if self.generation.as_ref() != Some(&now) {
            self.is_first = self.generation.replace(now).is_none();
            self.made = Some(MadeDue::default());
        }
        let Some(made) = &mut self.made else { return Ok(()) };
        made.make_the_rest(app).await?;
        let (mails, callbacks, is_first) = (made.mails, made.callbacks, self.is_first);
        self.made = None;
        tracing::info!(mails, callbacks, is_first, "the queue is new to this process, all that waits is due");
        Ok(())
    }
}

/// The tables of rows that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Mails,
    Callbacks,
    Batches,
    Actions,
}

/// What of all that waits was made due already, and how many rows.
#[derive(Default)]
pub(super) struct MadeDue {
    done: Vec<Waiting>,
    pub(super) mails: u64,
    pub(super) callbacks: u64,
}

impl MadeDue {
    /// Makes due what is not yet, mails first. What fails for one table, such as because it is locked, keeps no other back.
    pub(super) async fn make_the_rest(&mut self, app: &App) -> Result<(), StoreError> {
        let mut made = Ok(());
        for waiting in [Waiting::Mails, Waiting::Callbacks, Waiting::Batches, Waiting::Actions] {
            if self.done.contains(&waiting) {
                continue;
            }
            match self.make(app, waiting).await {
                Ok(()) => self.done.push(waiting),
                Err(error) if error.is_about_the_database() => return Err(error),
                Err(error) => made = made.and(Err(error)),
            }
        }
        made
    }

    async fn make(&mut self, app: &App, waiting: Waiting) -> Result<(), StoreError> {
        match waiting {
            Waiting::Mails => self.mails = app.store.make_all_mails_due().await?,
            Waiting::Callbacks => self.callbacks = app.store.make_all_deliveries_due().await?,
            Waiting::Batches => drop(app.store.make_all_batches_due().await?),
            Waiting::Actions => drop(app.store.make_all_actions_due().await?),
        }
        Ok(())
    }
}

/// While this worker was not heard it postponed all jobs that it was given. Makes their rows due, so that they need not
/// wait for the next time that they are.
pub(crate) async fn make_postponed_due(app: &App) {
    let mut made = MadeDue::default();
    match made.make_the_rest(app).await {
        Ok(()) => {
            let MadeDue { mails, callbacks, .. } = made;
            tracing::info!(mails, callbacks, "this worker is heard again, all that waits is due")
        }
        Err(error) => {
            tracing::warn!(
                error = %chain(&error),
                "this worker is heard again, but could not make due what it postponed"
            )
        }
    }
}
