//! What `work` promises, on both queues.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Admit, Decision, Ended, HandOver, Lease, Leases, Places, Queue, QueueError, QueuedJob, WorkerOptions,
    conformance::{Kind, LONG, Opened, counts, job, jobs, odd_ids, on_both_queues},
    panicked_jobs,
    redis_server::eventually,
    work,
};
use crate::mail::Lane;

/// How often each job was handled.
#[derive(Clone, Default)]
pub(super) struct Tally(Arc<Mutex<HashMap<String, usize>>>);

impl Tally {
    pub(super) fn note(&self, job: &QueuedJob) {
        *self.0.lock().unwrap().entry(job.id.clone()).or_default() += 1;
    }

    pub(super) fn handled(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The jobs that were handled more than once.
    pub(super) fn repeated(&self) -> Vec<String> {
        let tally = self.0.lock().unwrap();
        tally.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id.clone()).collect()
    }
}

/// A worker that runs until it is stopped.
pub(super) struct Running {
    stop: CancellationToken,
    work: JoinHandle<Result<(), QueueError>>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.work).await.expect("it stops").unwrap().unwrap();
    }
}

/// Permits for as many mails as there are places.
pub(super) struct Unlimited;

impl Admit for Unlimited {
    type Permit = ();
    type Reservation = ();

    fn reserve(&self, most: usize) -> (usize, ()) {
        (most, ())
    }

    async fn decide(&self, (): (), mails: &[Lease]) -> Vec<Decision<()>> {
        mails.iter().map(|_| Decision::Now(())).collect()
    }

    async fn changed(&self) {}
}

pub(super) fn settings(places: usize, drain: Duration) -> WorkerOptions {
    let places = Places { mails: places, callbacks: places, batches: places };
    WorkerOptions { name: "test".to_owned(), places, drain, hand_over: HandOver::default() }
}

pub(super) fn start<F>(
    queue: &Arc<dyn Queue>,
    places: usize,
    handler: impl Fn(QueuedJob) -> F + Clone + Send + Sync + 'static,
) -> Running
where
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    start_with(queue, settings(places, Duration::from_secs(5)), Unlimited, handler)
}

pub(super) fn start_with<A: Admit, F>(
    queue: &Arc<dyn Queue>,
    settings: WorkerOptions,
    admission: A,
    handler: impl Fn(QueuedJob) -> F + Clone + Send + Sync + 'static,
) -> Running
where
    F: Future<Output: Into<Ended>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let leases = Leases::new(queue.clone(), "test");
    let handler = move |job, permit| {
        let job = handler(job);
        async move {
            let _permit = permit;
            job.await
        }
    };
    let (kept, queue) = (leases.clone(), queue.clone());
    let working = work(leases, settings, Arc::new(admission), stop.clone(), handler);
    let work = tokio::spawn(async move {
        tokio::select! {
            ended = working => ended,
            () = kept.keep(&*queue) => unreachable!(),
        }
    });
    Running { stop, work }
}

/// A handler that notes each job after `length`.
pub(super) fn noting(
    tally: &Tally,
    length: Duration,
) -> impl Fn(QueuedJob) -> futures_util::future::BoxFuture<'static, ()> + Clone + Send + Sync + 'static {
    let tally = tally.clone();
    move |job| {
        let tally = tally.clone();
        Box::pin(async move {
            sleep(length).await;
            tally.note(&job);
        })
    }
}

on_both_queues! {
    every_job_is_handled_once_and_nothing_is_left
    the_handler_sees_any_id_unharmed
    two_workers_share_the_jobs
    as_many_jobs_run_at_once_as_were_asked_for_and_no_more
    a_job_that_panics_is_finished_and_the_worker_goes_on
    a_job_longer_than_its_lease_keeps_it
    a_stopped_worker_finishes_what_runs_and_leaves_the_rest
    a_job_that_outlasts_the_drain_is_given_back
    a_job_enqueued_while_it_runs_is_handled_again
    mails_without_a_permit_wait_in_the_queue_and_callbacks_pass_them_by
    a_group_that_hangs_takes_no_place_of_another
    a_job_that_cannot_be_handled_now_is_handled_again_before_others
}

async fn every_job_is_handled_once_and_nothing_is_left(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let tally = Tally::default();
    let running = start(&queue, 50, noting(&tally, Duration::ZERO));
    for chunk in jobs(3_000).chunks(1_000) {
        queue.enqueue(chunk).await.unwrap();
    }
    eventually(async || tally.handled() == 3_000 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
}

async fn the_handler_sees_any_id_unharmed(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let note = seen.clone();
    let running = start(&queue, 4, move |job| {
        note.lock().unwrap().insert(job.id);
        std::future::ready(())
    });
    queue.enqueue(&odd_ids().into_iter().map(job).collect::<Vec<_>>()).await.unwrap();
    eventually(async || counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert_eq!(*seen.lock().unwrap(), odd_ids().into_iter().collect());
}

async fn two_workers_share_the_jobs(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let tallies = [Tally::default(), Tally::default()];
    let here = start(&queue, 10, noting(&tallies[0], Duration::from_millis(2)));
    let there = start(&elsewhere, 10, noting(&tallies[1], Duration::from_millis(2)));
    queue.enqueue(&jobs(1_000)).await.unwrap();
    eventually(async || counts(&queue).await == (0, 0)).await;
    here.stop().await;
    there.stop().await;
    let [here, there] = tallies.map(|tally| tally.handled());
    assert!(here > 0 && there > 0 && here + there == 1_000, "{here} + {there}");
}

async fn as_many_jobs_run_at_once_as_were_asked_for_and_no_more(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running_now, highest) = (now.clone(), most.clone());
    let running = start(&queue, 8, move |_| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        }
    });
    queue.enqueue(&jobs(200)).await.unwrap();
    eventually(async || counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert_eq!((highest.load(Ordering::SeqCst), running_now.load(Ordering::SeqCst)), (8, 0));
}

async fn a_job_that_panics_is_finished_and_the_worker_goes_on(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let tally = Tally::default();
    let note = tally.clone();
    let before = panicked_jobs();
    let running = start(&queue, 2, move |job| {
        note.note(&job);
        assert_ne!(job.id, "at once", "a panic before the first await");
        async move { assert_ne!(job.id, "later", "a panic in the job") }
    });
    queue.enqueue(&["at once", "later", "fine"].map(job)).await.unwrap();
    eventually(async || tally.handled() == 3 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
    assert!(panicked_jobs() >= before + 2);
}

async fn a_job_longer_than_its_lease_keeps_it(kind: Kind) {
    let lease = Duration::from_secs(1);
    let Opened { queue, elsewhere, server: _server } = kind.open(lease).await;
    let tally = Tally::default();
    let here = start(&queue, 1, noting(&tally, lease * 5 / 2));
    let there = start(&elsewhere, 1, noting(&tally, lease * 5 / 2));
    queue.enqueue(&[job("long")]).await.unwrap();
    eventually(async || tally.handled() == 1 && counts(&queue).await == (0, 0)).await;
    here.stop().await;
    there.stop().await;
    assert!(tally.repeated().is_empty());
}

async fn a_stopped_worker_finishes_what_runs_and_leaves_the_rest(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let (started, gate, tally) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)), Tally::default());
    let (begun, closed, note) = (started.clone(), gate.clone(), tally.clone());
    let running = start(&queue, 3, move |job| {
        let (begun, closed, note) = (begun.clone(), closed.clone(), note.clone());
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            closed.acquire().await.unwrap().forget();
            note.note(&job);
        }
    });
    queue.enqueue(&jobs(10)).await.unwrap();
    eventually(async || started.load(Ordering::SeqCst) == 3).await;
    running.stop.cancel();
    tokio::task::yield_now().await;
    assert_eq!(tally.handled(), 0);
    gate.add_permits(10);
    running.stop().await;
    assert_eq!(tally.handled(), 3);
    assert_eq!(counts(&queue).await, (7, 0));
}

async fn a_job_that_outlasts_the_drain_is_given_back(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let started = Arc::new(Semaphore::new(0));
    let begun = started.clone();
    let running = start_with(&queue, settings(2, Duration::from_millis(50)), Unlimited, move |_| {
        begun.add_permits(1);
        std::future::pending::<()>()
    });
    queue.enqueue(&jobs(3)).await.unwrap();
    started.acquire_many(2).await.unwrap().forget();
    running.stop().await;
    assert_eq!(counts(&queue).await, (3, 0));
}

async fn a_job_enqueued_while_it_runs_is_handled_again(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    let running = start(&queue, 4, move |job| {
        let (count, elsewhere) = (count.clone(), elsewhere.clone());
        async move {
            if count.fetch_add(1, Ordering::SeqCst) < 500 {
                elsewhere.enqueue(std::slice::from_ref(&job)).await.unwrap();
            }
        }
    });
    queue.enqueue(&[job("a")]).await.unwrap();
    eventually(async || times.load(Ordering::SeqCst) == 501 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
}

/// As many permits as a semaphore has.
struct Few {
    left: Arc<Semaphore>,
    changed: Arc<tokio::sync::Notify>,
}

struct OneOfFew {
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
    changed: Arc<tokio::sync::Notify>,
}

impl Drop for OneOfFew {
    fn drop(&mut self) {
        self.permit.take();
        self.changed.notify_one();
    }
}

impl Admit for Few {
    type Permit = OneOfFew;
    type Reservation = Vec<OneOfFew>;

    fn reserve(&self, most: usize) -> (usize, Vec<OneOfFew>) {
        let permits = (0..most).map_while(|_| {
            let permit = self.left.clone().try_acquire_owned().ok()?;
            Some(OneOfFew { permit: Some(permit), changed: self.changed.clone() })
        });
        let permits: Vec<_> = permits.collect();
        (permits.len(), permits)
    }

    async fn decide(&self, room: Vec<OneOfFew>, _: &[Lease]) -> Vec<Decision<OneOfFew>> {
        room.into_iter().map(Decision::Now).collect()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

async fn mails_without_a_permit_wait_in_the_queue_and_callbacks_pass_them_by(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let few = Few { left: Arc::new(Semaphore::new(0)), changed: Arc::default() };
    let (left, changed) = (few.left.clone(), few.changed.clone());
    let tally = Tally::default();
    let running =
        start_with(&queue, settings(4, Duration::from_secs(5)), few, noting(&tally, Duration::ZERO));
    queue.enqueue(&jobs(300)).await.unwrap();
    let callbacks = (0..50).map(|n| QueuedJob { lane: Lane::Callback, ..job(format!("callback{n}")) });
    queue.enqueue(&callbacks.collect::<Vec<_>>()).await.unwrap();
    eventually(async || tally.handled() == 50 && counts(&queue).await == (300, 0)).await;
    left.add_permits(2);
    changed.notify_one();
    eventually(async || tally.handled() == 350 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
}

async fn a_group_that_hangs_takes_no_place_of_another(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let tally = Tally::default();
    let note = tally.clone();
    let running =
        start_with(&queue, settings(4, Duration::from_millis(50)), Unlimited, move |job: QueuedJob| {
            let note = note.clone();
            async move {
                if job.lane == Lane::Bulk {
                    note.note(&job);
                } else {
                    std::future::pending::<()>().await;
                }
            }
        });
    let hanging = |lane: Lane| (0..20).map(move |n| QueuedJob { lane, ..job(format!("{lane}{n}")) });
    queue.enqueue(&hanging(Lane::Callback).chain(hanging(Lane::Batch)).collect::<Vec<_>>()).await.unwrap();
    eventually(async || counts(&queue).await.1 == 8).await;
    queue.enqueue(&hanging(Lane::Bulk).collect::<Vec<_>>()).await.unwrap();
    eventually(async || tally.handled() == 20).await;
    running.stop().await;
}

async fn a_job_that_cannot_be_handled_now_is_handled_again_before_others(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = order.clone();
    let running = start(&queue, 1, move |job| {
        let mut order = note.lock().unwrap();
        order.push(job.id);
        std::future::ready(if order.len() < 3 { Ended::NotNow } else { Ended::Done })
    });
    queue.enqueue(&["first", "second"].map(job)).await.unwrap();
    eventually(async || counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert_eq!(*order.lock().unwrap(), ["first", "first", "first", "second"]);
}
