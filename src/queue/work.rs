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
    Bell, Group, Leases, Places, QueueError,
    backend::Belfry,
    desk::{Ringing, settle_ends},
    pump::Pump,
};

/// How long a worker that stops tries to tell the queue what it gives back. After that the leases expire.
const LAST_WORDS: Duration = Duration::from_secs(2);

static PANICKED: AtomicU64 = AtomicU64::new(0);

/// How many jobs of this process panicked. Any is a bug: the log names the bell.
pub fn panicked_jobs() -> u64 {
    PANICKED.load(Ordering::Relaxed)
}

/// Says how many mails may start now, before any is claimed.
pub trait Admit: Send + Sync + 'static {
    /// What a mail takes along. Dropped, it makes room for another.
    type Permit: Send + 'static;
    /// Those that were taken together. Dropped, the rest makes room again.
    type Permits: ExactSizeIterator<Item = Self::Permit> + Send;

    /// Takes up to `most` permits, without waiting.
    fn admit(&self, most: usize) -> Self::Permits;

    /// Returns when there may be more permits than there were for the last who asked; also now and then for nothing.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// What became of a bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is finished.
    Done,
    /// It goes back to the queue and rings again before others of its lane.
    NotNow,
}

impl From<()> for Ended {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// What kind of worker to run.
#[derive(Clone, Debug)]
pub struct Work {
    /// Names the worker in the log.
    pub name: String,
    /// How many jobs run at the same time.
    pub places: Places,
    /// How long running jobs may go on after the stop.
    pub drain: Duration,
}

/// Runs `handler` for each bell until `stop` is cancelled. Then it claims nothing more, lets running jobs finish for
/// up to `work.drain`, aborts and gives back the rest, and returns. Somebody else is to [keep](Leases::keep) the leases
/// until then.
///
/// A bell is finished when its handler returns [`Ended::Done`] or panics. An outage of the queue is logged once and
/// waited for; running jobs run on, and the queue is told of their end when it is back.
///
/// # Errors
/// When the worker ended without being told to, which would be a bug.
pub async fn work<A, H, F>(
    leases: Leases,
    work: Work,
    admission: Arc<A>,
    stop: CancellationToken,
    handler: H,
) -> Result<(), QueueError>
where
    A: Admit,
    H: Fn(Bell, Option<A::Permit>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    let (jobs, bells) = mpsc::channel(work.places.in_all());
    let (ends, settled) = mpsc::unbounded_channel();
    let places = Group::ALL.map(|group| Arc::new(Semaphore::new(work.places.of(group))));
    let pump = Pump { desk: Arc::clone(&leases.0), places, admission, jobs, ends, stop: stop.clone() };

    let settling = spawn_owned(settle_ends(leases.0, settled));
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
    match outcome {
        Ok(()) if stop.is_cancelled() => Ok(()),
        outcome => Err(QueueError::Ended(work.name, outcome.err())),
    }
}

/// The apalis worker. Boxed, for its type is too deep to be known as `Send` where `work` is spawned.
fn run_worker<P, H, F>(
    work: &Work,
    bells: mpsc::Receiver<Ringing<P>>,
    stop: CancellationToken,
    handler: H,
) -> BoxFuture<'static, Result<(), WorkerError>>
where
    P: Send + 'static,
    H: Fn(Bell, Option<P>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    WorkerBuilder::new(work.name.as_str())
        .backend(Belfry::new(bells))
        .concurrency(work.places.in_all())
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

async fn run_job<P, H, F>(Ringing { bell, permit, slot }: Ringing<P>, handler: H)
where
    H: Fn(Bell, Option<P>) -> F,
    F: Future<Output: Into<Ended>>,
{
    let (id, lane) = (bell.id.clone(), bell.lane);
    let job = AssertUnwindSafe(async { handler(bell, permit).await });
    let ended = job.catch_unwind().await.map(Into::into).unwrap_or_else(|_| {
        PANICKED.fetch_add(1, Ordering::Relaxed);
        tracing::error!(bell = id, %lane, "a job panicked; its bell is finished and the waker looks after the row");
        Ended::Done
    });
    if ended == Ended::Done {
        slot.done();
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
