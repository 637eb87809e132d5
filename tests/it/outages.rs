//! A queue, a database or a relay that is away, and what becomes of mails meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use postroom::demo::catcher::{Catcher, CatcherOptions};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Answer, Backends, Cluster, Daemon, Hook, Scene, Shop, eventually, welcome, within};

/// What `/readyz` says of one dependency.
fn dependency(readiness: &Answer, name: &str) -> bool {
    let readiness = readiness.json();
    let found = readiness["dependencies"].as_array().unwrap().iter().find(|found| found["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not named: {readiness}"))["ok"].as_bool().unwrap()
}

/// Why `/readyz` says that a dependency is away.
fn why(readiness: &Answer, name: &str) -> String {
    let readiness = readiness.json();
    let found = readiness["dependencies"].as_array().unwrap().iter().find(|found| found["name"] == name);
    found.unwrap()["detail"].as_str().unwrap().to_owned()
}

/// Kills Redis, asks for mails, and brings it back; returns after they are sent.
async fn redis_goes_and_comes_back(loses_its_data: bool) {
    let mut scene = Scene::open(Backends::postgres_redis().await).await;
    let before = scene.shop.send_to("ok-before@example.net").await;
    scene.shop.wait_until(&before, "sent").await;
    let redis = scene.backends.redis.as_mut().unwrap();
    redis.kill_9();
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(scene.shop.send_to(&format!("ok-{number}@example.net")).await);
    }
    let readiness = scene.daemon.admin("/readyz").await.expect(200);
    assert!(!dependency(&readiness, "queue") && dependency(&readiness, "database"));
    assert!(why(&readiness, "queue").to_lowercase().contains("connection refused"), "{}", readiness.body);

    if loses_its_data {
        redis.lose_data();
    }
    redis.start_again().await;
    for id in &ids {
        scene.shop.wait_until(id, "sent").await;
    }
    let after = scene.shop.send_to("ok-after@example.net").await;
    scene.shop.wait_until(&after, "sent").await;
    assert_eq!(scene.sink.count(), 5, "each came once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_accepted_while_redis_is_away_and_sent_when_it_is_back() {
    redis_goes_and_comes_back(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_accepted_while_redis_is_away_and_sent_when_it_is_back_without_its_data() {
    redis_goes_and_comes_back(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_redis_lost_while_nobody_looked_are_enqueued_again() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let mut backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let id = shop.send_to("ok@example.net").await;
    let redis = backends.redis.as_mut().unwrap();
    redis.kill_9();
    redis.lose_data();
    redis.start_again().await;
    let _worker = Daemon::start_as("worker", &backends).await;
    shop.wait_until(&id, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_postgres_could_not_commit_is_answered_503_and_never_sent() {
    let mut cluster = Cluster::start();
    let scene = Scene::open(Backends::on(cluster.new_database().await).await).await;
    scene.shop.enrol("ok@example.net").await;
    let first = scene.shop.send_to("ok-first@example.net").await;
    scene.shop.wait_until(&first, "sent").await;

    cluster.stop_server();
    let answer = scene.shop.post("/mail", &welcome("ok@example.net")).await.expect(503);
    assert!(answer.header("retry-after").is_some());
    assert!(answer.json()["message"].is_string());
    assert!(!dependency(&scene.daemon.admin("/readyz").await.expect(503), "database"));

    cluster.start_server();
    eventually("the daemon is ready again", async || scene.daemon.admin("/readyz").await.status == 200).await;
    let last = scene.shop.send_to("ok-last@example.net").await;
    scene.shop.wait_until(&last, "sent").await;
    assert_eq!(scene.caught("ok@example.net"), 0);
    let listed = scene.shop.get("/api/v1/mails").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_accepted_before_postgres_went_away_is_sent_when_it_is_back() {
    let mut cluster = Cluster::start();
    let scene = Scene::open(Backends::on(cluster.new_database().await).await).await;
    let id = scene.shop.send_to("slow-1500@example.net").await;
    scene.shop.wait_until(&id, "sending").await;
    cluster.stop_server();
    assert!(scene.sink.wait_for(1, Duration::from_secs(5)).await, "the attempt goes on");
    cluster.start_server();
    within(Duration::from_secs(30), "it is settled or sent again", async || {
        scene.shop.get(&format!("/api/v1/mails/{id}")).await.json()["state"] == "sent"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relays_reply_while_postgres_was_away_is_not_forgotten() {
    let mut cluster = Cluster::start();
    let backends = Backends::on(cluster.new_database().await).await.with("worker.silence", "5m");
    let scene = Scene::open(backends).await;
    let id = scene.shop.send_to("slow-500@example.net").await;
    scene.shop.wait_until(&id, "sending").await;
    cluster.stop_server();
    assert!(scene.sink.wait_for(1, Duration::from_secs(5)).await, "the attempt goes on");
    // Longer than a statement waits for the database.
    within(Duration::from_secs(20), "the database fails the worker", async || {
        scene.daemon.log().iter().any(|line| line["mail"] == *id && line["level"] == "WARN")
    })
    .await;

    cluster.start_server();
    eventually("the daemon is ready again", async || scene.daemon.admin("/readyz").await.status == 200).await;
    let story = scene.shop.wait_until(&id, "sent").await;
    assert_eq!(story["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(scene.sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receivers_answer_while_postgres_was_away_is_not_forgotten() {
    let mut cluster = Cluster::start();
    let backends = Backends::on(cluster.new_database().await).await.with("worker.silence", "5m");
    let scene = Scene::open(backends.allowing_hooks()).await;
    let mut hook = Hook::listen_in_silence().await;
    let endpoint = scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["*"]})).await.expect(201);
    let id = endpoint.json()["data"]["id"].as_str().unwrap().to_owned();
    scene.shop.send_to("ok@example.net").await;
    let (headers, _) = hook.next_unchecked().await;
    cluster.stop_server();
    hook.speak();
    within(Duration::from_secs(20), "the database fails the worker", async || {
        scene.daemon.log().iter().any(|line| line["delivery"].is_string() && line["level"] == "WARN")
    })
    .await;

    cluster.start_server();
    eventually("the daemon is ready again", async || scene.daemon.admin("/readyz").await.status == 200).await;
    let mut delivery = Value::Null;
    eventually("the webhook is on record as delivered", async || {
        let deliveries = scene.shop.get(&format!("/webhooks/{id}/deliveries")).await.expect(200).json();
        delivery = deliveries["data"][0].clone();
        delivery["state"] == "delivered"
    })
    .await;
    assert_eq!(delivery["attempts_made"], 1, "{delivery}");
    assert_eq!(delivery["webhook_id"], headers["webhook-id"].to_str().unwrap());
    assert!(hook.is_quiet(), "it came once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_finds_no_postgres_says_why() {
    let backends =
        Backends::sqlite_memory().with("database.url", "postgres://postgres:secret@127.0.0.1:1/none");
    let ended = backends.command_line().run(&["migrate"]).expect(1);
    assert!(ended.err.to_lowercase().contains("connection refused"), "{}", ended.err);
    assert!(!ended.err.contains("secret"), "{}", ended.err);
}

/// Requests that come at once; how many of them are accepted.
async fn accepted(shop: &Shop, requests: usize) -> usize {
    let welcome = welcome("ok@example.net");
    let answers = join_all((0..requests).map(|_| shop.post("/mail", &welcome))).await;
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_began_while_postgres_took_no_writes_are_replaced() {
    let cluster = Cluster::start();
    let url = cluster.new_database().await;
    let name = url.rsplit('/').next().unwrap().to_owned();
    let scene = Scene::open(Backends::on(url).await).await;
    scene.shop.enrol("ok@example.net").await;

    cluster.execute(format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let sessions = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    cluster.execute(sessions).await;
    eventually("nothing is accepted", async || accepted(&scene.shop, 20).await == 0).await;
    // A session that ended is the reason at first.
    eventually("it is said why", async || {
        let readiness = scene.daemon.admin("/readyz").await;
        readiness.status == 503 && why(&readiness, "database").contains("read-only transaction")
    })
    .await;
    within(Duration::from_secs(25), "the metric says so too", async || {
        let metrics = scene.daemon.admin("/metrics").await.body;
        metrics.contains("postroom_dependency_up{dependency=\"database\"} 0")
    })
    .await;
    assert_eq!(accepted(&scene.shop, 20).await, 0);

    cluster.execute(format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    eventually("the daemon is ready again", async || scene.daemon.admin("/readyz").await.status == 200).await;
    eventually("all are accepted", async || accepted(&scene.shop, 20).await == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_are_accepted_whatever_isolation_the_database_has_by_default() {
    let cluster = Cluster::start();
    let url = cluster.new_database().await;
    let name = url.rsplit('/').next().unwrap().to_owned();
    cluster
        .execute(format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
        .await;
    let scene = Scene::open(Backends::on(url).await).await;
    scene.shop.enrol("ok@example.net").await;
    assert_eq!(accepted(&scene.shop, 100).await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_database_is_moved_away_accepts_nothing_more_and_ends() {
    let mut scene = Scene::open(Backends::sqlite_memory()).await;
    scene.shop.enrol("ok@example.net").await;
    let file = |name: &str| scene.backends.folder().join(name);
    std::fs::rename(file("postroom.db"), file("elsewhere.db")).unwrap();
    let asked = scene.shop.request(Method::POST, "/mail").json(&welcome("ok@example.net")).send().await;
    assert!(asked.as_ref().is_ok_and(|answer| answer.status() != 200) || asked.is_err(), "{asked:?}");
    assert_eq!(scene.daemon.end().await, 1);
    let log = scene.daemon.log_text();
    assert!(log.contains("postroom.db was moved, removed or replaced while it was open"), "{log}");
}

on_both! {
    async fn without_a_route_mails_wait_and_readiness_says_so(backends: Backends) {
        let mut backends = backends;
        let mut daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        let id = shop.send_to("ok@example.net").await;
        let readiness = daemon.admin("/readyz").await.expect(200);
        assert!(!dependency(&readiness, "routes") && readiness.body.contains("no route"));

        daemon.stop().await;
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        backends = backends.with_route_to(&sink);
        daemon.start_again().await;
        assert!(dependency(&daemon.admin("/readyz").await.expect(200), "routes"));
        let story = shop.wait_until(&id, "sent").await;
        assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "waiting was no attempt");
        drop(backends);
    }

    async fn a_relay_that_is_away_puts_mails_off_and_gets_them_when_it_is_back(backends: Backends) {
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let address = sink.smtp_addr();
        let backends = backends.with_route_to(&sink).with("retry.first", "300ms");
        sink.stop().await;
        let daemon = Daemon::start(&backends).await;
        let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        let id = shop.send_to("ok@example.net").await;
        let story = shop.wait_until(&id, "deferred").await;
        assert_eq!(story["attempts"][0]["outcome"], "transient");
        assert_eq!(story["attempts"][0]["phase"], "connect");
        assert!(!dependency(&daemon.admin("/readyz").await.expect(200), "routes"));

        let back = Catcher::start(CatcherOptions { smtp: address, ..CatcherOptions::default() }).await.unwrap();
        within(Duration::from_secs(30), "it is sent", async || shop.mail(&id).await["state"] == "sent").await;
        assert_eq!(back.count(), 1);
    }
}
