//! Who picks up what waits: the scheduler looks after each lane for itself.

use std::sync::Arc;

use postroom::{
    app::App,
    clock,
    config::Config,
    mail::{Lane, MailId, MailLane, MailState, MerchantId, NewMail, WorkerId},
    queue::{LaneStatus, QueuedJob, Whereabouts},
    rescuer, scheduler,
    store::{NewEndpoint, Settled, Store},
    webhook::Topics,
};
use sqlx::{AnyConnection, Connection, Executor};
use tokio_util::sync::CancellationToken;

use super::{
    store::{accepted, claim, merchant, new_mail, open, record, state, worker},
    support::{Backends, eventually},
};

/// Jobs of a lane that nobody takes.
async fn fill(app: &App, lane: Lane, jobs: usize) {
    let jobs: Vec<_> =
        (0..jobs).map(|_| QueuedJob::new(format!("send_mail:{}", MailId::new()), lane, merchant())).collect();
    for jobs in jobs.chunks(500) {
        app.queue.enqueue(jobs).await.unwrap();
    }
}

async fn waiting(app: &App, lane: Lane) -> u64 {
    let lanes = app.queue.status().await.unwrap().lanes;
    let of = |status: &&LaneStatus| status.lane == lane;
    lanes.iter().find(of).unwrap().waiting
}

/// Keeps everybody from a table of Postgres until it is dropped.
async fn lock(backends: &Backends, table: &str, mode: &str) -> AnyConnection {
    let mut connection = AnyConnection::connect(&backends.database().url).await.unwrap();
    let lock = format!("BEGIN; LOCK TABLE {table} IN {mode} MODE");
    connection.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_locked_keeps_no_due_mails_back() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
    let due_at = clock::now() - std::time::Duration::from_secs(60);
    for (enqueued, table) in [(1, "deliveries"), (2, "bulk_actions")] {
        record(&store, NewMail { due_at, ..new_mail() }).await;
        let _lock = lock(&backends, table, "ACCESS EXCLUSIVE").await;
        let failure = scheduler::enqueue_due(&app).await.unwrap_err();
        assert!(format!("{failure:#}").contains("look for what is due"), "{failure:#}");
        assert_eq!(waiting(&app, Lane::Transactional).await, enqueued, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_cannot_be_marked_keep_no_due_mails_back() {
    let backends = Backends::postgres_redis().await;
    let store = open(&backends).await;
    let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
    register_endpoint(&store).await;
    let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
    let mail = claim(&store, id, worker).await;
    store.settle_mail(accepted(&mail, worker)).await.unwrap();
    let due_at = clock::now() - std::time::Duration::from_secs(60);
    record(&store, NewMail { due_at, ..new_mail() }).await;
    let _lock = lock(&backends, "deliveries", "SHARE").await;
    let failure = scheduler::enqueue_due(&app).await.unwrap_err();
    assert!(format!("{failure:#}").contains("mark what is due"), "{failure:#}");
    assert_eq!(waiting(&app, Lane::Transactional).await, 1);
}

async fn register_endpoint(store: &Store) {
    let endpoint = NewEndpoint {
        url: "https://shop.example/hook".to_owned(),
        topics: Topics::parse(&["email.sent"]).unwrap(),
        description: String::new(),
        enabled: true,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
    };
    store.register_endpoint(&merchant(), &endpoint).await.unwrap();
}

on_both! {
    async fn a_full_bulk_lane_keeps_no_other_lanes_retries_back(backends: Backends) {
        let store = open(&backends).await;
        let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
        fill(&app, Lane::Bulk, 29_000).await;
        let due = |lane| {
            let a_minute_ago = clock::now() - std::time::Duration::from_secs(60);
            NewMail { lane, due_at: a_minute_ago, ..new_mail() }
        };
        // What a mail looks like that was greylisted a while ago.
        record(&store, due(MailLane::Transactional)).await;
        record(&store, due(MailLane::Bulk)).await;
        assert_eq!(scheduler::enqueue_due(&app).await.unwrap(), 1);
        assert_eq!((waiting(&app, Lane::Transactional).await, waiting(&app, Lane::Bulk).await), (1, 29_000));
    }

    async fn a_merchant_that_fills_a_lane_keeps_no_other_merchants_retries_back(backends: Backends) {
        let store = open(&backends).await;
        let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
        fill(&app, Lane::Transactional, 20_001).await;
        let other: MerchantId = "rivals".parse().unwrap();
        let due = |merchant| {
            let a_minute_ago = clock::now() - std::time::Duration::from_secs(60);
            NewMail { merchant, due_at: a_minute_ago, ..new_mail() }
        };
        record(&store, due(merchant())).await;
        let of_the_other = record(&store, due(other.clone())).await;
        assert_eq!(scheduler::enqueue_due(&app).await.unwrap(), 1);
        let waits = app.queue.where_are(&[format!("send_mail:{of_the_other}")]).await.unwrap();
        assert_eq!(waits, [Whereabouts::Waiting]);
        assert_eq!(scheduler::enqueue_due(&app).await.unwrap(), 0, "its own stays in the database");
    }

    async fn mails_of_a_dead_worker_whose_clock_was_ahead_are_taken_and_those_of_a_live_one_are_not(backends: Backends) {
        let backends = backends.with("worker.silence", "2s");
        let store = open(&backends).await;
        let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
        let (dead, alive) = (WorkerId::new(), WorkerId::new());
        store.beat(dead, "dead", 1).await.unwrap();
        store.beat(alive, "alive", 1).await.unwrap();
        let mut mails = Vec::new();
        for worker in [dead, alive] {
            let id = record(&store, new_mail()).await;
            claim(&store, id, worker).await;
            mails.push(id);
        }
        // All of it is of an hour ahead.
        backends.execute("UPDATE workers SET heartbeat_at = heartbeat_at + 3600000").await;
        backends.execute("UPDATE mails SET due_at = due_at + 3600000, claimed_at = claimed_at + 3600000").await;
        let stop = CancellationToken::new();
        let rescuer = tokio::spawn(rescuer::run(Arc::clone(&app), stop.clone()));
        eventually("the mail of the dead one is taken", async || {
            backends.execute("UPDATE workers SET heartbeat_at = heartbeat_at + 1 WHERE host = 'alive'").await;
            state(&store, mails[0]).await == MailState::Queued
        })
        .await;
        assert_eq!(state(&store, mails[1]).await, MailState::Sending);
        let other = worker(&store).await;
        claim(&store, mails[0], other).await;
        stop.cancel();
        rescuer.await.unwrap();
    }

    async fn callbacks_that_this_process_recorded_do_not_wait_for_a_round(backends: Backends) {
        let store = open(&backends).await;
        let app = App::open(Config::load(Some(&backends.config()), []).unwrap()).await.unwrap();
        register_endpoint(&store).await;
        let stop = CancellationToken::new();
        let scheduler = tokio::spawn(scheduler::run_for_callbacks(Arc::clone(&app), stop.clone()));

        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
        let mail = claim(&store, id, worker).await;
        let settled = store.settle_mail(accepted(&mail, worker)).await.unwrap();
        assert_eq!(settled, Settled::Now { state: MailState::Sent, is_told: true });
        assert_eq!(waiting(&app, Lane::Callback).await, 0);
        app.callbacks_recorded.notify_one();
        eventually("the callback is enqueued", async || waiting(&app, Lane::Callback).await == 1).await;
        stop.cancel();
        scheduler.await.unwrap();
    }
}
