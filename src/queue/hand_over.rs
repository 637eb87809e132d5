//! Hands work of this process to its own worker, past the queue, while no single mail waits there.
//!
//! The fetcher opens the way when a fetch has left no single mail behind; mails of batches may wait, they would come later
//! anyway. It closes it when one is left, and when the queue does not answer. For a moment after it was open it is only
//! jammed: then who has work waits for it to be open again. Otherwise more mails would be recorded than leave as long as
//! shops ask fast, and all would take the longer way.
//!
//! Who has work takes a place of the worker first ([`HandOver::reserve`]) and runs it there later. The places are those of
//! the mails that are fetched, and what runs in them is run, drained and aborted in the same way. A part of them is kept
//! for the queue, so that those who wait for a place never keep it from being fetched.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::lease_table::{FetchedJob, JobSlot};

/// One of so many places is kept for the mails of the queue.
const QUEUE_RESERVE_DIVISOR: usize = 4;
/// So long it may take until the queue is empty again.
const LONGEST_JAM: Duration = Duration::from_secs(1);

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
    /// Of the places that may be taken by what is handed over.
    pub(super) share: OwnedSemaphorePermit,
    pub(super) slot: JobSlot,
}

/// The way past the queue. A clone is the same way; in a process without a worker it is never open.
#[derive(Clone, Debug)]
pub struct HandOver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<HandOverState>,
    /// The way is open again.
    opened: Notify,
    to_worker: mpsc::UnboundedSender<HandedOver>,
    handed_over: Mutex<Option<mpsc::UnboundedReceiver<HandedOver>>>,
    /// Counts the places that are taken and not yet used.
    reserved: TaskTracker,
}

/// Whether work is let in.
#[derive(Debug, Default)]
enum HandOverState {
    /// Single mails wait in the queue, or nobody knows.
    #[default]
    Closed,
    /// Some single mails wait in the queue, for the first time in a while. Closed from then on.
    Jammed(Instant),
    /// No single mail waits in the queue.
    Open(MailPlaces),
}

/// The worker's places for mails.
#[derive(Clone, Debug)]
pub(super) struct MailPlaces {
    pub(super) all: Arc<Semaphore>,
    /// How many of them may be taken by what is handed over.
    share: Arc<Semaphore>,
}

impl MailPlaces {
    pub(super) fn new(places: usize) -> Self {
        let share = places - places / QUEUE_RESERVE_DIVISOR;
        Self { all: Arc::new(Semaphore::new(places)), share: Arc::new(Semaphore::new(share)) }
    }
}

/// A place of this process's worker, for something that is to run soon. Dropped, it is free again.
pub struct ReservedPlace {
    place: OwnedSemaphorePermit,
    share: OwnedSemaphorePermit,
    to_worker: mpsc::UnboundedSender<HandedOver>,
    reserved: TaskTrackerToken,
}

impl Default for HandOver {
    fn default() -> Self {
        // As many as there are places at most.
        let (to_worker, handed_over) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            state: Mutex::default(),
            opened: Notify::new(),
            to_worker,
            handed_over: Mutex::new(Some(handed_over)),
            reserved: TaskTracker::new(),
        }))
    }
}

impl HandOver {
    /// Takes a place of the worker as soon as one is free, first come first served; none when single mails wait for it in
    /// the queue, as far as this process knows. The worker does not end while somebody waits here: wait only for a moment.
    pub async fn reserve(&self) -> Option<ReservedPlace> {
        // In this order: a worker that ends closes the way and then waits for who has a place.
        let reserved = self.0.reserved.token();
        let MailPlaces { all, share } = self.opened().await?;
        let share = share.acquire_owned().await.ok()?;
        let place = all.acquire_owned().await.ok()?;
        self.is_open().then(|| ReservedPlace { place, share, to_worker: self.0.to_worker.clone(), reserved })
    }

    /// The places, once the way is open; none while it is closed.
    async fn opened(&self) -> Option<MailPlaces> {
        let opened = self.0.opened.notified();
        tokio::pin!(opened);
        loop {
            opened.as_mut().enable();
            match &*self.state() {
                HandOverState::Open(places) => return Some(places.clone()),
                HandOverState::Jammed(until) if Instant::now() < *until => {}
                HandOverState::Jammed(_) | HandOverState::Closed => return None,
            }
            opened.as_mut().await;
            opened.set(self.0.opened.notified());
        }
    }

    /// Lets work into these places.
    pub(super) fn open(&self, places: &MailPlaces) {
        if !self.is_open() {
            *self.state() = HandOverState::Open(places.clone());
            self.0.opened.notify_waiters();
        }
    }

    /// Lets nothing in, because single mails wait.
    pub(super) fn jam(&self) {
        let mut state = self.state();
        if matches!(*state, HandOverState::Open(_)) {
            *state = HandOverState::Jammed(Instant::now() + LONGEST_JAM);
        }
    }

    /// Lets nothing in any more.
    pub(super) fn close(&self) {
        *self.state() = HandOverState::Closed;
        self.0.opened.notify_waiters();
    }

    /// Whether work is let in now.
    pub fn is_open(&self) -> bool {
        matches!(*self.state(), HandOverState::Open(_))
    }

    /// What is handed over, for the one worker of this process.
    pub(super) fn receive(&self) -> mpsc::UnboundedReceiver<HandedOver> {
        let receiver = self.0.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// Closes the way for good, and returns when each place that was taken before is used or given back.
    pub(super) async fn end(&self) {
        self.close();
        self.0.reserved.close();
        self.0.reserved.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, HandOverState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReservedPlace {
    /// Runs something here; `id` names it in the log. A worker that has ended meanwhile drops it.
    pub fn run(self, id: String, work: impl Future<Output = ()> + Send + 'static) {
        let Self { place, share, to_worker, reserved } = self;
        let slot = JobSlot::of_no_queue(id, place);
        let _ = to_worker.send(HandedOver { work: work.boxed(), share, slot });
        drop(reserved);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::select_all};
    use tokio::sync::oneshot;

    use super::*;
    use crate::mail::Lane;
    use crate::queue::{
        QueuedJob,
        conformance::{Kind, LONG, Opened, counts, jobs, on_both_queues},
        panicked_jobs,
        redis_server::eventually,
        work_tests::{Running, Tally, Unlimited, noting, settings, start_with},
    };

    on_both_queues! {
        while_mails_wait_no_place_is_to_be_had
        a_worker_that_stops_waits_for_who_has_a_place_and_lets_nobody_in
        work_that_is_handed_over_takes_places_and_a_panic_frees_its_own
        a_mail_that_finds_every_place_taken_gets_the_first_free_one_and_leaves_some_to_the_queue
        a_mail_that_finds_a_jam_waits_for_its_end_and_passes_a_batch
    }

    fn at_once(hand_over: &HandOver) -> Option<ReservedPlace> {
        hand_over.reserve().now_or_never().flatten()
    }

    /// The open way to a worker with so many places, whose jobs take so long.
    async fn open_way(opened: &Opened, places: usize, each_takes: Duration) -> (HandOver, Tally, Running) {
        let settings = settings(places, Duration::from_secs(5));
        let hand_over = settings.hand_over.clone();
        let tally = Tally::default();
        let running = start_with(&opened.queue, settings, Unlimited, noting(&tally, each_takes));
        eventually(async || hand_over.is_open()).await;
        (hand_over, tally, running)
    }

    async fn while_mails_wait_no_place_is_to_be_had(kind: Kind) {
        let Opened { queue, server: _server, .. } = kind.open(LONG).await;
        let settings = settings(4, Duration::from_secs(5));
        let hand_over = settings.hand_over.clone();
        assert!(at_once(&hand_over).is_none(), "there is no worker yet");
        let tally = Tally::default();
        let running = start_with(&queue, settings, Unlimited, noting(&tally, Duration::from_millis(50)));
        eventually(async || at_once(&hand_over).is_some()).await;
        queue.enqueue(&jobs(40)).await.unwrap();
        eventually(async || tally.handled() > 0).await;
        while counts(&queue).await.0 > 8 {
            assert!(at_once(&hand_over).is_none(), "others wait");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        eventually(async || at_once(&hand_over).is_some()).await;
        running.stop().await;
        assert_eq!(tally.handled(), 40);
    }

    async fn a_worker_that_stops_waits_for_who_has_a_place_and_lets_nobody_in(kind: Kind) {
        let opened = kind.open(LONG).await;
        let (hand_over, _, running) = open_way(&opened, 2, Duration::ZERO).await;
        let (runs, late) = (hand_over.reserve().await.unwrap(), hand_over.reserve().await.unwrap());
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
        assert!(!stopping.is_finished() && at_once(&hand_over).is_none());
        let (never, dropped) = oneshot::channel::<()>();
        late.run("late".to_owned(), async move { assert!(never.send(()).is_ok()) });
        assert!(dropped.await.is_err(), "it is not run any more");
        stopping.await.unwrap();
    }

    async fn work_that_is_handed_over_takes_places_and_a_panic_frees_its_own(kind: Kind) {
        let Opened { queue, server: _server, .. } = kind.open(LONG).await;
        let settings = settings(1, Duration::from_secs(5));
        let hand_over = settings.hand_over.clone();
        let tally = Tally::default();
        let running = start_with(&queue, settings, Unlimited, noting(&tally, Duration::ZERO));
        let mut place = None;
        eventually(async || {
            place = at_once(&hand_over);
            place.is_some()
        })
        .await;
        let panicked = panicked_jobs();
        let (go_on, waits) = oneshot::channel::<()>();
        place.take().unwrap().run("breaks".to_owned(), async move {
            waits.await.unwrap();
            panic!("it breaks");
        });
        assert!(at_once(&hand_over).is_none(), "there is one place");
        queue.enqueue(&jobs(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(tally.handled(), 0, "it waits for the place");
        go_on.send(()).unwrap();
        eventually(async || tally.handled() == 1).await;
        assert!(panicked_jobs() > panicked);
        running.stop().await;
    }

    async fn a_mail_that_finds_every_place_taken_gets_the_first_free_one_and_leaves_some_to_the_queue(
        kind: Kind,
    ) {
        let opened = kind.open(LONG).await;
        let (hand_over, tally, running) = open_way(&opened, 4, Duration::ZERO).await;
        let mut taken: Vec<_> = (0..3).map(|_| at_once(&hand_over).unwrap()).collect();
        let reserve = |hand_over: HandOver| async move { hand_over.reserve().await };
        let waits: Vec<_> = (0..50).map(|_| tokio::spawn(reserve(hand_over.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        opened.queue.enqueue(&jobs(8)).await.unwrap();
        eventually(async || tally.handled() == 8).await;
        assert!(waits.iter().all(|each| !each.is_finished()));
        eventually(async || hand_over.is_open()).await;
        taken.pop();
        let (first, _, others) = select_all(waits).await;
        assert!(first.as_ref().unwrap().is_some());
        others.iter().for_each(|each| each.abort());
        drop((first, taken));
        running.stop().await;
    }

    async fn a_mail_that_finds_a_jam_waits_for_its_end_and_passes_a_batch(kind: Kind) {
        let opened = kind.open(LONG).await;
        let (hand_over, tally, running) = open_way(&opened, 1, Duration::from_millis(100)).await;
        opened.queue.enqueue(&jobs(3)).await.unwrap();
        eventually(async || !hand_over.is_open()).await;
        let place = hand_over.reserve().await;
        assert!(place.is_some() && tally.handled() == 3);
        drop(place);
        let bulk = jobs(6).split_off(3).into_iter();
        let bulk: Vec<_> = bulk.map(|job| QueuedJob { lane: Lane::Bulk, ..job }).collect();
        opened.queue.enqueue(&bulk).await.unwrap();
        eventually(async || counts(&opened.queue).await.1 == 1).await;
        let place = hand_over.reserve().await;
        assert!(place.is_some() && hand_over.is_open() && tally.handled() == 4, "it has the first place");
        drop(place);
        running.stop().await;
    }
}
