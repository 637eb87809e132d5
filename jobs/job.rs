//! What a job is, and what all of them need.

use std::{fmt::Display, future::Future, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use tracing::field::display;

use crate::{
    app::App,
    mail::{BatchId, DeliveryId, MailId},
    queue::Ended,
    store::StoreError,
    telemetry::{Outages, chain},
};

/// Between two tries to record the outcome of an attempt.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// What the database does not take, by what it is: each is tried again every second.
static UNRECORDED: LazyLock<Outages> = LazyLock::new(Outages::default);

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

/// The id in the queue of the job that does `J` with a row.
pub(super) fn job_id<J: Job>(row: impl Display) -> String {
    format!("{}:{row}", J::NAME)
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
    pub(super) const fn as_str(self) -> &'static str {
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

/// Whose row it is that something is recorded in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    Mail(MailId),
    Delivery(DeliveryId),
    Batch(BatchId),
}

/// Records the outcome of an attempt as soon as the database takes it: the other side's reply must not be lost. `what` is it
/// that is recorded, for the log.
pub(super) async fn until_recorded<T, F>(
    what: &'static str,
    row: Row,
    record: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match record().await {
            Err(error) if !matches!(error, StoreError::Closed) => {
                note_unrecorded(what, row, &error);
                tokio::time::sleep(RECORD_AGAIN).await;
            }
            recorded => return recorded,
        }
    }
}

fn note_unrecorded(what: &'static str, row: Row, error: &StoreError) {
    let Some(times) = UNRECORDED.failed(what) else { return };
    let (mut mail, mut delivery, mut batch) = (None, None, None);
    match row {
        Row::Mail(id) => mail = Some(display(id)),
        Row::Delivery(id) => delivery = Some(display(id)),
        Row::Batch(id) => batch = Some(display(id)),
    }
    tracing::warn!(
        mail,
        delivery,
        batch,
        error = %chain(error),
        times,
        "{what} could not be recorded, trying again"
    );
}
