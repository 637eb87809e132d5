//! What a kill -9 leaves behind, and who picks it up.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::json;

use super::support::{Backends, Daemon, Scene, Shop, welcome, within};

/// How many mails are under way when the process dies.
const UNDER_WAY: usize = 50;
/// From the restart to the last delivery: 15 s until the dead worker is taken for dead, and its mails' own 3 s.
const RECOVERY: Duration = Duration::from_secs(30);

fn slow(number: usize) -> String {
    format!("slow-3000-{number}@example.net")
}

/// Sends to each address and returns the mails' ids.
async fn send_all(shop: &Shop, addresses: impl Iterator<Item = String>) -> Vec<String> {
    join_all(addresses.map(async |address| shop.send_to(&address).await)).await
}

async fn count(shop: &Shop, state: &str) -> usize {
    let answer = shop.get(&format!("/api/v1/mails?state={state}&limit=1000")).await;
    answer.expect(200).json()["data"].as_array().unwrap().len()
}

/// How often each recipient's mail came, and how often the catcher could answer that it has it.
fn deliveries(sink: &Catcher) -> HashMap<String, (usize, usize)> {
    let mut deliveries: HashMap<String, (usize, usize)> = HashMap::new();
    for mail in sink.mails() {
        let (came, answered) = deliveries.entry(mail.recipient.clone()).or_default();
        *came += 1;
        *answered += usize::from(mail.answered);
    }
    deliveries
}

/// Settles some mails, gets others half-way, and returns how many were settled.
async fn work_until_half_way(shop: &Shop) -> usize {
    let settled = send_all(shop, (0..20).map(|number| format!("ok-{number}@example.net"))).await;
    for id in &settled {
        shop.wait_until(id, "sent").await;
    }
    send_all(shop, (0..UNDER_WAY).map(slow)).await;
    within(Duration::from_secs(3), "all are under way", async || count(shop, "sending").await == UNDER_WAY)
        .await;
    settled.len()
}

/// All are delivered in time, and only those whose outcome was unknown came twice.
async fn all_are_delivered(shop: &Shop, sink: &Catcher, settled: usize) {
    within(RECOVERY, "all are sent", async || count(shop, "sent").await == settled + UNDER_WAY).await;
    let deliveries = deliveries(sink);
    assert_eq!(deliveries.len(), settled + UNDER_WAY);
    for (recipient, (came, answered)) in deliveries {
        assert_eq!(answered, 1, "{recipient} was taken more than once");
        let may_come_twice = recipient.starts_with("slow");
        assert!(came == 1 || may_come_twice && came == 2, "{recipient} came {came} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_no_mail_and_repeats_only_what_was_under_way() {
    let mut scene = Scene::open(Backends::sqlite_memory()).await;
    let settled = work_until_half_way(&scene.shop).await;
    scene.daemon.kill_9();
    scene.daemon.start_again().await;
    all_are_delivered(&scene.shop, &scene.sink, settled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_loses_no_mail_and_requests_are_taken_meanwhile() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let mut worker = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let settled = work_until_half_way(&shop).await;
    worker.kill_9();
    shop.send_to("ok-meanwhile@example.net").await;
    worker.start_again().await;
    all_are_delivered(&shop, &sink, settled + 1).await;
}

on_both! {
    async fn a_mail_whose_template_says_hold_waits_for_a_person_after_a_crash(backends: Backends) {
        let mut scene = Scene::open(backends.with("worker.silence", "2s")).await;
        let template = json!({"brand_id": "tea", "title": "t", "subject": "s", "html": "<p>h</p>", "on_crash": "hold"});
        scene.shop.put("/api/v1/templates/welcome", &template).await.expect(200);
        let id = scene.shop.send_to("slow-3000@example.net").await;
        scene.shop.wait_until(&id, "sending").await;
        scene.daemon.kill_9();
        scene.daemon.start_again().await;

        let story = scene.shop.wait_until(&id, "held").await;
        assert_eq!(story["attempts"][0]["outcome"], "unknown");
        assert_eq!(scene.caught("slow-3000@example.net"), 1);
        scene.shop.post(&format!("/api/v1/mails/{id}/retry"), &json!({})).await.expect(200);
        scene.shop.wait_until(&id, "sent").await;
        assert_eq!(scene.caught("slow-3000@example.net"), 2);
    }

    async fn a_mail_accepted_a_moment_before_a_crash_is_sent(backends: Backends) {
        let backends = backends.with("worker.silence", "2s").with("queue.lease", "2s");
        let mut scene = Scene::open(backends).await;
        scene.shop.enrol("slow-1500@example.net").await;
        let body = welcome("slow-1500@example.net");
        // Some jobs are enqueued by then, some are not; none was run.
        let answers = join_all((0..5).map(|_| scene.shop.post("/mail", &body))).await;
        scene.daemon.kill_9();
        assert!(answers.iter().all(|answer| answer.status == 200));
        scene.daemon.start_again().await;
        within(RECOVERY, "all are sent", async || count(&scene.shop, "sent").await == 5).await;
    }
}
