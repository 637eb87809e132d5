//! What a batch survives: processes that are killed, jobs that are lost, requests that ended half-way.

use std::time::{Duration, Instant};

use postroom::{
    app::App,
    config::Config,
    jobs::{FanOutBatch, Job, Outcome, fan_out_batch_job},
    mail::{BatchId, Schedule},
    queue::{FetchBudget, QueuedJob},
    scheduler,
    shop::ResourceKind,
    store::{NewBatch, StagedChunk},
};
use serde_json::{Value, json, value::to_raw_value};

use super::support::{
    Backends, Daemon, Hook, Scene, Shop, addresses, eventually, times_caught, welcome_all, within,
};

const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How many attempts of each recipient's mail a relay accepted and said so.
const ACCEPTED: &str = "SELECT recipient, COUNT(*) FROM mails JOIN attempts ON attempts.mail_id = mails.id
    WHERE outcome = 'accepted' GROUP BY recipient";
/// Chunks of users whose mails are not made, by batch.
const CHUNKS: &str = "SELECT batch_id, COUNT(*) FROM batch_chunks GROUP BY batch_id";

/// Whose dead processes are noticed soon, and whose batches are made in several steps.
fn noticing_deaths(backends: Backends) -> Backends {
    backends
        .allowing_hooks()
        .with("worker.silence", "2s")
        .with("queue.lease", "2s")
        .with("batches.window", 1_000)
}

/// A batch of `welcome`s whose end this receiver is told.
async fn send_all(shop: &Shop, users: &[String], hook: &Hook) -> String {
    shop.enrol_all(users).await;
    let mut body = welcome_all(users);
    body["webhook_url"] = json!(hook.url);
    shop.send_batch(&body).await
}

/// Each of them was mailed, and only those more than once whose attempts the record calls unknown.
async fn nothing_is_lost_or_doubled(scene: &Scene, users: &[String], batch: &str) {
    let end = scene.shop.batch(batch).await;
    let mut counts = end["counts"].as_object().unwrap().clone();
    counts.retain(|_, mails| mails != 0);
    assert_eq!((&end["state"], json!(counts)), (&json!("finished"), json!({"sent": users.len()})), "{end}");
    let results = scene.shop.results(batch).await;
    let results = results["mails"].as_array().unwrap();
    assert_eq!(results.len(), users.len());
    assert!(results.iter().all(|mail| mail["mailing_status"] == "sent" && mail["mailing_error"].is_null()));

    let caught = times_caught(&scene.sink);
    assert_eq!(caught.len(), users.len(), "mails came for others");
    assert!(users.iter().all(|user| caught.contains_key(user)), "somebody was not mailed");
    scene.backends.nobody_got_more_than_is_on_record(&scene.sink).await;
    let accepted = scene.backends.tally(ACCEPTED).await;
    assert!(accepted.len() == users.len() && accepted.values().all(|times| *times == 1), "{accepted:?}");
}

on_both! {
    async fn a_batch_that_is_being_made_stops_with_its_process_and_goes_on(backends: Backends) {
        let mut scene = Scene::open(noticing_deaths(backends)).await;
        let mut hook = Hook::listen().await;
        let users = addresses("slow-20", 2_400);
        let id = send_all(&scene.shop, &users, &hook).await;
        within(BATCH_TIMEOUT, "some are caught", async || scene.sink.mails().len() > 50).await;
        let stopping = Instant::now();
        assert_eq!(scene.daemon.stop().await, 0);
        assert!(stopping.elapsed() < Duration::from_secs(8), "the stop took {:?}", stopping.elapsed());
        assert!(!scene.backends.tally(CHUNKS).await.is_empty(), "it was made already");
        assert!(scene.backends.unknown_outcomes().await.is_empty());
        scene.daemon.start_again().await;
        assert_eq!(hook.next(&scene.shop).await["status"], "success");
        assert_eq!(scene.sink.mails().len(), users.len());
        nothing_is_lost_or_doubled(&scene, &users, &id).await;
    }

    async fn a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(backends: Backends) {
        let mut scene = Scene::open(noticing_deaths(backends)).await;
        let mut hook = Hook::listen_in_silence().await;
        let users = addresses("slow-20", 1_800);
        let id = send_all(&scene.shop, &users, &hook).await;
        for caught in [150, 1_100] {
            within(BATCH_TIMEOUT, "some are caught", async || scene.sink.mails().len() > caught).await;
            scene.daemon.kill_9();
            scene.daemon.start_again().await;
        }
        // And once more while the receiver has the webhook and has not answered.
        let (first, _) = hook.next_unchecked().await;
        scene.daemon.kill_9();
        hook.speak();
        scene.daemon.start_again().await;
        let (again, body) = hook.next_unchecked().await;
        assert_eq!(first["webhook-id"], again["webhook-id"], "a receiver can tell that it had it");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&told["status"], &told["batch_id"]), (&json!("success"), &json!(id)));
        nothing_is_lost_or_doubled(&scene, &users, &id).await;
        assert!(!scene.backends.unknown_outcomes().await.is_empty(), "the kills hit nothing");
        assert!(hook.is_quiet(), "told once more than it was answered");
    }

    async fn a_batch_whose_jobs_are_lost_goes_on(backends: Backends) {
        let mut scene = Scene::open(noticing_deaths(backends)).await;
        let mut hook = Hook::listen().await;
        let users = addresses("slow-20", 1_800);
        let id = send_all(&scene.shop, &users, &hook).await;
        within(BATCH_TIMEOUT, "some are caught", async || scene.sink.mails().len() > 100).await;
        match &mut scene.backends.redis {
            Some(redis) => {
                redis.kill_9();
                redis.lose_data();
                redis.start_again().await;
            }
            // The embedded queue forgets its jobs with its process.
            None => {
                scene.daemon.kill_9();
                scene.daemon.start_again().await;
            }
        }
        assert_eq!(hook.next(&scene.shop).await["status"], "success");
        nothing_is_lost_or_doubled(&scene, &users, &id).await;
        if scene.backends.redis.is_some() {
            assert_eq!(scene.sink.mails().len(), users.len(), "nobody died, so nobody was mailed twice");
        }
    }

    async fn a_chunk_whose_job_was_lost_is_made_when_the_scheduler_enqueues_it(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        let users = addresses("ok", 1_500);
        scene.shop.enrol_all(&users).await;
        scene.daemon.stop().await;
        // The components, and nobody who runs jobs.
        let app = App::open(Config::load(Some(&scene.backends.config()), []).unwrap()).await.unwrap();
        let batch = record_batch(&app, &scene.shop, &users).await;
        let its_job = || [fan_out_batch_job(batch, scene.shop.merchant.parse().unwrap())];
        let run = async || FanOutBatch { batch }.run(&app).await.unwrap();
        let made = async || app.store.batch(None, batch).await.unwrap().unwrap().made;

        lose_jobs(&app).await;
        assert!(enqueue_due(&app).await.is_empty(), "the ingress enqueued it a moment ago");
        scene.backends.execute("UPDATE batches SET wake_at = 0").await;
        assert_eq!(enqueue_due(&app).await, its_job());
        assert_eq!((run().await, made().await), (Outcome::Done, 1_000));

        lose_jobs(&app).await;
        assert!(enqueue_due(&app).await.is_empty(), "its worker enqueued all of it a moment ago");
        scene.backends.execute("UPDATE batches SET wake_at = 0").await;
        assert_eq!(enqueue_due(&app).await, its_job());
        assert_eq!((run().await, made().await), (Outcome::Done, 1_500));
        lose_jobs(&app).await;
        scene.backends.execute("UPDATE mails SET wake_at = 0").await;
        assert_eq!(enqueue_due(&app).await.len(), 1_500, "a job for each mail, none for the batch");
        assert_eq!((run().await, made().await), (Outcome::Done, 1_500));
    }

    async fn users_of_requests_that_ended_without_a_batch_are_swept_after_a_day(backends: Backends) {
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        let users = addresses("ok", 2);
        shop.enrol_all(&users).await;
        // Of a batch that waits for long.
        let kept = shop.send_all(&users).await;
        shop.post(&format!("/api/v1/batches/{kept}/pause"), &json!({})).await.expect(200);
        daemon.stop().await;
        // Ids are UUIDv7: these begin with years long gone.
        backends.execute("UPDATE batches SET id = '01000000-0000-7000-8000-000000000001'").await;
        backends.execute("DELETE FROM batch_chunks").await;
        backends.execute(
            "INSERT INTO batch_chunks (batch_id, number, users) VALUES
                ('01000000-0000-7000-8000-000000000001', 0, '[]'), ('01000000-0000-7000-8000-000000000002', 0, '[]'),
                ('01000000-0000-7000-8000-000000000002', 1, '[]'), ('ff000000-0000-7000-8000-000000000003', 0, '[]')",
        ).await;
        daemon.start_again().await;
        let gone = "01000000-0000-7000-8000-000000000002";
        eventually("they are swept", async || !backends.tally(CHUNKS).await.contains_key(gone)).await;
        let mut left: Vec<_> = backends.tally(CHUNKS).await.into_keys().collect();
        left.sort();
        assert_eq!(left, ["01000000-0000-7000-8000-000000000001", "ff000000-0000-7000-8000-000000000003"]);
    }
}

/// Records a batch as its request does, but enqueues nothing.
async fn record_batch(app: &App, shop: &Shop, users: &[String]) -> BatchId {
    let (id, merchant) = (BatchId::new(), shop.merchant.parse().unwrap());
    let stored = async |kind, id| app.store.resource(&merchant, kind, id).await.unwrap().unwrap();
    let (brand, template) =
        (stored(ResourceKind::Brands, "tea").await, stored(ResourceKind::Templates, "welcome").await);
    let all: Vec<_> = users.iter().map(|user| json!({"identifier": user})).collect();
    let staged = |(number, users)| StagedChunk { number, users: to_raw_value::<[Value]>(users).unwrap() };
    let chunks: Vec<_> = (0..).zip(all.chunks(1_000)).map(staged).collect();
    app.store.stage_chunks(id, &chunks).await.unwrap();
    let batch = NewBatch {
        id,
        merchant,
        brand_id: brand.id,
        brand: brand.body,
        template: template.id,
        template_version: template.version.unwrap(),
        coupon: None,
        webhook_url: None,
        link: shop.merchant.clone(),
        mails: users.len() as u64,
        schedule: Schedule::default(),
        is_test: false,
    };
    app.store.record_batch(&batch, None).await.unwrap();
    id
}

/// Takes all jobs out of the queue, as a worker does that dies with them.
async fn lose_jobs(app: &App) -> Vec<QueuedJob> {
    let leases = app.queue.fetch(FetchBudget::for_any(10_000)).await.unwrap().leases;
    app.queue.finish(&leases).await.unwrap();
    leases.into_iter().map(|lease| lease.job).collect()
}

/// What the scheduler enqueues in one round.
async fn enqueue_due(app: &App) -> Vec<QueuedJob> {
    scheduler::enqueue_due(app).await.unwrap();
    lose_jobs(app).await
}
