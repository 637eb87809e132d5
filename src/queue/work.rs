//! Runs a handler for each bell, with apalis as the harness, until it is told to stop.
//!
//! The daemon calls it, once per worker role. Bells flow from the pump over the apalis worker to the handler, and
//! their slots report back to the queue:
//!
//! ```text
//! queue ── claim ──▶ pump ──▶ apalis worker ──▶ handler
//!   ▲                                              │
//!   └── finish, release ◀── settle_ends ◀── slot ◀─┘
//! ```

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use apalis::prelude::{ParallelizeExt, WorkerBuilder, WorkerBuilderExt};
use apalis_core::error::WorkerError;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Bell, Queue, QueueError,
    backend::Belfry,
    desk::{Desk, Ringing, keep_leases, settle_ends},
    pump::Pump,
};

/// How long a worker that stops tries to tell the queue what it gives back. After that the leases expire.
const LAST_WORDS: Duration = Duration::from_secs(2);

static PANICKED: AtomicU64 = AtomicU64::new(0);

/// How many jobs of this process panicked. Any is a bug: the log names the bell.
pub fn panicked_jobs() -> u64 {
    PANICKED.load(Ordering::Relaxed)
}

/// What kind of worker to run.
#[derive(Clone, Debug)]
pub struct Work {
    /// Names the worker in the log.
    pub name: String,
    /// How many jobs run at the same time; at least one.
    pub concurrency: usize,
    /// How long running jobs may go on after the stop.
    pub drain: Duration,
}

/// Runs `handler` for each bell until `stop` is cancelled. Then it claims nothing more, lets running jobs finish for
/// up to `work.drain`, aborts and gives back the rest, and returns.
///
/// A bell is finished when its handler returns or panics. An outage of the queue is logged once and waited for;
/// running jobs run on, and the queue is told of their end when it is back.
///
/// # Errors
/// When the worker ended without being told to, which would be a bug.
pub async fn work<H, F>(
    queue: Arc<dyn Queue>,
    work: Work,
    stop: CancellationToken,
    handler: H,
) -> Result<(), QueueError>
where
    H: Fn(Bell) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let concurrency = work.concurrency.max(1);
    let desk = Arc::new(Desk::new(queue, work.name.clone()));
    let (jobs, bells) = mpsc::channel(concurrency);
    let (ends, settled) = mpsc::unbounded_channel();
    let places = Arc::new(Semaphore::new(concurrency));
    let pump = Pump { desk: desk.clone(), places, jobs, ends, stop: stop.clone() };

    let settling = spawn_owned(settle_ends(desk.clone(), settled));
    let leases = spawn_owned(keep_leases(desk));
    let mut pump = spawn_owned(pump.run());

    let drained = async {
        stop.cancelled().await;
        sleep(work.drain).await;
    };
    let outcome = tokio::select! {
        outcome = run_worker(&work, bells, stop.clone(), handler) => outcome,
        () = ended_early(&mut pump, &stop) => Ok(()),
        () = drained => Ok(()),
    };

    // The apalis worker is dropped, and with it what still ran: the slots give it back.
    let _ = timeout(LAST_WORDS, async {
        if !pump.is_finished() {
            let _ = pump.await;
        }
        let _ = settling.await;
    })
    .await;
    drop(leases);
    match outcome {
        Ok(()) if stop.is_cancelled() => Ok(()),
        outcome => Err(QueueError::Ended(work.name, outcome.err())),
    }
}

/// The apalis worker. Boxed, for its type is too deep to be known as `Send` where `work` is spawned.
fn run_worker<H, F>(
    work: &Work,
    bells: mpsc::Receiver<Ringing>,
    stop: CancellationToken,
    handler: H,
) -> BoxFuture<'static, Result<(), WorkerError>>
where
    H: Fn(Bell) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    WorkerBuilder::new(work.name.as_str())
        .backend(Belfry::new(bells))
        .concurrency(work.concurrency.max(1))
        .parallelize(spawn_owned)
        .build(move |ringing| run_job(ringing, handler.clone()))
        .run_until(stop.cancelled_owned().map(Ok::<(), WorkerError>))
        .boxed()
}

/// Returns when the pump ended although nobody stopped it.
async fn ended_early(pump: &mut AbortOnDropHandle<()>, stop: &CancellationToken) {
    let _ = pump.await;
    if stop.is_cancelled() {
        std::future::pending().await
    }
}

async fn run_job<H, F>(Ringing { bell, slot }: Ringing, handler: H)
where
    H: Fn(Bell) -> F,
    F: Future<Output = ()>,
{
    let (id, lane) = (bell.id.clone(), bell.lane);
    let job = AssertUnwindSafe(async { handler(bell).await });
    if job.catch_unwind().await.is_err() {
        PANICKED.fetch_add(1, Ordering::Relaxed);
        tracing::error!(bell = id, %lane, "a job panicked; its bell is finished and the waker looks after the row");
    }
    slot.done();
}

/// Spawns a task that ends when its handle is dropped.
fn spawn_owned<F>(task: F) -> AbortOnDropHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(task))
}
