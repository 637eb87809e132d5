//! What workers do: the catalogue of jobs, one file each.
//!
//! A bell names a job and a row, as in `send_mail:0192…`. Running a job twice is harmless: whoever cannot claim the
//! row leaves it alone.

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
    mail::{BatchId, DeliveryId, Lane, MailId, MerchantId},
    queue::{Bell, Ended},
    store::{Ringing, RingingBatch, RingingDelivery, StoreError},
    telemetry::{METRICS, metrics::JobLabels},
};

/// Between two tries to record the outcome of an attempt.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// One kind of work.
#[async_trait]
pub trait Job: Send + Sync {
    /// The name in bells, metrics and logs. It never changes.
    const NAME: &'static str;

    /// Does the work once.
    ///
    /// # Errors
    /// What nobody expected, such as a database that is away. The row stays as it is and rings again.
    async fn run(&self, app: &App) -> anyhow::Result<Outcome>;
}

/// The outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done and on record.
    Done,
    /// Somebody else has the row, or it needs nothing.
    NothingToDo,
    /// Not now; the row rings again by itself.
    Postponed,
    /// Not now; the bell goes back to the queue.
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

/// The bell that wakes a worker for a mail.
pub fn bell_for_mail(mail: MailId, lane: Lane, merchant: MerchantId) -> Bell {
    Bell { id: format!("{}:{mail}", SendMail::NAME), lane, merchant }
}

/// The bell that wakes a worker for a callback.
pub fn bell_for_delivery(delivery: DeliveryId, merchant: MerchantId) -> Bell {
    Bell { id: format!("{}:{delivery}", SendCallback::NAME), lane: Lane::Callback, merchant }
}

/// The bell that wakes a worker for a batch.
pub fn bell_for_batch(batch: BatchId, merchant: MerchantId) -> Bell {
    Bell { id: format!("{}:{batch}", FanOutBatch::NAME), lane: Lane::Batch, merchant }
}

impl From<RingingBatch> for Bell {
    fn from(ringing: RingingBatch) -> Self {
        bell_for_batch(ringing.batch, ringing.merchant)
    }
}

impl From<RingingDelivery> for Bell {
    fn from(ringing: RingingDelivery) -> Self {
        bell_for_delivery(ringing.delivery, ringing.merchant)
    }
}

impl From<Ringing> for Bell {
    fn from(ringing: Ringing) -> Self {
        bell_for_mail(ringing.mail, ringing.lane, ringing.merchant)
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

/// Does what a bell asks for. A mail comes with leave to send it.
pub async fn answer(app: Arc<App>, bell: Bell, permit: Option<Permit>) -> Ended {
    match bell.id.split_once(':').map(|(job, row)| (job, row.parse::<Uuid>())) {
        Some((SendMail::NAME, Ok(mail))) => {
            run(&app, SendMail { mail: MailId(mail), permit: Mutex::new(permit) }).await
        }
        Some((SendCallback::NAME, Ok(id))) => run(&app, SendCallback { delivery: DeliveryId(id) }).await,
        Some((FanOutBatch::NAME, Ok(batch))) => run(&app, FanOutBatch { batch: BatchId(batch) }).await,
        _ => {
            drop_bell(&app, &bell).await;
            Ended::Done
        }
    }
}

async fn run<J: Job>(app: &App, job: J) -> Ended {
    let (label, ended) = match job.run(app).await {
        Ok(outcome) => (outcome.as_str(), outcome.into()),
        Err(error) => {
            tracing::error!(job = J::NAME, error = format!("{error:#}"), "a job failed, its row rings again");
            ("failed", Ended::Done)
        }
    };
    METRICS.jobs.get_or_create(&JobLabels { job: J::NAME, outcome: label }).inc();
    ended
}

/// A bell that names no job of this version: it is dropped with a record, a metric and an event.
async fn drop_bell(app: &App, bell: &Bell) {
    METRICS.dropped_bells.inc();
    tracing::error!(bell = bell.id, lane = %bell.lane, "a bell names no job, it is dropped");
    if let Err(error) = app.store.record_dropped_bell(&bell.id, "names no job of this version").await {
        tracing::error!(%error, "a dropped bell could not be recorded");
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
