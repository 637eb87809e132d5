//! What workers do: the catalogue of jobs, one file each.
//!
//! A queued job names one of them and a row, as in `send_mail:0192…`. Running a job twice is harmless: whoever cannot
//! claim the row leaves it alone.

mod attached_files;
mod before_sending;
mod fan_out_batch;
mod hand_over;
mod job;
mod mail_job;
mod notify_disabled_endpoints;
mod prune_history;
mod run_bulk_action;
mod send_callback;
mod send_mail;
mod send_test_mail;

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use uuid::Uuid;

pub use fan_out_batch::{FanOutBatch, fan_out_batch_job};
pub use hand_over::{record, record_while_queue_answers};
pub use job::{Job, Outcome};
pub use mail_job::{send_mail_id, send_mail_job};
pub use notify_disabled_endpoints::NotifyDisabledEndpoints;
pub use prune_history::PruneHistory;
pub use run_bulk_action::{RunBulkAction, run_bulk_action_job};
pub use send_callback::{SendCallback, enqueue_callbacks_with_room, send_callback_job};
pub use send_mail::{SendMail, source_of};
pub use send_test_mail::SendTestMail;

use crate::{
    admission::Permit,
    app::App,
    mail::{ActionId, BatchId, DeliveryId, Lane, MailId, MailLane},
    queue::{Ended, QueuedJob},
    store::{DueAction, DueBatch, DueDelivery, DueMail, StoreError},
    telemetry::{METRICS, Outages, chain, metrics::JobLabels},
};

/// A job that could not reach the database is tried again by the same worker after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Jobs that could not reach the database, by their kind.
static UNREACHED: LazyLock<Outages> = LazyLock::new(Outages::default);

impl From<DueBatch> for QueuedJob {
    fn from(due: DueBatch) -> Self {
        fan_out_batch_job(due.batch, due.merchant)
    }
}

impl From<DueAction> for QueuedJob {
    fn from(due: DueAction) -> Self {
        run_bulk_action_job(due.action, due.merchant)
    }
}

impl From<DueDelivery> for QueuedJob {
    fn from(due: DueDelivery) -> Self {
        send_callback_job(due.delivery, due.merchant)
    }
}

impl From<DueMail> for QueuedJob {
    fn from(due: DueMail) -> Self {
        mail_job::job_for(due.mail, due.is_test, due.lane, due.merchant)
            .with_domains(&due.sender_domain, &due.recipient_domain)
    }
}

/// Lets each kind of job have failed no time yet: whoever is alerted when a counter grows sees the first failure, too.
pub fn count_failures_from_zero() {
    let kinds = [
        SendMail::NAME,
        SendTestMail::NAME,
        SendCallback::NAME,
        FanOutBatch::NAME,
        RunBulkAction::NAME,
        NotifyDisabledEndpoints::NAME,
        PruneHistory::NAME,
    ];
    for job in kinds {
        drop(METRICS.jobs.get_or_create(&JobLabels { job, outcome: "failed" }));
    }
}

/// Runs a job that came from the queue. A mail comes with the permit to send it.
pub async fn run_queued(app: Arc<App>, job: QueuedJob, permit: Option<Permit>) -> Ended {
    // The queue holds paused lanes back; one that lost its contents has to be told again, and may give a job before that. Its row
    // is due again later. Mails were admitted.
    if permit.is_none() && app.admission.is_paused(job.lane) {
        return Ended::Done;
    }
    match job.id.split_once(':').map(|(name, row)| (name, row.parse::<Uuid>())) {
        Some((SendMail::NAME, Ok(mail))) => {
            let lane = if job.lane == Lane::Transactional { MailLane::Transactional } else { MailLane::Bulk };
            run(&app, SendMail { mail: MailId(mail), lane, permit: Mutex::new(permit) }).await
        }
        Some((SendTestMail::NAME, Ok(mail))) => run(&app, SendTestMail { mail: MailId(mail) }).await,
        Some((SendCallback::NAME, Ok(id))) => run(&app, SendCallback { delivery: DeliveryId(id) }).await,
        Some((FanOutBatch::NAME, Ok(batch))) => {
            run_while_heard(&app, FanOutBatch { batch: BatchId(batch) }).await
        }
        Some((RunBulkAction::NAME, Ok(id))) => {
            run_while_heard(&app, RunBulkAction { action: ActionId(id) }).await
        }
        _ => {
            drop_job(&app, &job).await;
            Ended::Done
        }
    }
}

async fn run<J: Job>(app: &App, job: J) -> Ended {
    end_or_leave::<J>(app, job.run(app).await).await
}

/// The same for a job that claims nothing: all that it waits for is the database, so that it is given up where that does not
/// hear this worker.
async fn run_while_heard<J: Job>(app: &App, job: J) -> Ended {
    end_or_leave::<J>(app, app.worker.while_heard(job.run(app)).await).await
}

async fn end_or_leave<J: Job>(app: &App, outcome: anyhow::Result<Outcome>) -> Ended {
    match outcome {
        Err(error) if error.downcast_ref().is_some_and(StoreError::may_pass) => {
            leave_to_others::<J>(app, &error).await
        }
        outcome => ended::<J>(outcome),
    }
}

/// What becomes of a job that could not reach the database: it goes back to the queue, since another worker may. This one
/// fetches nothing while the database does not hear it.
async fn leave_to_others<J: Job>(app: &App, error: &anyhow::Error) -> Ended {
    if let Some(times) = UNREACHED.failed(J::NAME) {
        tracing::warn!(
            job = J::NAME,
            error = %chain(&**error),
            times,
            "a job could not reach the database, it goes back to the queue"
        );
    }
    METRICS.jobs.get_or_create(&JobLabels { job: J::NAME, outcome: "failed" }).inc();
    if app.worker.is_heard() {
        // Otherwise it would be fetched and tried again at once.
        let _ = app.worker.stopping.run_until_cancelled(sleep(RETRY_AFTER)).await;
    }
    Ended::NotNow
}

/// Counts what became of a job.
fn ended<J: Job>(outcome: anyhow::Result<Outcome>) -> Ended {
    let (label, ended) = match outcome {
        Ok(outcome) => (outcome.as_str(), outcome.into()),
        Err(error) => {
            tracing::error!(
                job = J::NAME,
                error = %chain(&*error),
                "a job failed, its row is due again later"
            );
            ("failed", Ended::Done)
        }
    };
    METRICS.jobs.get_or_create(&JobLabels { job: J::NAME, outcome: label }).inc();
    ended
}

/// A queued job that this version does not know: it is dropped with a record, a metric and a log line.
async fn drop_job(app: &App, job: &QueuedJob) {
    METRICS.dropped_jobs.inc();
    tracing::error!(job = job.id, lane = %job.lane, "a queued job is of no known kind, it is dropped");
    if let Err(error) = app.store.record_dropped_job(&job.id, "no job of this version").await {
        tracing::error!(error = %chain(&error), "a dropped job could not be recorded");
    }
}

/// Runs the maintenance jobs once each `pause`.
pub async fn run_maintenance(app: Arc<App>, pause: Duration) {
    loop {
        ended::<PruneHistory>(PruneHistory.run(&app).await);
        ended::<NotifyDisabledEndpoints>(NotifyDisabledEndpoints.run(&app).await);
        tokio::time::sleep(pause).await;
    }
}
