//! Takes a bulk action one step further: its next mails, the oldest first.
//!
//! Comes after the confirmation, after itself or after the scheduler; the scheduler enqueues what the step makes due.
//! Running twice is harmless: a step is one transaction, and from where an action is only one can be taken.

use async_trait::async_trait;

use super::job::{Job, Outcome, job_id};
use crate::{
    app::App,
    mail::{ActionId, ActionState, Lane, MerchantId},
    queue::QueuedJob,
    store::{ActionRecord, MailSearch, StepTaken},
    telemetry::chain,
};

/// The most mails of a step: its transaction is over in a moment, also where one writer serves all.
const MAILS: u32 = 500;

/// Takes a bulk action one step further.
pub struct RunBulkAction {
    /// Which.
    pub action: ActionId,
}

/// The job that takes the next step of an action. Actions of operators take turns with those of each merchant.
pub fn run_bulk_action_job(action: ActionId, merchant: Option<MerchantId>) -> QueuedJob {
    let merchant = merchant.unwrap_or_else(MerchantId::of_operators);
    QueuedJob::new(job_id::<RunBulkAction>(action), Lane::Batch, merchant)
}

#[async_trait]
impl Job for RunBulkAction {
    const NAME: &'static str = "run_bulk_action";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let Some(action) = app.store.action(None, self.action).await? else {
            return Ok(Outcome::NothingToDo);
        };
        if action.state != ActionState::Running {
            return Ok(Outcome::NothingToDo);
        }
        let search = match action.search() {
            Ok(search) => MailSearch { limit: MAILS, ..search },
            Err(error) => {
                tracing::error!(action = %action.id, error = %chain(&error), "an action cannot be run");
                app.store.fail_action(action.id, &error.to_string()).await?;
                return Ok(Outcome::Done);
            }
        };
        let found = app.store.search_mails(&search).await?;
        match app.store.take_action_step(&action, found, app.config.actions.keep_results).await? {
            StepTaken::More => app.enqueue(run_bulk_action_job(action.id, action.merchant)),
            StepTaken::Over => log_the_end(app, &action).await?,
            StepTaken::NotYours => return Ok(Outcome::NothingToDo),
        }
        Ok(Outcome::Done)
    }
}

async fn log_the_end(app: &App, action: &ActionRecord) -> anyhow::Result<()> {
    if let Some(ActionRecord { id, kind, done, skipped, confirmed_by, .. }) =
        app.store.action(None, action.id).await?
    {
        let by = confirmed_by.unwrap_or_default();
        tracing::info!(action = %id, %kind, done, skipped, by, "an action is done");
    }
    Ok(())
}
