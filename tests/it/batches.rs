//! `POST /mails`: who gets a mail, what becomes of a batch that is stopped or whose process dies, and who is told.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postroom::demo::catcher::{Catcher, CatcherOptions};
use serde_json::{Value, json};

use super::support::{
    Answer, Backends, Daemon, Hook, Scene, Shop, addresses, eventually, template, times_caught, welcome,
    welcome_all,
};

async fn move_batch(shop: &Shop, id: &str, wish: &str) -> Answer {
    shop.post(&format!("/api/v1/batches/{id}/{wish}"), &json!({})).await
}

on_both! {
    async fn a_batch_is_sent_and_its_end_is_told_once_with_a_link_to_its_results(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = Hook::listen().await;
        let users = addresses("ok", 1_200);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["webhook_url"] = json!(hook.url);
        body["users"].as_array_mut().unwrap().insert(1, json!({"identifier": "stranger"}));
        body["users"].as_array_mut().unwrap().push(json!({"identifier": users[0], "first_name": "Second"}));
        let answer = scene.shop.post("/mails", &body).await.expect(200).json();
        let id = answer["data"]["batch_id"].as_str().unwrap();
        let expected = json!({"message": "Request successful", "data": {"webhook_url": hook.url, "batch_id": id,
            "queued": users, "not_found": ["stranger"]}});
        assert_eq!(answer, expected);

        let told = hook.next(&scene.shop).await;
        let link = told["link"].as_str().unwrap();
        assert_eq!(told, json!({"status": "success", "batch_id": id, "link": link}));
        assert!(link.ends_with(&format!("/webhooks/mails/{id}")), "{link}");
        let results = scene.shop.results(id).await;
        assert_eq!(results["status"], "finished");
        for time in ["requested_at", "started_processing_at", "finished_processing_at"] {
            assert!(results[time].is_string(), "{time}");
        }
        let mails = results["mails"].as_array().unwrap();
        assert_eq!(mails.len(), 1_200);
        assert!(mails.iter().all(|mail| mail["mailing_status"] == "sent" && mail["mailing_error"].is_null()));
        let caught = times_caught(&scene.sink);
        assert!(users.iter().all(|user| caught[user] == 1) && caught.len() == 1_200);
        assert_eq!(scene.sink.find(&users[0]).unwrap().subject(), "Welcome, Ann");
        let shown = scene.shop.batch(id).await;
        assert_eq!((&shown["mails"], &shown["counts"]["sent"], &shown["counts"]["queued"]), (&json!(1200), &json!(1200), &json!(0)));
        assert!(hook.is_quiet(), "told once");
    }

    async fn results_come_whole_or_in_pages(backends: Backends) {
        let scene = Scene::open(backends).await;
        let users = addresses("ok", 5);
        scene.shop.enrol_all(&users).await;
        let id = scene.shop.send_all(&users).await;
        scene.shop.until_batch(&id, "finished").await;
        let all = scene.shop.results(&id).await["mails"].clone();
        let path = format!("/webhooks/mails/{id}");
        let first = scene.shop.get(&format!("{path}?limit=3")).await.expect(200).json()["data"]["mails"].clone();
        let last = first[2]["uuid"].as_str().unwrap();
        let rest = scene.shop.get(&format!("{path}?after={last}")).await.expect(200).json()["data"]["mails"].clone();
        let joined: Vec<_> = first.as_array().unwrap().iter().chain(rest.as_array().unwrap()).cloned().collect();
        assert_eq!(json!(joined), all);
        scene.shop.get(&format!("{path}?limit=0")).await.expect(422);
        scene.shop.get("/webhooks/mails/0192f0c1-2b34-7abc-8def-0123456789ab").await.expect(404);
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "coffee");
        other.get(&path).await.expect(404);
        other.get(&format!("/api/v1/batches/{id}")).await.expect(404);
    }

    async fn a_request_with_a_fault_is_refused_and_nothing_of_it_is_sent(backends: Backends) {
        let scene = Scene::open(backends.with("batches.max_users", 4).with("http.max_body", "4KiB")).await;
        let users = addresses("ok", 3);
        scene.shop.enrol_all(&users).await;
        let change = |path: &str, value: Value| {
            let mut body = welcome_all(&users);
            body[path] = value;
            body
        };
        let mut faulty = welcome_all(&users);
        faulty["users"].as_array_mut().unwrap().push(json!({"identifier": ""}));
        for (body, field) in [
            (faulty, "users.3.identifier"),
            (change("users", json!([])), "users"),
            (change("users", json!("all")), "users"),
            (change("users", json!([1])), "users.0"),
            (change("users", json!(vec![json!({"identifier": "a"}); 5])), "users"),
            (change("brand_id", json!("unknown")), "brand_id"),
            (change("template_id", json!(5)), "template_id"),
            (change("coupon_id", json!("unknown")), "coupon_id"),
            (change("webhook_url", json!("ftp://hooks.example")), "webhook_url"),
            (change("webhook_url", json!("http://127.0.0.1:9/hook")), "webhook_url"),
        ] {
            let refusal = scene.shop.post("/mails", &body).await.expect(422);
            assert_eq!(refusal.faulty_fields(), [field], "{body}");
        }
        scene.shop.post_text("/mails", "application/json", "{\"users\":[").await.expect(400);
        scene.shop.post_text("/mails", "text/plain", "{}").await.expect(415);
        scene.shop.post_text("/mails", "application/json", " ".repeat(5_000)).await.expect(413);
        let listed = scene.backends.command_line().run(&["batch", "list", "--json"]).expect(0);
        assert_eq!(listed.json(), json!([]));
    }

    async fn a_request_made_again_under_its_key_makes_no_second_batch(backends: Backends) {
        let scene = Scene::open(backends).await;
        let users = addresses("ok", 2);
        scene.shop.enrol_all(&users).await;
        let first = scene.shop.post_once("/mails", "k1", &welcome_all(&users)).await.expect(200);
        let again = scene.shop.post_once("/mails", "k1", &welcome_all(&users)).await.expect(200);
        assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));
        scene.shop.post_once("/mails", "k1", &welcome_all(&users[..1])).await.expect(422);
        let id = first.json()["data"]["batch_id"].as_str().unwrap().to_owned();
        scene.shop.until_batch(&id, "finished").await;
        assert_eq!(times_caught(&scene.sink), users.into_iter().map(|user| (user, 1)).collect());
    }

    async fn requests_under_one_key_at_the_same_moment_make_one_batch(backends: Backends) {
        let scene = Scene::open(backends).await;
        let users = addresses("ok", 3);
        scene.shop.enrol_all(&users).await;
        let body = welcome_all(&users);
        let answers = join_all((0..4).map(|_| scene.shop.post_once("/mails", "k1", &body))).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert!(refused.iter().all(|answer| answer.status == 409 && answer.header("retry-after").is_some()), "{refused:?}");
        assert!(!done.is_empty() && done.iter().all(|answer| answer.body == done[0].body), "{done:?}");
        let listed = scene.backends.command_line().run(&["batch", "list", "--json"]).expect(0).json();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        scene.shop.until_batch(listed[0]["id"].as_str().unwrap(), "finished").await;
        assert_eq!(times_caught(&scene.sink), users.into_iter().map(|user| (user, 1)).collect());
    }

    async fn a_user_without_a_needed_tag_fails_alone_and_a_changed_template_changes_nothing(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut needy = template();
        needy["subject"] = json!("In {{city}}");
        scene.shop.put("/api/v1/templates/welcome", &needy).await.expect(200);
        let users = addresses("slow-300", 3);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        for index in [0, 2] {
            body["users"][index]["city"] = json!("Bonn");
        }
        let answer = scene.shop.post("/mails", &body).await.expect(200).json();
        let id = answer["data"]["batch_id"].as_str().unwrap();
        scene.shop.delete("/api/v1/templates/welcome").await.expect(204);
        let end = scene.shop.until_batch(id, "finished").await;
        assert_eq!((&end["counts"]["sent"], &end["counts"]["failed"]), (&json!(2), &json!(1)));
        let results = scene.shop.results(id).await;
        let failed = results["mails"].as_array().unwrap().iter().find(|mail| mail["mailing_status"] == "failed").unwrap();
        assert!(failed["mailing_error"].as_str().unwrap().contains("city"), "{failed}");
        assert_eq!(scene.sink.find(&users[0]).unwrap().subject(), "In Bonn");
        assert_eq!(scene.caught(&users[1]), 0);
    }

    async fn a_batch_of_strangers_is_finished_at_once(backends: Backends) {
        let scene = Scene::open(backends).await;
        let strangers = addresses("stranger", 2);
        let answer = scene.shop.post("/mails", &welcome_all(&strangers)).await.expect(200).json();
        assert_eq!((&answer["data"]["queued"], &answer["data"]["not_found"]), (&json!([]), &json!(strangers)));
        scene.shop.until_batch(answer["data"]["batch_id"].as_str().unwrap(), "finished").await;
    }

    async fn a_paused_batch_sends_nothing_until_it_is_resumed(backends: Backends) {
        let scene = Scene::open(backends.with("worker.concurrency", 4)).await;
        let users = addresses("slow-100", 200);
        scene.shop.enrol_all(&users).await;
        let id = scene.shop.send_all(&users).await;
        eventually("some are sent", async || !scene.sink.mails().is_empty()).await;
        assert_eq!(move_batch(&scene.shop, &id, "pause").await.expect(200).json()["paused"], true);
        eventually("what was under way is done", async || scene.shop.batch(&id).await["counts"]["sending"] == 0).await;
        let sent = scene.sink.mails().len();
        assert!(sent < 200, "{sent}");
        // Another mail passes the whole queue meanwhile.
        let other = scene.shop.send_to("ok-other@example.net").await;
        scene.shop.wait_until(&other, "sent").await;
        assert_eq!(scene.sink.mails().len(), sent + 1);
        // Who pauses it again changes nothing, and is told so on the command line.
        assert_eq!(move_batch(&scene.shop, &id, "pause").await.expect(200).json()["paused"], true);
        let commands = scene.backends.command_line();
        assert!(commands.run(&["batch", "pause", &id]).expect(1).err.contains("is paused already"));
        let resumed = commands.run(&["batch", "resume", &id, "--json"]).expect(0).json();
        assert_eq!((&resumed["paused"], &resumed["merchant"]), (&json!(false), &json!("tea-co")));
        assert!(commands.run(&["batch", "resume", &id]).expect(1).err.contains("is not paused"));
        let audit = commands.run(&["audit", "list", "--json"]).expect(0).json();
        let of_it = audit.as_array().unwrap().iter().filter(|entry| entry["target"] == *id).count();
        assert_eq!(of_it, 2, "{audit:#}");
        scene.shop.until_batch(&id, "finished").await;
        let caught = times_caught(&scene.sink);
        assert!(users.iter().all(|user| caught[user] == 1));
        move_batch(&scene.shop, &id, "pause").await.expect(409);
    }

    async fn a_cancelled_batch_sends_nothing_more_and_is_told_as_failed(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks().with("worker.concurrency", 4)).await;
        let mut hook = Hook::listen().await;
        let users = addresses("slow-100", 1_500);
        scene.shop.enrol_all(&users).await;
        let mut body = welcome_all(&users);
        body["webhook_url"] = json!(hook.url);
        let answer = scene.shop.post("/mails", &body).await.expect(200).json();
        let id = answer["data"]["batch_id"].as_str().unwrap();
        eventually("some are sent", async || !scene.sink.mails().is_empty()).await;
        move_batch(&scene.shop, id, "cancel").await.expect(200);
        assert_eq!(hook.next(&scene.shop).await, json!({"status": "failed", "batch_id": id, "error": "cancelled"}));
        let mut counts = Value::Null;
        eventually("all are settled", async || {
            let shown = scene.shop.batch(id).await;
            counts = shown["counts"].clone();
            counts["sent"].as_u64().unwrap() + counts["cancelled"].as_u64().unwrap() == 1_500
        })
        .await;
        assert_eq!(scene.sink.mails().len() as u64, counts["sent"].as_u64().unwrap());
        assert_eq!(scene.shop.results(id).await["status"], "cancelled");
        move_batch(&scene.shop, id, "resume").await.expect(409);
    }

    async fn a_small_batch_does_not_wait_for_another_merchants_large_one(backends: Backends) {
        let scene = Scene::open(backends.with("worker.concurrency", 4)).await;
        let large = addresses("slow-50", 3_000);
        scene.shop.enrol_all(&large).await;
        let id = scene.shop.send_all(&large).await;
        eventually("the large one is under way", async || scene.sink.mails().len() > 10).await;
        let other = Shop::open(&scene.daemon, &scene.backends.command_line(), "coffee");
        other.fill_shelves().await;
        let small = addresses("small", 10);
        other.enrol_all(&small).await;
        let begun = Instant::now();
        let small = other.send_all(&small).await;
        other.until_batch(&small, "finished").await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let single = scene.shop.post("/mail", &welcome(&large[0])).await.expect(200).json();
        let single = single["data"][&large[0]]["transaction_id"].as_str().unwrap().to_owned();
        scene.shop.wait_until(&single, "sent").await;
        assert_eq!(scene.shop.batch(&id).await["state"], "processing");
    }

    async fn a_small_batch_is_over_while_two_large_ones_began_with_it_or_before_it(backends: Backends) {
        let scene = Scene::open(backends.with("worker.concurrency", 4)).await;
        let commands = scene.backends.command_line();
        let [first, second, small] = ["first", "second", "small"].map(|id| Shop::open(&scene.daemon, &commands, id));
        let (many, few) = (addresses("slow-200", 2_000), addresses("ok", 10));
        for (shop, members) in [(&first, &many), (&second, &many), (&small, &few)] {
            shop.fill_shelves().await;
            shop.enrol_all(members).await;
        }
        let few_are_sent = async || {
            let id = small.send_all(&few).await;
            assert_eq!(small.until_batch(&id, "finished").await["counts"]["sent"], 10);
        };
        let (one, two, ()) = tokio::join!(first.send_all(&many), second.send_all(&many), few_are_sent());
        let sent = async || {
            let (one, two) = (first.batch(&one).await, second.batch(&two).await);
            [one, two].map(|batch| batch["counts"]["sent"].as_u64().unwrap())
        };
        let five_percent = 2_000 / 20;
        assert!(sent().await.iter().all(|sent| *sent < five_percent), "{:?}", sent().await);
        eventually("both are under way", async || sent().await.iter().all(|sent| *sent > 0)).await;
        let before = sent().await;
        few_are_sent().await;
        let after = sent().await;
        assert!(after.iter().zip(before).all(|(after, before)| after - before < five_percent), "{before:?} {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_its_own_runs_batches() {
    let sink = Catcher::start(CatcherOptions::default()).await.unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let _worker = Daemon::start_as("worker", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let users = addresses("ok", 20);
    shop.enrol_all(&users).await;
    let id = shop.send_all(&users).await;
    shop.until_batch(&id, "finished").await;
    assert_eq!(times_caught(&sink).len(), 20);
}
