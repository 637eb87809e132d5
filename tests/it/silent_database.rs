//! A way to the database on which packets vanish: nobody says that a connection is gone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::Value;
use sqlx::{AnyConnection, Connection, Executor};
use tokio::time::sleep;

use super::support::{
    Backends, Cluster, Daemon, DatabaseProxy, Scene, Shop, addresses, times_caught, welcome, within,
};

/// A read or a transaction is waited for for 20 seconds, a connection for 10.
const LIMITS: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_more_are_replaced() {
    let cluster = Cluster::start();
    let (proxy, database) = DatabaseProxy::before(&cluster.new_database().await).await;
    let backends = Backends::on(database).await.with("http.timeout", "1s").with("worker.silence", "5m");
    let scene = Scene::open(backends).await;
    let before = scene.shop.send_to("before@example.net").await;
    scene.shop.wait_until(&before, "sent").await;

    let path = format!("/api/v1/mails/{before}");
    // More than there are connections, which have all been used a moment ago and are not asked whether they live.
    for (is_silent, expected) in [(false, 200), (true, 503)] {
        proxy.fall_silent(is_silent);
        let look_ups = (0..16).map(|_| scene.shop.get(&path));
        for answer in join_all(look_ups).await {
            answer.expect(expected);
        }
    }
    proxy.fall_silent(false);
    let heals = Instant::now();
    within(LIMITS, "look-ups are answered", async || scene.shop.get(&path).await.status == 200).await;
    within(LIMITS, "mails are recorded", async || {
        scene.shop.post("/mail", &welcome("before@example.net")).await.status == 200
    })
    .await;
    assert!(heals.elapsed() < LIMITS, "{:?}", heals.elapsed());
    for _ in 0..50 {
        scene.shop.get(&path).await.expect(200);
    }
}

/// A worker that reaches its database through a proxy, one merchant's shop, and the relay that takes all.
struct Far {
    _cluster: Cluster,
    proxy: DatabaseProxy,
    near: String,
    backends: Backends,
    shop: Shop,
    sink: Catcher,
    worker: Daemon,
    _ingress: Daemon,
}

impl Far {
    async fn start() -> Self {
        let cluster = Cluster::start();
        let near = cluster.new_database().await;
        let (proxy, far) = DatabaseProxy::before(&near).await;
        let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
        let mut backends = Backends::on(near.clone()).await.with_route_to(&sink).with("worker.silence", "4s");
        let ingress = Daemon::start_as("ingress", &backends).await;
        let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
        shop.fill_shelves().await;
        backends.set("database.url", far);
        let worker = Daemon::start_as("worker", &backends).await;
        backends.set("database.url", near.clone());
        Self { _cluster: cluster, proxy, near, backends, shop, sink, worker, _ingress: ingress }
    }

    async fn all_are_sent(&self, users: &[String]) {
        within(LIMITS, "all are sent", async || times_caught(&self.sink).len() == users.len()).await;
    }
}

/// The queue hears the worker all the while, so that only the worker itself can give its jobs back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_the_database_does_not_hear_leaves_its_batches_to_others() {
    let far = Far::start().await;
    let users = addresses("user", 4);
    far.shop.enrol_all(&users).await;
    far.proxy.fall_silent(true);
    let began = Instant::now();
    for user in users.chunks(1) {
        far.shop.send_all(user).await;
    }
    // It takes them while it is heard.
    sleep(Duration::from_secs(1)).await;
    let _other = Daemon::start_as("worker", &far.backends).await;
    far.all_are_sent(&users).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_not_blamed_for_a_worker_that_was_cut_off_over_them() {
    let far = Far::start().await;
    let users = addresses("user", 1);
    far.shop.enrol_all(&users).await;
    sqlx::any::install_default_drivers();
    let mut lock = AnyConnection::connect(&far.near).await.unwrap();
    lock.execute("BEGIN; LOCK TABLE mails IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let batch = far.shop.send_all(&users).await;
    within(LIMITS, "its users are begun with", async || tries(&far).await == 1).await;
    far.proxy.fall_silent(true);
    let is_given_back = |line: &Value| line["job"] == "fan_out_batch";
    within(LIMITS, "it is given back", async || far.worker.log().iter().any(is_given_back)).await;
    far.proxy.fall_silent(false);
    lock.close().await.unwrap();
    far.all_are_sent(&users).await;
    far.shop.until_batch(&batch, "finished").await;
    within(LIMITS, "the try is forgiven", async || tries(&far).await <= 1).await;
}

/// How often somebody began with the users of the batch.
async fn tries(far: &Far) -> i64 {
    far.backends.tally("SELECT 'tries', CAST(SUM(chunk_tries) AS BIGINT) FROM batches").await["tries"]
}
