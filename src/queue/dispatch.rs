//! Hands jobs to the queue from tasks of its own, as many in one call as wait, so that a request neither waits for a slow
//! queue nor pays for a call alone.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{Queue, QueuedJob};
use crate::telemetry::{Outage, chain};

/// How many jobs may wait for a slow queue.
const WAITING_JOBS: usize = 10_000;
/// The most jobs in one call to the queue.
const JOBS_AT_ONCE: usize = 500;

/// A job whose caller waits to hear whether the queue took it; `None`: whether it answers.
type AwaitedJob = (Option<QueuedJob>, oneshot::Sender<bool>);

/// Takes jobs for the queue.
pub struct Dispatcher {
    jobs: mpsc::Sender<QueuedJob>,
    awaited_jobs: mpsc::Sender<AwaitedJob>,
    enqueue_timeout: Duration,
}

impl Dispatcher {
    /// Starts the two tasks that call the queue; they end when this is dropped and the queue has what they took.
    pub fn start(queue: &Arc<dyn Queue>, enqueue_timeout: Duration) -> Self {
        let (jobs, received) = mpsc::channel(WAITING_JOBS);
        let (awaited_jobs, awaited) = mpsc::channel(JOBS_AT_ONCE);
        tokio::spawn(dispatch(Arc::clone(queue), received));
        tokio::spawn(dispatch_awaited(Arc::clone(queue), awaited));
        Self { jobs, awaited_jobs, enqueue_timeout }
    }

    /// Enqueues a job without waiting for the queue. A queue that is away or slow is no failure: the scheduler enqueues
    /// what is due later.
    pub fn enqueue(&self, job: QueuedJob) {
        if self.jobs.try_send(job).is_err() {
            tracing::debug!("too many jobs wait for the queue, the scheduler will enqueue this one");
        }
    }

    /// Enqueues a job and tells whether the queue took it within `queue.enqueue_timeout`. If not, it may be enqueued all
    /// the same.
    pub async fn enqueue_in_time(&self, job: QueuedJob) -> bool {
        self.ask(Some(job), self.enqueue_timeout).await
    }

    /// Whether the queue answers within this time.
    pub async fn answers(&self, limit: Duration) -> bool {
        self.ask(None, limit).await
    }

    async fn ask(&self, job: Option<QueuedJob>, limit: Duration) -> bool {
        let (taken, answer) = oneshot::channel();
        let asked = async {
            self.awaited_jobs.send((job, taken)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(limit, asked).await.ok().flatten().unwrap_or(false)
    }
}

/// Calls that the queue does not take.
static REFUSED: Outage = Outage::new();
static AWAITED: Outage = Outage::new();

async fn dispatch(queue: Arc<dyn Queue>, mut received: mpsc::Receiver<QueuedJob>) {
    let mut jobs = Vec::with_capacity(JOBS_AT_ONCE);
    while received.recv_many(&mut jobs, JOBS_AT_ONCE).await > 0 {
        if let Err(error) = queue.enqueue(&jobs).await
            && let Some(times) = REFUSED.failed()
        {
            tracing::warn!(
                error = %chain(&error),
                jobs = jobs.len(),
                times,
                "the queue takes no jobs, the scheduler will enqueue them"
            );
        }
        jobs.clear();
    }
}

async fn dispatch_awaited(queue: Arc<dyn Queue>, mut received: mpsc::Receiver<AwaitedJob>) {
    let mut awaited = Vec::with_capacity(JOBS_AT_ONCE);
    while received.recv_many(&mut awaited, JOBS_AT_ONCE).await > 0 {
        let (jobs, callers): (Vec<Option<_>>, Vec<_>) = awaited.drain(..).unzip();
        let jobs: Vec<_> = jobs.into_iter().flatten().collect();
        let taken = if jobs.is_empty() { queue.ping().await } else { queue.enqueue(&jobs).await.map(drop) };
        if let Err(error) = &taken
            && let Some(times) = AWAITED.failed()
        {
            tracing::warn!(
                error = %chain(error),
                jobs = jobs.len(),
                times,
                "the queue takes no jobs that are waited for"
            );
        }
        for caller in callers {
            let _ = caller.send(taken.is_ok()); // one who has given up has withdrawn the mail
        }
    }
}
