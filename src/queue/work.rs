//! Runs a handler for each job, with apalis as the harness, until it is told to stop.
//!
//! The daemon calls it, once per worker role. Jobs flow from the fetcher over the apalis worker to the handler, and
//! their slots report back to the queue:
//!
//! ```text
//! queue ── fetch ──▶ fetcher ──▶ apalis worker ──▶ handler
//!   ▲                            ▲ hand over       │
//!   └── finish, release ◀── settle_ends ◀── slot ◀─┘
//! ```

use std::{future::Future, sync::Arc, time::Duration};

use apalis::layers::WorkerBuilderExt;
use apalis_core::{
    error::WorkerError,
    worker::{builder::WorkerBuilder, ext::parallelize::ParallelizeExt},
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Admit, Group, Leases, Places, QueueError, QueuedJob,
    backend::QueueBackend,
    fetcher::Fetcher,
    hand_over::{HandOver, HandedOver, MailPlaces, ToRun},
    lease_table::{FetchedJob, settle_ends},
};

/// How long a worker that stops tries to finish and release its jobs in the queue. After that the leases expire.
const SETTLING: Duration = Duration::from_secs(2);

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is finished.
    Done,
    /// It is released, and fetched again before others of its lane.
    NotNow,
}

impl From<()> for Ended {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// What kind of worker to run.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Names the worker in the log.
    pub name: String,
    /// How many jobs run at the same time.
    pub places: Places,
    /// How long running jobs may go on after the stop.
    pub drain: Duration,
    /// Where this process hands work to this worker past the queue. It serves one worker.
    pub hand_over: HandOver,
}

/// Runs `handler` for each job until `stop` is cancelled. Then it fetches nothing more, lets running jobs finish for
/// up to `options.drain`, aborts and releases the rest, and returns. Until then somebody else must [keep](Leases::keep)
/// the leases.
///
/// A job is finished when its handler returns [`Ended::Done`] or panics. An outage of the queue is logged once and
/// waited for; running jobs run on, and the queue is told of their end when it is back.
///
/// # Errors
/// When the worker ended without being told to, which is a bug.
pub async fn work<A, H, F>(
    leases: Leases,
    options: WorkerOptions,
    admission: Arc<A>,
    stop: CancellationToken,
    handler: H,
) -> Result<(), QueueError>
where
    A: Admit,
    H: Fn(QueuedJob, Option<A::Permit>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    let (jobs, fetched) = mpsc::channel(options.places.in_all());
    let (ends, settled) = mpsc::unbounded_channel();
    let mail_places = MailPlaces::new(options.places.of(Group::Mails));
    let places = Group::ALL.map(|group| match group {
        Group::Mails => Arc::clone(&mail_places.all),
        Group::Callbacks | Group::Batches => Arc::new(Semaphore::new(options.places.of(group))),
    });
    let fetcher = Fetcher {
        table: Arc::clone(&leases.0),
        places,
        mail_places,
        admission,
        hand_over: options.hand_over.clone(),
        jobs,
        ends,
        stop: stop.clone(),
    };

    let settling = spawn_owned(settle_ends(leases.0, settled));
    let mut fetcher = spawn_owned(fetcher.run());

    let drained = async {
        stop.cancelled().await;
        sleep(options.drain).await;
    };
    let worked = async {
        let outcome = run_worker(&options, fetched, stop.clone(), handler).await;
        options.hand_over.end().await;
        outcome
    };
    let outcome = tokio::select! {
        outcome = worked => outcome,
        () = ended_early(&mut fetcher, &stop) => Ok(()),
        () = drained => Ok(()),
    };

    // The apalis worker is dropped, and with it what still ran: the slots release it.
    let _ = timeout(SETTLING, async {
        if !fetcher.is_finished() {
            let _ = fetcher.await;
        }
        let _ = settling.await;
    })
    .await;
    match outcome {
        Ok(()) if stop.is_cancelled() => Ok(()),
        outcome => Err(QueueError::WorkerEnded(options.name, outcome.err())),
    }
}

/// The apalis worker. It is boxed: the compiler cannot see through its type that `work` is `Send`.
fn run_worker<P, H, F>(
    options: &WorkerOptions,
    fetched: mpsc::Receiver<FetchedJob<P>>,
    stop: CancellationToken,
    handler: H,
) -> BoxFuture<'static, Result<(), WorkerError>>
where
    P: Send + 'static,
    H: Fn(QueuedJob, Option<P>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    WorkerBuilder::new(options.name.as_str())
        .backend(QueueBackend::new(fetched, options.hand_over.receive()))
        .catch_panic()
        .parallelize(spawn_owned)
        .build(move |to_run| run_one(to_run, handler.clone()))
        .run_until(stop.cancelled_owned().map(Ok::<(), WorkerError>))
        .boxed()
}

/// Returns when the fetcher ended although nobody stopped it.
async fn ended_early(fetcher: &mut AbortOnDropHandle<()>, stop: &CancellationToken) {
    let _ = fetcher.await;
    if stop.is_cancelled() {
        std::future::pending().await
    }
}

async fn run_one<P, H, F>(to_run: ToRun<P>, handler: H)
where
    H: Fn(QueuedJob, Option<P>) -> F,
    F: Future<Output: Into<Ended>>,
{
    match to_run {
        ToRun::Fetched(FetchedJob { job, permit, slot }) => {
            if handler(job, permit).await.into() == Ended::Done {
                slot.done();
            }
        }
        ToRun::HandedOver(HandedOver { work, share, slot }) => {
            work.await;
            drop(share);
            slot.done();
        }
    }
}

/// Spawns a task that ends when its handle is dropped.
fn spawn_owned<F>(task: F) -> AbortOnDropHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(task))
}
