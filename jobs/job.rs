//! What a job is, and what all of them need.

use std::{fmt::Display, future::Future, time::Duration};

use async_trait::async_trait;

use crate::{app::App, queue::Ended, store::StoreError};

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

/// Records the outcome of an attempt as soon as the database takes it: the other side's reply must not be lost.
/// `failed` is called for each failure.
pub(super) async fn until_recorded<T, F>(
    record: impl Fn() -> F,
    failed: impl Fn(&str),
) -> Result<T, StoreError>
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
