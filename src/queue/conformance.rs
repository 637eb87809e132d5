//! What every queue promises, run on both.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    FetchBudget, Group, Lease, Queue, QueueError, QueueSettings, QueuedJob, connect,
    redis_server::{RedisServer, eventually},
};
use crate::mail::{
    Lane::{self, Batch, Bulk, Callback, Transactional},
    MerchantId,
};

pub(super) const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_millis(300);

/// Which queue a test runs on.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Memory,
    Redis,
}

/// An empty queue, with the server it may be in.
pub(super) struct Opened {
    pub(super) queue: Arc<dyn Queue>,
    /// The same queue as another process would see it.
    pub(super) elsewhere: Arc<dyn Queue>,
    /// Runs as long as this is held.
    pub(super) server: Option<RedisServer>,
}

impl Kind {
    pub(super) async fn open(self, lease: Duration) -> Opened {
        match self {
            Self::Memory => {
                let queue = connect(&settings("memory:", lease)).await.unwrap();
                Opened { elsewhere: queue.clone(), queue, server: None }
            }
            Self::Redis => {
                let server = RedisServer::start(false).await;
                let [queue, elsewhere] = [in_redis(&server, lease).await, in_redis(&server, lease).await];
                Opened { queue, elsewhere, server: Some(server) }
            }
        }
    }
}

pub(super) fn settings(url: &str, lease: Duration) -> QueueSettings {
    let prefix = "postroom".to_owned();
    let (ca_file, enqueue_timeout) = (std::path::PathBuf::new(), Duration::from_secs(2));
    QueueSettings { url: url.to_owned(), ca_file, prefix, lease, enqueue_timeout }
}

pub(super) async fn in_redis(server: &RedisServer, lease: Duration) -> Arc<dyn Queue> {
    connect(&settings(&server.url(), lease)).await.unwrap()
}

pub(super) fn job(id: impl Into<String>) -> QueuedJob {
    QueuedJob::new(id, Transactional, "acme".parse().unwrap())
}

pub(super) fn jobs(number: usize) -> Vec<QueuedJob> {
    (0..number).map(|n| job(format!("send_mail:{n:06}"))).collect()
}

fn ids(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| lease.job.id.as_str()).collect()
}

/// Waiting and leased, over all lanes.
pub(super) async fn counts(queue: &Arc<dyn Queue>) -> (u64, u64) {
    let lanes = queue.status().await.unwrap().lanes;
    (lanes.iter().map(|lane| lane.waiting).sum(), lanes.iter().map(|lane| lane.leased).sum())
}

async fn fetch_again(queue: &Arc<dyn Queue>) -> Vec<Lease> {
    let mut fetched = Vec::new();
    eventually(async || {
        fetched = queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases;
        !fetched.is_empty()
    })
    .await;
    fetched
}

/// Makes a test of each function, on each queue.
macro_rules! on_both_queues {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::queue::conformance::Kind::Memory).await })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::queue::conformance::Kind::Redis).await })*
        }
    };
}
pub(super) use on_both_queues;

on_both_queues! {
    a_job_waits_once_however_often_it_is_enqueued
    a_job_enqueued_while_it_is_leased_is_fetched_again_after_it_is_finished
    lower_lanes_get_a_small_share_and_the_first_lane_the_rest
    a_lane_with_nothing_leaves_its_turn_to_the_others
    a_merchant_with_many_jobs_does_not_hold_back_another
    a_paused_lane_takes_jobs_and_gives_none_until_it_is_resumed
    a_job_whose_lease_expires_is_fetched_again_before_others
    a_lease_that_is_extended_does_not_expire
    a_lease_that_went_to_another_can_do_nothing
    released_jobs_are_fetched_first_and_in_their_order
    a_hundred_thousand_jobs_may_be_enqueued_at_once
    any_text_of_200_bytes_is_an_id
    a_lane_without_room_keeps_its_jobs_and_the_others_pass_them_by
    bulk_mails_get_their_share_also_while_callbacks_take_every_other_turn
    a_worker_that_waits_for_one_group_is_not_woken_for_another
    a_waiting_worker_hears_of_a_job_at_once
    a_second_worker_hears_of_what_the_first_left
    the_generation_does_not_change_by_itself
}

async fn a_job_waits_once_however_often_it_is_enqueued(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    assert_eq!(queue.enqueue(&[job("a"), job("b"), job("a")]).await.unwrap(), 2);
    assert_eq!(elsewhere.enqueue(&[job("b"), job("c")]).await.unwrap(), 1);
    let fetched = queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases;
    assert_eq!(ids(&fetched), ["a", "b", "c"]);
    assert_eq!(fetched[0].job, job("a"));
    assert_eq!(counts(&queue).await, (0, 3));
    assert_eq!(queue.finish(&fetched).await.unwrap(), 3);
    assert_eq!(queue.finish(&fetched).await.unwrap(), 0);
    assert_eq!(counts(&queue).await, (0, 0));
    assert_eq!(queue.enqueue(&[job("a")]).await.unwrap(), 1);
}

async fn a_job_enqueued_while_it_is_leased_is_fetched_again_after_it_is_finished(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&[job("a")]).await.unwrap();
    let first = queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases;
    for _ in 0..2 {
        assert_eq!(queue.enqueue(&[job("a")]).await.unwrap(), 0);
    }
    assert!(queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases.is_empty());
    assert_eq!(queue.extend(&first).await.unwrap(), 1);
    assert_eq!(queue.finish(&first).await.unwrap(), 1);
    let second = queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases;
    assert_eq!(ids(&second), ["a"]);
    queue.finish(&second).await.unwrap();
    assert!(queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases.is_empty());
    assert_eq!(counts(&queue).await, (0, 0));
}

async fn lower_lanes_get_a_small_share_and_the_first_lane_the_rest(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    for lane in Lane::ALL {
        let filled: Vec<QueuedJob> =
            (0..300).map(|n| QueuedJob { lane: *lane, ..job(format!("{lane}{n}")) }).collect();
        queue.enqueue(&filled).await.unwrap();
    }
    let share = |fetched: &[Lease]| {
        Lane::ALL
            .iter()
            .map(|lane| fetched.iter().filter(|l| l.job.lane == *lane).count())
            .collect::<Vec<_>>()
    };
    let at_once = queue.fetch(FetchBudget::for_any(160)).await.unwrap().leases;
    assert_eq!(share(&at_once), [130, 10, 10, 10]);
    assert!(at_once[..5].iter().all(|lease| lease.job.lane == Transactional));
    let mut one_by_one = Vec::new();
    for _ in 0..16 {
        one_by_one.extend(queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases);
    }
    assert_eq!(share(&one_by_one), [13, 1, 1, 1]);
}

async fn a_lane_with_nothing_leaves_its_turn_to_the_others(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let lanes = [Bulk, Batch, Callback];
    queue.enqueue(&lanes.map(|lane| QueuedJob { lane, ..job(lane.as_str()) })).await.unwrap();
    let leases = queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases;
    assert_eq!(ids(&leases), ["callback", "batch", "bulk"]);
}

async fn a_merchant_with_many_jobs_does_not_hold_back_another(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&jobs(10_000)).await.unwrap();
    queue.enqueue(&[QueuedJob { merchant: "small".parse().unwrap(), ..job("late") }]).await.unwrap();
    assert_eq!(
        ids(&queue.fetch(FetchBudget::for_any(4)).await.unwrap().leases)
            .into_iter()
            .filter(|id| *id == "late")
            .count(),
        1
    );
    for merchant in ["b", "c"] {
        let merchant: MerchantId = merchant.parse().unwrap();
        let some = (0..50).map(|n| QueuedJob { merchant: merchant.clone(), ..job(format!("{merchant}{n}")) });
        queue.enqueue(&some.collect::<Vec<_>>()).await.unwrap();
    }
    let mut taken = Vec::new();
    for room in [1, 1, 1, 27] {
        taken.extend(queue.fetch(FetchBudget::for_any(room)).await.unwrap().leases);
    }
    for merchant in ["acme", "b", "c"] {
        assert_eq!(taken.iter().filter(|lease| lease.job.merchant.as_str() == merchant).count(), 10);
    }
}

async fn a_paused_lane_takes_jobs_and_gives_none_until_it_is_resumed(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(SHORT).await;
    queue.enqueue(&[job("leased")]).await.unwrap();
    queue.fetch(FetchBudget::for_any(1)).await.unwrap();
    elsewhere.pause(Transactional).await.unwrap();
    assert!(queue.status().await.unwrap().lanes[0].paused);
    queue.enqueue(&[job("a"), QueuedJob { lane: Bulk, ..job("b") }]).await.unwrap();
    assert_eq!(ids(&queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases), ["b"]);
    eventually(async || {
        queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases.is_empty() && counts(&queue).await.0 == 2
    })
    .await;

    let waiting = tokio::spawn(async move {
        while queue.fetch(FetchBudget::for_any(10)).await.unwrap().leases.is_empty() {
            queue.wait(Group::Mails, LONG).await.unwrap();
        }
    });
    elsewhere.resume(Transactional).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .expect("a resumed lane wakes workers")
        .unwrap();
    assert!(!elsewhere.status().await.unwrap().lanes[0].paused);
}

async fn a_job_whose_lease_expires_is_fetched_again_before_others(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(SHORT).await;
    queue.enqueue(&jobs(2)).await.unwrap();
    assert_eq!(queue.fetch(FetchBudget::for_any(2)).await.unwrap().leases.len(), 2);
    queue.enqueue(&[job("later")]).await.unwrap();
    let nothing = FetchBudget::for_any(0);
    eventually(async || queue.fetch(nothing).await.is_ok() && counts(&queue).await == (3, 0)).await;
    assert_eq!(
        ids(&queue.fetch(FetchBudget::for_any(3)).await.unwrap().leases),
        ["send_mail:000000", "send_mail:000001", "later"]
    );
}

async fn a_lease_that_is_extended_does_not_expire(kind: Kind) {
    let lease = Duration::from_secs(1);
    let Opened { queue, elsewhere, server: _server } = kind.open(lease).await;
    queue.enqueue(&[job("a")]).await.unwrap();
    let held = queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases;
    let started = Instant::now();
    while started.elapsed() < lease * 2 {
        assert_eq!(queue.extend(&held).await.unwrap(), 1);
        assert!(elsewhere.fetch(FetchBudget::for_any(1)).await.unwrap().leases.is_empty());
        tokio::time::sleep(lease / 10).await;
    }
    assert_eq!(queue.finish(&held).await.unwrap(), 1);
}

async fn a_lease_that_went_to_another_can_do_nothing(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(SHORT).await;
    queue.enqueue(&[job("a")]).await.unwrap();
    let late = queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases;
    let current = fetch_again(&elsewhere).await;
    assert_eq!(ids(&current), ["a"]);
    assert_eq!(queue.extend(&late).await.unwrap(), 0);
    assert_eq!(queue.release(&late).await.unwrap(), 0);
    assert_eq!(queue.finish(&late).await.unwrap(), 0);
    assert_eq!(counts(&queue).await, (0, 1));
    assert_eq!(elsewhere.finish(&current).await.unwrap(), 1);
}

async fn released_jobs_are_fetched_first_and_in_their_order(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&jobs(1502)).await.unwrap();
    let fetched = queue.fetch(FetchBudget::for_any(1500)).await.unwrap().leases;
    assert_eq!(queue.release(&fetched).await.unwrap(), 1500);
    assert_eq!(counts(&queue).await, (1502, 0));
    let again = queue.fetch(FetchBudget::for_any(2000)).await.unwrap().leases;
    assert_eq!(ids(&again), jobs(1502).iter().map(|job| job.id.as_str()).collect::<Vec<_>>());
}

async fn a_hundred_thousand_jobs_may_be_enqueued_at_once(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    assert_eq!(queue.enqueue(&jobs(100_000)).await.unwrap(), 100_000);
    assert_eq!(counts(&queue).await, (100_000, 0));
    let mut seen = HashSet::new();
    while seen.len() < 100_000 {
        let fetched = queue.fetch(FetchBudget::for_any(2_000)).await.unwrap().leases;
        assert_eq!(fetched.len(), 2_000);
        queue.finish(&fetched).await.unwrap();
        seen.extend(fetched.into_iter().map(|lease| lease.job.id));
    }
    assert_eq!(counts(&queue).await, (0, 0));
}

/// Ids that a careless queue would trip over.
pub(super) fn odd_ids() -> Vec<String> {
    ["", " ", "a b again", "\0\r\n\t", "{postroom}:jobs", "*", "é😀\u{202e}", "\\", "'\"]]", "%s", "0", "-1"]
        .map(str::to_owned)
        .into_iter()
        .chain(["x".repeat(200)])
        .collect()
}

async fn any_text_of_200_bytes_is_an_id(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    let odd: Vec<QueuedJob> = odd_ids().into_iter().map(job).collect();
    assert_eq!(queue.enqueue(&odd).await.unwrap(), odd.len());
    let fetched = queue.fetch(FetchBudget::for_any(100)).await.unwrap().leases;
    assert_eq!(ids(&fetched), odd_ids());
    assert_eq!(queue.finish(&fetched).await.unwrap(), odd.len());
    let too_long = [job("fine"), job("é".repeat(101))];
    assert!(matches!(queue.enqueue(&too_long).await, Err(QueueError::LongId(202))));
    assert_eq!(counts(&queue).await, (0, 0));
}

async fn a_waiting_worker_hears_of_a_job_at_once(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let waiting = tokio::spawn(async move {
        loop {
            queue.wait(Group::Mails, LONG).await.unwrap();
            if let [lease] = &queue.fetch(FetchBudget::for_any(1)).await.unwrap().leases[..] {
                return lease.job.id.clone();
            }
        }
    });
    elsewhere.enqueue(&[job("a")]).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it hears of the job");
    assert_eq!(heard.unwrap(), "a");
}

async fn a_second_worker_hears_of_what_the_first_left(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    elsewhere.enqueue(&jobs(2)).await.unwrap();
    for worker in [&queue, &elsewhere] {
        tokio::time::timeout(Duration::from_secs(5), worker.wait(Group::Mails, LONG))
            .await
            .expect("it is woken")
            .unwrap();
        assert_eq!(worker.fetch(FetchBudget::for_any(1)).await.unwrap().leases.len(), 1);
    }
}

async fn the_generation_does_not_change_by_itself(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    let generation = queue.generation().await.unwrap();
    queue.enqueue(&jobs(3)).await.unwrap();
    assert_eq!(elsewhere.generation().await.unwrap(), generation);
}

async fn a_lane_without_room_keeps_its_jobs_and_the_others_pass_them_by(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    queue.enqueue(&jobs(20)).await.unwrap();
    let lanes = [Bulk, Batch, Callback];
    queue.enqueue(&lanes.map(|lane| QueuedJob { lane, ..job(lane.as_str()) })).await.unwrap();
    let budget = FetchBudget::default().with(Group::Callbacks, 5).with(Group::Batches, 5);
    assert_eq!(ids(&queue.fetch(budget).await.unwrap().leases), ["callback", "batch"]);
    let fetched = queue.fetch(budget.with(Group::Mails, 2)).await.unwrap().leases;
    assert_eq!(ids(&fetched), ["send_mail:000000", "send_mail:000001"]);
    assert_eq!(counts(&queue).await, (19, 4));
}

async fn bulk_mails_get_their_share_also_while_callbacks_take_every_other_turn(kind: Kind) {
    let Opened { queue, server: _server, .. } = kind.open(LONG).await;
    for lane in Lane::ALL {
        let filled: Vec<QueuedJob> =
            (0..100).map(|n| QueuedJob { lane: *lane, ..job(format!("{lane}{n}")) }).collect();
        queue.enqueue(&filled).await.unwrap();
    }
    let budget = FetchBudget::default().with(Group::Mails, 1).with(Group::Callbacks, 1);
    let mut mails = Vec::new();
    for _ in 0..56 {
        let fetched = queue.fetch(budget).await.unwrap().leases;
        assert_eq!(fetched.len(), 2);
        mails.extend(fetched.into_iter().map(|lease| lease.job.lane).filter(|lane| *lane != Callback));
    }
    assert_eq!(mails.iter().filter(|lane| **lane == Bulk).count(), 4);
}

async fn a_worker_that_waits_for_one_group_is_not_woken_for_another(kind: Kind) {
    let Opened { queue, elsewhere, server: _server } = kind.open(LONG).await;
    elsewhere.enqueue(&jobs(3)).await.unwrap();
    let started = Instant::now();
    queue.wait(Group::Callbacks, SHORT).await.unwrap();
    assert!(started.elapsed() >= SHORT, "mails do not wake it");
    elsewhere.enqueue(&[QueuedJob { lane: Callback, ..job("c") }]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), queue.wait(Group::Callbacks, LONG)).await.unwrap().unwrap();
    // Whoever has no room for mails leaves them to another.
    tokio::time::timeout(Duration::from_secs(5), queue.wait(Group::Mails, LONG)).await.unwrap().unwrap();
    let budget = FetchBudget::default().with(Group::Callbacks, 1);
    assert_eq!(ids(&queue.fetch(budget).await.unwrap().leases), ["c"]);
    tokio::time::timeout(Duration::from_secs(5), elsewhere.wait(Group::Mails, LONG)).await.unwrap().unwrap();
}
