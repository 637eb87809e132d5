//! What becomes of jobs when Redis stalls, dies, or was never there, and when a worker may not begin what it would fetch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    Admit, Decision, FetchBudget, Group, Lease, QueueError, QueueSettings, QueuedJob,
    conformance::{LONG, counts, in_redis, job, jobs, settings},
    connect,
    redis_server::{RedisServer, eventually},
    work_tests::{self, Tally, noting, start, start_with},
};
use crate::mail::Lane;

const JOB: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stalls_loses_nothing_and_repeats_nothing() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, JOB));
    queue.enqueue(&jobs(1_000)).await.unwrap();
    eventually(async || tally.handled() > 100).await;
    server.freeze();
    sleep(Duration::from_secs(2)).await;
    server.thaw();
    eventually(async || tally.handled() == 1_000 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_through_a_stall_longer_than_its_lease_runs_once() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, Duration::from_secs(1)).await;
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, Duration::from_secs(4)));
    queue.enqueue(&[job("long")]).await.unwrap();
    eventually(async || counts(&queue).await == (0, 1)).await;
    server.freeze();
    sleep(Duration::from_millis(2_500)).await;
    server.thaw();
    eventually(async || tally.handled() == 1 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_comes_back_while_its_job_runs_does_not_start_it_again() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, Duration::from_secs(2)));
    queue.enqueue(&[job("long")]).await.unwrap();
    eventually(async || counts(&queue).await == (0, 1)).await;
    server.ask(&["ZADD", "{postroom}:leases", "0", "long"]).await;
    queue.enqueue(&[job("wakes the worker")]).await.unwrap();
    eventually(async || tally.handled() == 2 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_expires_although_the_clock_of_redis_is_set_back() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, Duration::from_secs(1)).await;
    queue.enqueue(&[job("a")]).await.unwrap();
    assert_eq!(queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases.len(), 1);
    // As if it had been an hour ahead until now.
    server.ask(&["HINCRBY", "{postroom}:counts", "clock", "3600000"]).await;
    server.ask(&["ZINCRBY", "{postroom}:leases", "3600000", "a"]).await;
    eventually(async || queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_after_a_restart_succeeds() {
    let mut server = RedisServer::start(true).await;
    let queue = in_redis(&server, LONG).await;
    queue.enqueue(&jobs(1)).await.unwrap();
    server.kill();
    server.run().await;
    assert_eq!(queue.enqueue(&jobs(2)).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_kept_its_data_loses_nothing_and_repeats_nothing() {
    let mut server = RedisServer::start(true).await;
    let queue = in_redis(&server, LONG).await;
    let generation = queue.generation().await.unwrap();
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, JOB));
    queue.enqueue(&jobs(2_000)).await.unwrap();
    eventually(async || tally.handled() > 100).await;
    server.kill();
    assert!(queue.enqueue(&jobs(1)).await.is_err());
    server.run().await;
    eventually(async || tally.handled() == 2_000 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
    assert!(tally.repeated().is_empty());
    assert_ne!(queue.generation().await.unwrap(), generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_data_has_another_generation_and_what_is_enqueued_again_is_done() {
    let mut server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let generation = queue.generation().await.unwrap();
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, JOB));
    queue.enqueue(&jobs(500)).await.unwrap();
    eventually(async || tally.handled() > 100).await;
    server.kill();
    server.run().await;
    assert_ne!(queue.generation().await.unwrap(), generation);
    queue.enqueue(&jobs(500)).await.unwrap();
    eventually(async || tally.handled() == 500 && counts(&queue).await == (0, 0)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_has_another_generation() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let generation = queue.generation().await.unwrap();
    server.ask(&["FLUSHALL"]).await;
    assert_ne!(queue.generation().await.unwrap(), generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_start_before_redis() {
    let mut server = RedisServer::absent(false);
    let queue = in_redis(&server, LONG).await;
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, JOB));
    let asked = Instant::now();
    assert!(matches!(queue.enqueue(&jobs(1)).await, Err(QueueError::Redis { call: "enqueue", .. })));
    assert!(asked.elapsed() < Duration::from_secs(2));
    server.run().await;
    assert_eq!(queue.enqueue(&jobs(100)).await.unwrap(), 100);
    eventually(async || tally.handled() == 100).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enqueue_gives_up_after_its_timeout() {
    let server = RedisServer::start(false).await;
    let short =
        QueueSettings { enqueue_timeout: Duration::from_millis(300), ..settings(&server.url(), LONG) };
    let queue = connect(&short).await.unwrap();
    queue.enqueue(&[job("a")]).await.unwrap();
    server.freeze();
    for _ in 0..2 {
        let asked = Instant::now();
        assert!(queue.enqueue(&[job("b")]).await.is_err());
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    server.thaw();
    eventually(async || queue.enqueue(&[job("c")]).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stops_although_redis_is_away() {
    let mut server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let tally = Tally::default();
    let running = start(&queue, 10, noting(&tally, JOB));
    queue.enqueue(&jobs(500)).await.unwrap();
    eventually(async || tally.handled() > 50).await;
    server.kill();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_leave_nothing_in_redis() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    queue.enqueue(&jobs(1_000)).await.unwrap();
    let fetched = queue.fetch(FetchBudget::for_any(1_000)).await.unwrap().leases;
    queue.enqueue(&jobs(10)).await.unwrap();
    queue.finish(&fetched).await.unwrap();
    let again = queue.fetch(FetchBudget::for_any(1_000)).await.unwrap().leases;
    assert_eq!(again.len(), 10);
    queue.finish(&again).await.unwrap();
    queue.wait(Group::Mails, JOB).await.unwrap();
    let keys: Vec<String> = redis::from_redis_value(server.ask(&["KEYS", "*"]).await).unwrap();
    assert_eq!(keys, ["{postroom}:counts"]);
}

/// A permit for every mail, of a worker that may begin nothing until it is told.
struct Unheard(Arc<AtomicBool>);

impl Admit for Unheard {
    type Permit = ();
    type Reservation = ();

    fn may_begin(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn reserve(&self, most: usize) -> (usize, ()) {
        (most, ())
    }

    async fn decide(&self, (): (), mails: &[Lease]) -> Vec<Decision<()>> {
        mails.iter().map(|_| Decision::Now(())).collect()
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_may_begin_nothing_leaves_jobs_of_every_lane_to_others() {
    let server = RedisServer::start(false).await;
    let queue = in_redis(&server, LONG).await;
    let (is_heard, tally) = (Arc::new(AtomicBool::new(false)), Tally::default());
    let settings = work_tests::settings(10, JOB);
    let unheard = start_with(&queue, settings, Unheard(is_heard.clone()), noting(&tally, JOB));
    let in_lane = |lane: Lane| QueuedJob { lane, ..job(lane.to_string()) };
    queue
        .enqueue(&[Lane::Transactional, Lane::Bulk, Lane::Callback, Lane::Batch].map(in_lane))
        .await
        .unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!((tally.handled(), counts(&queue).await), (0, (4, 0)));
    is_heard.store(true, Ordering::SeqCst);
    eventually(async || tally.handled() == 4 && counts(&queue).await == (0, 0)).await;
    unheard.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installations_with_different_prefixes_share_a_server() {
    let server = RedisServer::start(false).await;
    let ours = in_redis(&server, LONG).await;
    let other = QueueSettings { prefix: "other".to_owned(), ..settings(&server.url(), LONG) };
    let theirs = connect(&other).await.unwrap();
    ours.enqueue(&jobs(2)).await.unwrap();
    assert!(theirs.fetch(FetchBudget::for_any(10)).await.unwrap().leases.is_empty());
    assert_eq!(theirs.enqueue(&jobs(2)).await.unwrap(), 2);
    assert_eq!(ours.fetch(FetchBudget::for_any(10)).await.unwrap().leases.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_reached_over_a_unix_socket() {
    let server = RedisServer::start(false).await;
    let url = format!("unix://{}", server.socket().display());
    let queue = connect(&settings(&url, LONG)).await.unwrap();
    assert_eq!(queue.enqueue(&jobs(3)).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_names_no_queue_is_refused_and_not_repeated() {
    for url in ["", "memory", "https://user:secret@localhost", "redis//secret"] {
        let error = connect(&settings(url, LONG)).await.err().expect("an error");
        assert!(matches!(error, QueueError::Url(_)));
        assert!(!format!("{error:?} {:?}", settings(url, LONG)).contains("secret"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_an_error_when_tls_was_asked_for() {
    let server = RedisServer::start(false).await;
    let queue = connect(&settings(&server.url().replace("redis:", "rediss:"), LONG)).await.unwrap();
    assert!(queue.enqueue(&jobs(1)).await.is_err());
}
