//! How a batch ends, who is told, and what its mails carry: batches that cannot be run, events, passes.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};

use super::support::{Backends, Hook, Scene, addresses, template, welcome, welcome_all, within};

const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Chunks of users whose mails are not made, by batch.
const CHUNKS: &str = "SELECT batch_id, COUNT(*) FROM batch_chunks GROUP BY batch_id";

/// A receiver of these events.
async fn listen(scene: &Scene, events: &[&str]) -> Hook {
    let hook = Hook::listen().await;
    scene.shop.post("/webhooks", &json!({"url": hook.url, "events": events})).await.expect(201);
    hook
}

/// The next event; those are signed with the endpoint's secret.
async fn event(scene: &Scene, hook: &mut Hook, kind: &str) -> Value {
    let event = hook.next(&scene.shop).await;
    assert_eq!(event["type"], kind);
    event["data"].clone()
}

on_both! {
    async fn the_end_of_a_batch_is_told_to_those_who_listen_for_it(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut ends = listen(&scene, &["batch.finished", "batch.failed"]).await;
        let mut failures = listen(&scene, &["batch.failed"]).await;
        let users = [addresses("ok", 3), addresses("reject", 2)].concat();
        scene.shop.enrol_all(&users).await;
        let id = scene.shop.send_all(&users).await;
        let told = event(&scene, &mut ends, "batch.finished").await;
        let link = format!("http://127.0.0.1:8025/webhooks/mails/{id}");
        assert_eq!(told, json!({"id": id, "status": "finished", "mails": 5, "sent": 3, "failed": 2, "link": link, "error": null}));

        let waiting = addresses("slow-200", 400);
        scene.shop.enrol_all(&waiting).await;
        let id = scene.shop.send_all(&waiting).await;
        scene.shop.post(&format!("/api/v1/batches/{id}/cancel"), &json!({})).await.expect(200);
        for hook in [&mut ends, &mut failures] {
            let told = event(&scene, hook, "batch.failed").await;
            assert_eq!((&told["id"], &told["status"], &told["mails"]), (&json!(id), &json!("failed"), &json!(400)));
            assert_eq!((&told["error"], &told["link"]), (&json!("cancelled"), &Value::Null));
        }
        assert!(ends.is_quiet() && failures.is_quiet(), "each is told once");
    }

    async fn a_batch_whose_users_end_their_worker_again_and_again_fails(backends: Backends) {
        let backends = backends.allowing_hooks().with("batches.window", 1_000).with("worker.concurrency", 8);
        let scene = Scene::open(backends).await;
        let mut hook = Hook::listen().await;
        let users = addresses("slow-10", 1_500);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["webhook_url"] = json!(hook.url);
        let id = scene.shop.send_batch(&body).await;
        within(BATCH_TIMEOUT, "the first are sent", async || !scene.sink.mails().is_empty()).await;
        pause(&scene, &id).await;
        assert!(scene.backends.tally(CHUNKS).await[&id] > 0);
        let made = scene.backends.tally("SELECT 'made', made FROM batches").await["made"];
        // What five workers that died over the next of them left behind.
        let five_died = "UPDATE batches SET chunk = (SELECT MIN(number) FROM batch_chunks), chunk_tries = 5";
        scene.backends.execute(five_died).await;
        scene.shop.post(&format!("/api/v1/batches/{id}/resume"), &json!({})).await.expect(200);

        let why = "its worker ended 5 times over the same users";
        assert_eq!(hook.next(&scene.shop).await, json!({"status": "failed", "batch_id": id, "error": why}));
        let end = scene.shop.until_batch(&id, "failed").await;
        assert_eq!((&end["error"], &end["counts"]["failed"]), (&json!(why), &json!(1_500 - made)));
    }

    async fn a_batch_that_cannot_be_run_fails_and_what_was_made_of_it_goes_on(backends: Backends) {
        let backends = backends.allowing_hooks().with("batches.window", 1_000).with("worker.concurrency", 8);
        let scene = Scene::open(backends).await;
        let mut events = listen(&scene, &["batch.finished", "batch.failed"]).await;
        let mut hook = Hook::listen().await;
        let users = addresses("slow-10", 2_500);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["webhook_url"] = json!(hook.url);
        let id = scene.shop.send_batch(&body).await;
        within(BATCH_TIMEOUT, "some are sent", async || !scene.sink.mails().is_empty()).await;
        pause(&scene, &id).await;
        let made = scene.backends.tally("SELECT 'made', made FROM batches").await["made"];
        assert!((1..2_500).contains(&made), "{made}");
        scene.backends.execute("UPDATE batches SET brand = '{'").await;
        scene.shop.post(&format!("/api/v1/batches/{id}/resume"), &json!({})).await.expect(200);

        let why = "the brand cannot be read";
        assert_eq!(hook.next(&scene.shop).await, json!({"status": "failed", "batch_id": id, "error": why}));
        let told = event(&scene, &mut events, "batch.failed").await;
        assert_eq!((&told["id"], &told["mails"], &told["error"]), (&json!(id), &json!(2_500), &json!(why)));
        let mut end = Value::Null;
        within(BATCH_TIMEOUT, "what was made is sent", async || {
            end = scene.shop.batch(&id).await;
            end["counts"]["sent"] == made
        })
        .await;
        assert_eq!((&end["state"], &end["error"]), (&json!("failed"), &json!(why)));
        let mut counts = end["counts"].as_object().unwrap().clone();
        counts.retain(|_, mails| mails != 0);
        assert_eq!(json!(counts), json!({"sent": made, "failed": 2_500 - made}));
        assert_eq!(scene.shop.results(&id).await["status"], "failed");
        assert_eq!(scene.sink.mails().len() as i64, made);
        within(BATCH_TIMEOUT, "the other users are forgotten", async || scene.backends.tally(CHUNKS).await.is_empty()).await;
        scene.shop.post(&format!("/api/v1/batches/{id}/resume"), &json!({})).await.expect(409);
        assert!(hook.is_quiet() && events.is_quiet(), "each is told once");
    }

    async fn each_member_of_a_batch_with_a_coupon_gets_a_pass_of_its_own(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut invitation = template();
        invitation["html"] = json!("<p>{{link_to_pass}}</p>");
        invitation["text"] = json!("{{link_to_pass}}");
        invitation["class"] = json!("transactional"); // nothing stands below it
        scene.shop.put("/api/v1/templates/welcome", &invitation).await.expect(200);
        let coupon = json!({"brand_id": "tea", "title": "A free pot", "code": "POT"});
        scene.shop.put("/api/v1/coupons/pot", &coupon).await.expect(201);
        let users = addresses("ok", 3);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["coupon_id"] = json!("pot");
        body["users"][2]["link_to_pass"] = json!("https://passes.example/own");
        let id = scene.shop.send_batch(&body).await;
        let end = scene.shop.until_batch(&id, "finished").await;
        assert_eq!(end["counts"]["sent"], 3, "{end}");

        let link = |user: &String| scene.sink.find(user).unwrap().text().unwrap().trim().to_owned();
        let links: Vec<_> = users.iter().map(link).collect();
        assert_eq!(links[2], "https://passes.example/own", "a caller's own link stands");
        assert_eq!(links.iter().collect::<HashSet<_>>().len(), 3);
        for link in &links[..2] {
            let path = link.strip_prefix("http://127.0.0.1:8025").unwrap();
            assert!(scene.shop.get(path).await.expect(200).body.contains("A free pot"));
        }
        // A member has one pass of a coupon, however it is sent.
        let mut again = welcome(&users[0]);
        again["coupon_id"] = json!("pot");
        scene.sink.clear();
        scene.shop.post("/mail", &again).await.expect(200);
        within(BATCH_TIMEOUT, "it is caught", async || scene.sink.find(&users[0]).is_some()).await;
        assert_eq!(link(&users[0]), links[0]);
    }
}

/// Pauses a batch, and waits for the end of a step that was under way: after a resume it would still be made.
async fn pause(scene: &Scene, batch: &str) {
    scene.shop.post(&format!("/api/v1/batches/{batch}/pause"), &json!({})).await.expect(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
}
