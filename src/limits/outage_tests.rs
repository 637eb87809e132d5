//! What several processes send together while they count in one Redis, and while that is killed, frozen or not there yet.

use std::{
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use super::{Answer, Ask, Limiter, conformance::ask};
use crate::queue::redis_server::{RedisServer, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Several processes that send as fast as they may.
struct Senders {
    limiters: Vec<Limiter>,
    sent: Arc<Mutex<Vec<Instant>>>,
    began: Instant,
}

impl Senders {
    fn on(server: &RedisServer, processes: usize) -> Self {
        let workers = Arc::new(AtomicUsize::new(processes));
        let limiter =
            |_| Limiter::connect(&server.url(), "".as_ref(), "postroom", Arc::clone(&workers)).unwrap();
        let limiters = (0..processes).map(limiter).collect();
        Self { limiters, sent: Arc::default(), began: Instant::now() }
    }

    /// Sends mails that ask for this until it is over.
    fn start(&self, ask: &Ask, time: Duration) -> tokio::task::JoinSet<()> {
        let (end, mut running) = (Instant::now() + time, tokio::task::JoinSet::new());
        for limiter in self.limiters.clone() {
            let (asks, sent) = (vec![ask.clone(); 4], Arc::clone(&self.sent));
            running.spawn(async move {
                while Instant::now() < end {
                    let asked = Instant::now();
                    let answers = limiter.take(&asks).await;
                    assert!(asked.elapsed() < SECOND, "an answer came after {:?}", asked.elapsed());
                    let mut longest = Duration::ZERO;
                    for answer in answers {
                        match answer {
                            Answer::Granted(tokens) => {
                                tokens.spend();
                                sent.lock().unwrap().push(Instant::now());
                            }
                            Answer::Denied { wait, .. } => longest = wait.min(SECOND / 5),
                        }
                    }
                    tokio::time::sleep(longest).await;
                }
            });
        }
        running
    }

    /// The most that were sent in a second, how many in all, and the longest pause.
    fn seen(&self) -> (usize, usize, Duration) {
        let mut sent = self.sent.lock().unwrap().clone();
        sent.sort_unstable();
        let within = |(first, from): (usize, &Instant)| {
            sent[first..].iter().take_while(|to| to.duration_since(*from) < SECOND).count()
        };
        let most = sent.iter().enumerate().map(within).max().unwrap_or(0);
        let pauses = sent.windows(2).map(|pair| pair[1] - pair[0]);
        let first = sent.first().map_or(Duration::MAX, |first| first.duration_since(self.began));
        (most, sent.len(), pauses.chain([first]).max().unwrap_or(Duration::MAX))
    }

    fn are_away(&self) -> bool {
        self.limiters.iter().any(Limiter::is_away)
    }
}

/// Waits until all have ended, and fails as one of them failed.
async fn end_of(mut running: tokio::task::JoinSet<()>) {
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_on_one_redis_send_what_the_limits_allow_together() {
    let server = RedisServer::start(false).await;
    let senders = Senders::on(&server, 4);
    let limits = ask(["all 1000/s", "route:main 200/s", "merchant:tea 300/s", "domain:x.example 250/s"]);
    end_of(senders.start(&limits, 3 * SECOND)).await;
    let (most, in_all, _) = senders.seen();
    assert!(most <= 220 && (540..=610).contains(&in_all), "{most} in a second, {in_all} in all");
    assert!(!senders.are_away());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_stops_nobody_and_lets_nobody_send_more() {
    let mut server = RedisServer::start(false).await;
    let senders = Senders::on(&server, 4);
    let running = senders.start(&ask(["route:main 200/s", "merchant:tea 300/s"]), 4 * SECOND);
    tokio::time::sleep(SECOND).await;
    server.kill();
    tokio::time::sleep(3 * SECOND / 2).await;
    assert!(senders.are_away());
    server.run().await;
    eventually(async || !senders.are_away()).await;
    end_of(running).await;
    let (most, in_all, pause) = senders.seen();
    assert!(most <= 220 && in_all >= 640, "{most} in a second, {in_all} in all");
    assert!(pause < SECOND / 2, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_falls_silent_stops_nobody_and_lets_nobody_send_more() {
    let server = RedisServer::start(false).await;
    let senders = Senders::on(&server, 4);
    let running = senders.start(&ask(["all 500/s", "route:main 200/s"]), 4 * SECOND);
    tokio::time::sleep(SECOND).await;
    server.freeze();
    tokio::time::sleep(3 * SECOND / 2).await;
    assert!(senders.are_away());
    server.thaw();
    eventually(async || !senders.are_away()).await;
    end_of(running).await;
    let (most, in_all, pause) = senders.seen();
    assert!(most <= 220 && in_all >= 600, "{most} in a second, {in_all} in all");
    assert!(pause < SECOND, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_rate_is_kept_by_many_processes_that_count_by_themselves() {
    let server = RedisServer::absent(false);
    let senders = Senders::on(&server, 4);
    end_of(senders.start(&ask(["route:main 7/s"]), 4 * SECOND)).await;
    let (most, in_all, _) = senders.seen();
    assert!(most <= 8 && in_all >= 12, "{most} in a second, {in_all} in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_may_start_before_redis() {
    let mut server = RedisServer::absent(false);
    let senders = Senders::on(&server, 2);
    let running = senders.start(&ask(["all 200/s"]), 3 * SECOND);
    tokio::time::sleep(SECOND).await;
    server.run().await;
    eventually(async || !senders.are_away()).await;
    end_of(running).await;
    let (most, in_all, pause) = senders.seen();
    assert!(most <= 220 && in_all >= 480, "{most} in a second, {in_all} in all");
    assert!(pause < SECOND / 2, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_that_redis_refuses_are_counted_in_the_process() {
    let server = RedisServer::start(false).await;
    let senders = Senders::on(&server, 2);
    server.ask(&["SET", "{postroom}:rate:since", "1"]).await;
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]).await; // read-only from here on
    end_of(senders.start(&ask(["all 200/s"]), SECOND)).await;
    let (most, in_all, _) = senders.seen();
    assert!(senders.are_away() && most <= 220 && in_all > 100, "{most} in a second, {in_all} in all");
}

#[tokio::test]
async fn a_url_that_is_no_redis_is_refused_and_not_repeated() {
    let error = Limiter::connect("https://user:secret@localhost", "".as_ref(), "postroom", Arc::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("`queue.url`") && !format!("{error:?}").contains("secret"));
}
