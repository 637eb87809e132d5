//! Hands work of this process to its own worker, past the queue, while no mail waits there.
//!
//! The fetcher opens the way when a fetch has left no mail behind. It closes it when one has, and when the queue does not
//! answer. Who has work takes a place of the worker first ([`HandOver::reserve`]) and runs it there later. The places are
//! those of the mails that are fetched, and what runs in them is run, drained and aborted in the same way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::lease_table::{FetchedJob, JobSlot};

/// What a worker runs.
pub(super) enum ToRun<P> {
    /// A job of the queue.
    Fetched(FetchedJob<P>),
    /// Work that the queue does not know.
    HandedOver(HandedOver),
}

/// Work, and the place in which it runs.
pub(super) struct HandedOver {
    pub(super) work: BoxFuture<'static, ()>,
    pub(super) slot: JobSlot,
}

/// The way past the queue. A clone is the same way; in a process without a worker it is never open.
#[derive(Clone, Debug)]
pub struct HandOver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The worker's places for mails, while no mail waits in the queue.
    open: Mutex<Option<Arc<Semaphore>>>,
    to_worker: mpsc::UnboundedSender<HandedOver>,
    handed_over: Mutex<Option<mpsc::UnboundedReceiver<HandedOver>>>,
    /// Counts the places that are taken and not yet used.
    reserved: TaskTracker,
}

/// A place of this process's worker, for something that is to run soon. Dropped, it is free again.
pub struct ReservedPlace {
    place: OwnedSemaphorePermit,
    to_worker: mpsc::UnboundedSender<HandedOver>,
    reserved: TaskTrackerToken,
}

impl Default for HandOver {
    fn default() -> Self {
        // As many as there are places at most.
        let (to_worker, handed_over) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            open: Mutex::default(),
            to_worker,
            handed_over: Mutex::new(Some(handed_over)),
            reserved: TaskTracker::new(),
        }))
    }
}

impl HandOver {
    /// Takes a place of the worker, if one is free and no mail waits for it in the queue, as far as this process knows.
    pub fn reserve(&self) -> Option<ReservedPlace> {
        // In this order: a worker that ends closes the way and then waits for who has a place.
        let reserved = self.0.reserved.token();
        let places = self.open().clone()?;
        let place = places.try_acquire_owned().ok()?;
        Some(ReservedPlace { place, to_worker: self.0.to_worker.clone(), reserved })
    }

    /// Lets work in, or nothing any more: what is in these places, or waits for them, decides.
    pub(super) fn set_open(&self, places: Option<&Arc<Semaphore>>) {
        *self.open() = places.cloned();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open().is_some()
    }

    /// What is handed over, for the one worker of this process.
    pub(super) fn receive(&self) -> mpsc::UnboundedReceiver<HandedOver> {
        let receiver = self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// Closes the way for good, and returns when each place that was taken before is used or given back.
    pub(super) async fn end(&self) {
        self.set_open(None);
        self.0.reserved.close();
        self.0.reserved.wait().await;
    }

    fn open(&self) -> MutexGuard<'_, Option<Arc<Semaphore>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReservedPlace {
    /// Runs something here; `id` names it in the log. A worker that has ended meanwhile drops it.
    pub fn run(self, id: String, work: impl Future<Output = ()> + Send + 'static) {
        let Self { place, to_worker, reserved } = self;
        let _ = to_worker.send(HandedOver { work: work.boxed(), slot: JobSlot::of_no_queue(id, place) });
        drop(reserved);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use crate::queue::{
        conformance::{Kind, LONG, Opened, counts, jobs, on_both_queues},
        panicked_jobs,
        redis_server::eventually,
        work_tests::{Tally, Unlimited, noting, settings, start_with},
    };

    on_both_queues! {
        while_mails_wait_no_place_is_to_be_had
        a_worker_that_stops_waits_for_who_has_a_place_and_lets_nobody_in
        what_is_handed_over_takes_places_and_a_panic_frees_its_own
    }

    async fn while_mails_wait_no_place_is_to_be_had(kind: Kind) {
        let Opened { queue, server: _server, .. } = kind.open(LONG).await;
        let settings = settings(4, Duration::from_secs(5));
        let way = settings.hand_over.clone();
        assert!(way.reserve().is_none(), "there is no worker yet");
        let tally = Tally::default();
        let running = start_with(&queue, settings, Unlimited, noting(&tally, Duration::from_millis(50)));
        eventually(async || way.reserve().is_some()).await;
        queue.enqueue(&jobs(40)).await.unwrap();
        eventually(async || tally.handled() > 0).await;
        while counts(&queue).await.0 > 8 {
            assert!(way.reserve().is_none(), "others wait");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        eventually(async || way.reserve().is_some()).await;
        running.stop().await;
        assert_eq!(tally.handled(), 40);
    }

    async fn a_worker_that_stops_waits_for_who_has_a_place_and_lets_nobody_in(kind: Kind) {
        let Opened { queue, server: _server, .. } = kind.open(LONG).await;
        let settings = settings(2, Duration::from_secs(5));
        let way = settings.hand_over.clone();
        let tally = Tally::default();
        let running = start_with(&queue, settings, Unlimited, noting(&tally, Duration::ZERO));
        eventually(async || way.is_open()).await;
        let (runs, late) = (way.reserve().unwrap(), way.reserve().unwrap());
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        runs.run("runs".to_owned(), async move {
            begin.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            end.send(()).unwrap();
        });
        begun.await.unwrap();
        let stopping = tokio::spawn(running.stop());
        ended.await.expect("what runs is finished");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!stopping.is_finished() && way.reserve().is_none());
        let (never, dropped) = oneshot::channel::<()>();
        late.run("late".to_owned(), async move { assert!(never.send(()).is_ok()) });
        assert!(dropped.await.is_err(), "it is not run any more");
        stopping.await.unwrap();
    }

    async fn what_is_handed_over_takes_places_and_a_panic_frees_its_own(kind: Kind) {
        let Opened { queue, server: _server, .. } = kind.open(LONG).await;
        let settings = settings(1, Duration::from_secs(5));
        let way = settings.hand_over.clone();
        let tally = Tally::default();
        let running = start_with(&queue, settings, Unlimited, noting(&tally, Duration::ZERO));
        let mut place = None;
        eventually(async || {
            place = way.reserve();
            place.is_some()
        })
        .await;
        let panicked = panicked_jobs();
        let (go_on, waits) = oneshot::channel::<()>();
        place.take().unwrap().run("breaks".to_owned(), async move {
            waits.await.unwrap();
            panic!("it breaks");
        });
        assert!(way.reserve().is_none(), "there is one place");
        queue.enqueue(&jobs(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(tally.handled(), 0, "it waits for the place");
        go_on.send(()).unwrap();
        eventually(async || tally.handled() == 1).await;
        assert!(panicked_jobs() > panicked);
        running.stop().await;
    }
}
