//! The leases a worker holds, and how they are kept, finished and given back whatever the queue does meanwhile.
//!
//! A claimed bell travels as a [`Ringing`] whose [`Slot`] reports its end when it is dropped, so no way to end a job
//! (done, panicked, aborted, never started) can leave a lease behind.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};

use super::{Bell, Lease, Queue, QueueError};

/// The most bells finished in one call.
const BATCH: usize = 500;

/// A claimed bell on its way to the handler.
pub(super) struct Ringing {
    pub(super) bell: Bell,
    pub(super) slot: Slot,
}

/// A worker's place for one job, taken until the queue knows what became of the bell.
pub(super) struct Slot {
    end: Option<End>,
    ends: mpsc::UnboundedSender<End>,
}

/// What became of a claimed bell.
pub(super) struct End {
    id: String,
    done: bool,
    _place: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn new(id: String, place: OwnedSemaphorePermit, ends: mpsc::UnboundedSender<End>) -> Self {
        Self { end: Some(End { id, done: false, _place: place }), ends }
    }

    /// Finishes the bell. A slot that is dropped otherwise gives it back.
    pub(super) fn done(mut self) {
        if let Some(end) = &mut self.end {
            end.done = true;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // Nobody listens any more when the worker was dropped; then the lease expires.
            let _ = self.ends.send(end);
        }
    }
}

/// What the parts of a worker share.
pub(super) struct Desk {
    pub(super) queue: Arc<dyn Queue>,
    worker: String,
    held: Mutex<HashMap<String, Lease>>,
    queue_is_away: AtomicBool,
}

impl Desk {
    pub(super) fn new(queue: Arc<dyn Queue>, worker: String) -> Self {
        Self { queue, worker, held: Mutex::default(), queue_is_away: AtomicBool::new(false) }
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease and tells whether its job is to be started. It is not when that job still runs here: then the
    /// lease had expired in an outage, has come back, and from now on is the running job's.
    pub(super) fn hold(&self, lease: &Lease) -> bool {
        self.leases().insert(lease.bell.id.clone(), lease.clone()).is_none()
    }

    /// Lets all leases begin anew.
    pub(super) async fn extend(&self) -> Result<(), QueueError> {
        let held: Vec<Lease> = self.leases().values().cloned().collect();
        if !held.is_empty() {
            self.queue.extend(&held).await?;
        }
        Ok(())
    }

    /// Tells the queue what became of these bells, again and again until it listens.
    async fn settle(&self, ids: impl Iterator<Item = &str>, done: bool) {
        let mut open: Vec<Lease> = {
            let held = self.leases();
            ids.filter_map(|id| held.get(id).cloned()).collect()
        };
        let mut backoff = Backoff::default();
        while !open.is_empty() {
            let told = if done { self.queue.finish(&open).await } else { self.queue.release(&open).await };
            match told {
                Ok(_) => {
                    self.queue_answered();
                    open = self.let_go(open);
                }
                Err(error) => {
                    self.queue_failed(&error);
                    backoff.pause().await;
                }
            }
        }
    }

    /// Forgets these leases and returns those that took their place in the meantime.
    fn let_go(&self, settled: Vec<Lease>) -> Vec<Lease> {
        let mut held = self.leases();
        let newer = |lease: Lease| match held.get(&lease.bell.id) {
            Some(now) if *now != lease => Some(now.clone()),
            _ => {
                held.remove(&lease.bell.id);
                None
            }
        };
        settled.into_iter().filter_map(newer).collect()
    }

    /// Logs the first failure of an outage.
    pub(super) fn queue_failed(&self, error: &QueueError) {
        if !self.queue_is_away.swap(true, Ordering::Relaxed) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(worker = self.worker, %error, cause, "the queue fails; running jobs run on");
        }
    }

    /// Logs the end of an outage.
    pub(super) fn queue_answered(&self) {
        if self.queue_is_away.load(Ordering::Relaxed) && self.queue_is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(worker = self.worker, "the queue answers again");
        }
    }
}

/// Settles bells as their slots are dropped, until no slot is left that could be.
pub(super) async fn settle_ends(desk: Arc<Desk>, mut ends: mpsc::UnboundedReceiver<End>) {
    let mut batch = Vec::with_capacity(BATCH);
    while ends.recv_many(&mut batch, BATCH).await > 0 {
        for done in [true, false] {
            let ids = batch.iter().filter(|end| end.done == done).map(|end| end.id.as_str());
            desk.settle(ids, done).await;
        }
        batch.clear(); // and with it the places are free
    }
}

/// Extends the leases three times in their length, for ever.
pub(super) async fn keep_leases(desk: Arc<Desk>) {
    let mut backoff = Backoff::default();
    loop {
        match desk.extend().await {
            Ok(()) => {
                backoff = Backoff::default();
                sleep(desk.queue.lease() / 3).await;
            }
            Err(error) => {
                desk.queue_failed(&error);
                backoff.pause().await;
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
