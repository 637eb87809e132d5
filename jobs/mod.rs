//! What workers do: the catalogue of jobs, one file each.
//!
//! A queued job names one of them and a row, as in `send_mail:0192…`. Running a job twice is harmless: whoever cannot
//! claim the row leaves it alone.

mod fan_out_batch;
mod notify_disabled_endpoints;
mod prune_history;
mod send_callback;
mod send_mail;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

pub use fan_out_batch::FanOutBatch;
pub use notify_disabled_endpoints::NotifyDisabledEndpoints;
pub use prune_history::PruneHistory;
pub use send_callback::SendCallback;
pub use send_mail::SendMail;

use crate::{
    admission::Permit,
    app::App,
    mail::{BatchId, DeliveryId, Lane, MailId, MerchantId, NewMail},
    queue::{Ended, QueuedJob},
    store::{DueBatch, DueDelivery, DueMail, StoreError},
    telemetry::{METRICS, metrics::JobLabels},
};

/// Between two tries to record the outcome of an attempt.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// One kind of work.
#[async_trait]
pub trait Job: Send + Sync {
    /// The name in the queue, metrics and logs. It never changes.
    const NAME: &'static str;

    /// Does the work once.
    ///
    /// # Errors
    /// What nobody expected, such as a database that is away. The row stays as it is and is due again later.
    async fn run(&self, app: &App) -> anyhow::Result<Outcome>;
}

/// The outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done and on record.
    Done,
    /// Somebody else has the row, or it needs nothing.
    NothingToDo,
    /// Not now; the row says when it is due again.
    Postponed,
    /// Not now; the job goes back to the queue at once.
    Waits,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NothingToDo => "nothing_to_do",
            Self::Postponed => "postponed",
            Self::Waits => "waits",
        }
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Waits => Self::NotNow,
            Outcome::Done | Outcome::NothingToDo | Outcome::Postponed => Self::Done,
        }
    }
}

/// The job that sends a mail.
pub fn send_mail_job(mail: &NewMail) -> QueuedJob {
    let (sender, recipient) = (mail.sender.email.domain(), mail.recipient.email.domain());
    QueuedJob::new(send_mail_id(mail.id), mail.lane, mail.merchant.clone()).with_domains(sender, recipient)
}

/// The id of the job that sends a mail.
pub fn send_mail_id(mail: MailId) -> String {
    format!("{}:{mail}", SendMail::NAME)
}

/// The job that sends a callback.
pub fn send_callback_job(delivery: DeliveryId, merchant: MerchantId) -> QueuedJob {
    QueuedJob::new(format!("{}:{delivery}", SendCallback::NAME), Lane::Callback, merchant)
}

/// The job that makes the next mails of a batch, or takes them back.
pub fn fan_out_batch_job(batch: BatchId, merchant: MerchantId) -> QueuedJob {
    QueuedJob::new(format!("{}:{batch}", FanOutBatch::NAME), Lane::Batch, merchant)
}

impl From<DueBatch> for QueuedJob {
    fn from(due: DueBatch) -> Self {
        fan_out_batch_job(due.batch, due.merchant)
    }
}

impl From<DueDelivery> for QueuedJob {
    fn from(due: DueDelivery) -> Self {
        send_callback_job(due.delivery, due.merchant)
    }
}

impl From<DueMail> for QueuedJob {
    fn from(due: DueMail) -> Self {
        Self::new(send_mail_id(due.mail), due.lane, due.merchant)
            .with_domains(&due.sender_domain, &due.recipient_domain)
    }
}

/// Records the outcome of an attempt as soon as the database takes it: the other side's reply must not be lost.
/// `failed` is called for each failure.
async fn until_recorded<T, F>(record: impl Fn() -> F, failed: impl Fn(&str)) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match record().await {
            Err(error) if !matches!(error, StoreError::Closed) => {
                failed(&format!("{:#}", anyhow::Error::from(error)));
                tokio::time::sleep(RECORD_AGAIN).await;
            }
            recorded => return recorded,
        }
    }
}

/// Runs a job that came from the queue. A mail comes with leave to send it.
pub async fn run_queued(app: Arc<App>, job: QueuedJob, permit: Option<Permit>) -> Ended {
    match job.id.split_once(':').map(|(name, row)| (name, row.parse::<Uuid>())) {
        Some((SendMail::NAME, Ok(mail))) => {
            run(&app, SendMail { mail: MailId(mail), permit: Mutex::new(permit) }).await
        }
        Some((SendCallback::NAME, Ok(id))) => run(&app, SendCallback { delivery: DeliveryId(id) }).await,
        Some((FanOutBatch::NAME, Ok(batch))) => run(&app, FanOutBatch { batch: BatchId(batch) }).await,
        _ => {
            drop_job(&app, &job).await;
            Ended::Done
        }
    }
}

async fn run<J: Job>(app: &App, job: J) -> Ended {
    let (label, ended) = match job.run(app).await {
        Ok(outcome) => (outcome.as_str(), outcome.into()),
        Err(error) => {
            tracing::error!(
                job = J::NAME,
                error = format!("{error:#}"),
                "a job failed, its row is due again later"
            );
            ("failed", Ended::Done)
        }
    };
    METRICS.jobs.get_or_create(&JobLabels { job: J::NAME, outcome: label }).inc();
    ended
}

/// A queued job that this version does not know: it is dropped with a record, a metric and an event.
async fn drop_job(app: &App, job: &QueuedJob) {
    METRICS.dropped_jobs.inc();
    tracing::error!(job = job.id, lane = %job.lane, "a queued job is of no known kind, it is dropped");
    if let Err(error) = app.store.record_dropped_job(&job.id, "no job of this version").await {
        tracing::error!(%error, "a dropped job could not be recorded");
    }
}

/// Runs the maintenance jobs once each `pause`.
pub async fn run_maintenance(app: Arc<App>, pause: Duration) {
    loop {
        run(&app, PruneHistory).await;
        run(&app, NotifyDisabledEndpoints).await;
        tokio::time::sleep(pause).await;
    }
}
