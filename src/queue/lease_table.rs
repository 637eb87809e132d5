//! The leases that a worker holds, and how they are extended, finished and released whatever the queue does meanwhile.
//!
//! A job that was fetched travels as a [`FetchedJob`]. Its [`JobSlot`] reports the end of the job when it is dropped, so no
//! way to end a job (done, panicked, aborted, never started) can leave a lease behind.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};

use super::{Lease, Queue, QueueError, QueuedJob};
use crate::telemetry::chain;

/// The most jobs finished in one call.
const BATCH: usize = 500;

static PANICKED: AtomicU64 = AtomicU64::new(0);

/// How many jobs of this process panicked. Each is a bug: the log names the job.
pub fn panicked_jobs() -> u64 {
    PANICKED.load(Ordering::Relaxed)
}

/// A job on its way to the handler, with the permit that was taken for it, where it needs one.
pub(super) struct FetchedJob<P> {
    pub(super) job: QueuedJob,
    pub(super) permit: Option<P>,
    pub(super) slot: JobSlot,
}

/// A worker's place for one job, taken until the queue knows what became of it.
///
/// Dropped, it releases the job; dropped by a panic, it finishes the job, which would panic again.
pub(super) struct JobSlot {
    end: Option<JobEnd>,
    /// Who tells the queue; `None` for a job that was never in it.
    ends: Option<mpsc::UnboundedSender<JobEnd>>,
}

/// What became of a job that was fetched.
pub(super) struct JobEnd {
    id: String,
    done: bool,
    _place: OwnedSemaphorePermit,
}

impl JobSlot {
    pub(super) fn new(id: String, place: OwnedSemaphorePermit, ends: mpsc::UnboundedSender<JobEnd>) -> Self {
        Self { end: Some(JobEnd { id, done: false, _place: place }), ends: Some(ends) }
    }

    /// The place of a job that was never in the queue.
    pub(super) fn of_no_queue(id: String, place: OwnedSemaphorePermit) -> Self {
        Self { end: Some(JobEnd { id, done: false, _place: place }), ends: None }
    }

    /// Finishes the job.
    pub(super) fn done(mut self) {
        if let Some(end) = &mut self.end {
            end.done = true;
        }
    }
}

impl Drop for JobSlot {
    fn drop(&mut self) {
        if let Some(mut end) = self.end.take() {
            if std::thread::panicking() {
                end.done = true;
                PANICKED.fetch_add(1, Ordering::Relaxed);
                tracing::error!(job = end.id, "a job panicked and is finished, its row is due again later");
            }
            if let Some(ends) = &self.ends {
                // Nobody receives it any more when the worker was dropped; then the lease expires.
                let _ = ends.send(end);
            }
        }
    }
}

/// The leases that a worker holds. Shared by the parts of the worker.
pub(super) struct LeaseTable {
    pub(super) queue: Arc<dyn Queue>,
    worker: String,
    held: Mutex<HashMap<String, HeldLease>>,
    queue_is_away: AtomicBool,
}

struct HeldLease {
    lease: Lease,
    /// The job is over, and the queue is about to be told.
    over: bool,
}

impl LeaseTable {
    pub(super) fn new(queue: Arc<dyn Queue>, worker: String) -> Self {
        Self { queue, worker, held: Mutex::default(), queue_is_away: AtomicBool::new(false) }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, HeldLease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease and tells whether its job is to be started. It is not when that job still runs here: then the
    /// lease had expired in an outage, has come back, and from now on is the running job's.
    pub(super) fn hold(&self, lease: &Lease) -> bool {
        let mut held = self.held();
        match held.get_mut(&lease.job.id) {
            Some(running) if !running.over => {
                running.lease = lease.clone();
                false
            }
            // Also when the job is over and the queue was told, of which we have not heard yet: it was enqueued again.
            _ => {
                held.insert(lease.job.id.clone(), HeldLease { lease: lease.clone(), over: false });
                true
            }
        }
    }

    /// Extends all leases.
    pub(super) async fn extend(&self, queue: &dyn Queue) -> Result<(), QueueError> {
        let leases: Vec<Lease> = self.held().values().map(|held| held.lease.clone()).collect();
        if !leases.is_empty() {
            queue.extend(&leases).await?;
        }
        Ok(())
    }

    /// Finishes or releases these jobs in the queue; tries again until it succeeds.
    async fn settle(&self, ids: impl Iterator<Item = &str>, done: bool) {
        let leases = self.leases_of_what_is_over(ids);
        let mut backoff = Backoff::default();
        while !leases.is_empty() {
            let told =
                if done { self.queue.finish(&leases).await } else { self.queue.release(&leases).await };
            match told {
                Ok(_) => {
                    self.queue_answered();
                    self.let_go(&leases);
                    return;
                }
                Err(error) => {
                    self.queue_failed(&error);
                    backoff.pause().await;
                }
            }
        }
    }

    fn leases_of_what_is_over<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<Lease> {
        let mut held = self.held();
        let end = |id: &str| {
            let ending = held.get_mut(id)?;
            ending.over = true;
            Some(ending.lease.clone())
        };
        ids.filter_map(end).collect()
    }

    /// Forgets leases that the queue has ended.
    pub(super) fn let_go(&self, leases: &[Lease]) {
        let mut held = self.held();
        for lease in leases {
            // Another lease in its place belongs to a job that was started since.
            if held.get(&lease.job.id).is_some_and(|held| held.lease == *lease) {
                held.remove(&lease.job.id);
            }
        }
    }

    /// Logs the first failure of an outage.
    pub(super) fn queue_failed(&self, error: &QueueError) {
        if !self.queue_is_away.swap(true, Ordering::Relaxed) {
            tracing::error!(
                worker = self.worker,
                error = %chain(error),
                "the queue fails; running jobs run on"
            );
        }
    }

    /// Logs the end of an outage.
    pub(super) fn queue_answered(&self) {
        if self.queue_is_away.load(Ordering::Relaxed) && self.queue_is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(worker = self.worker, "the queue answers again");
        }
    }
}

/// Finishes or releases jobs as their slots are dropped, until no slot is left.
pub(super) async fn settle_ends(table: Arc<LeaseTable>, mut ends: mpsc::UnboundedReceiver<JobEnd>) {
    let mut batch = Vec::with_capacity(BATCH);
    while ends.recv_many(&mut batch, BATCH).await > 0 {
        for done in [true, false] {
            let ids = batch.iter().filter(|end| end.done == done).map(|end| end.id.as_str());
            table.settle(ids, done).await;
        }
        batch.clear(); // and with it the places are free
    }
}

/// The leases of one worker: [`work`](super::work()) takes and ends them, [`Leases::keep`] extends them.
#[derive(Clone)]
pub struct Leases(pub(super) Arc<LeaseTable>);

impl Leases {
    /// The leases of a worker, which has none yet. `worker` is its name in the log.
    pub fn new(queue: Arc<dyn Queue>, worker: impl Into<String>) -> Self {
        Self(Arc::new(LeaseTable::new(queue, worker.into())))
    }

    /// Notes a lease that was fetched.
    #[cfg(test)]
    pub(crate) fn hold(&self, lease: &Lease) {
        self.0.hold(lease);
    }

    /// Extends the leases for ever, three times in the length of a lease. `queue` is the queue of the leases, reached in a way that
    /// works while the jobs keep this worker busy.
    pub async fn keep(&self, queue: &dyn Queue) {
        let mut backoff = Backoff::default();
        loop {
            match self.0.extend(queue).await {
                Ok(()) => {
                    backoff = Backoff::default();
                    sleep(queue.lease() / 3).await;
                }
                Err(error) => {
                    self.0.queue_failed(&error);
                    backoff.pause().await;
                }
            }
        }
    }
}

/// Waits longer and longer, up to a second.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Backoff {
    pub(super) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}
