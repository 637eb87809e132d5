//! Bodies that are small as text and large as values, or that no value can hold: refused where they arrive, and nobody
//! else notices.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{Answer, Backends, Daemon, Scene, Shop, addresses, send, welcome, welcome_all};

const MEBIBYTE: u64 = 1 << 20;

/// A request for a mail with this text of JSON as a value.
fn with_value(value: &str) -> String {
    let request = json!({"brand_id": "tea", "template_id": "welcome",
        "user": {"identifier": "ok@example.net", "x": "VALUE"}});
    request.to_string().replace("\"VALUE\"", value)
}

/// So many bytes of objects with one field each.
fn tiny_objects(bytes: usize) -> String {
    format!("[{}0]", "{\"a\":0},".repeat(bytes / 8))
}

async fn post(shop: &Shop, path: &str, body: String) -> Answer {
    shop.post_text(path, "application/json", body).await
}

/// Values that cannot be held.
fn unreadable() -> [String; 4] {
    [
        format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)),
        "1e999".to_owned(),
        "9".repeat(5_000),
        "\"\\ud800\"".to_owned(),
    ]
}

on_both! {
    async fn values_that_cannot_be_taken_are_refused_by_their_field(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = &scene.shop;
        shop.enrol("ok@example.net").await;
        let too_large = format!("\"{}\"", "x".repeat(65_536));
        for value in unreadable().iter().chain([&too_large]) {
            let refusal = post(shop, "/mail", with_value(value)).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["user"], "{value:.40}");
            let preview = format!("{{\"user\":{{\"x\":{value}}}}}");
            let refusal = post(shop, "/api/v1/templates/welcome/preview", preview).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["user"], "{value:.40}");
            let member = format!("{{\"brand_id\":\"tea\",\"email\":\"ok@example.net\",\"tags\":{{\"x\":{value}}}}}");
            let put = shop.request(reqwest::Method::PUT, "/api/v1/members/ann").header("content-type", "application/json");
            let refusal = send(put.body(member)).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["tags"], "{value:.40}");
        }
        for path in ["brand_id", "template_id"] {
            let mut request = welcome("ok@example.net");
            request[path] = json!("x".repeat(256));
            assert_eq!(shop.post("/mail", &request).await.expect(422).faulty_fields(), [path]);
        }
        let refusal = shop.post("/mail", &welcome(&"x".repeat(256))).await.expect(422);
        assert_eq!(refusal.faulty_fields(), ["user.identifier"]);
        let within = format!("\"{}\"", "x".repeat(65_000));
        post(shop, "/mail", with_value(&within)).await.expect(200);
    }

    async fn a_user_of_a_batch_that_cannot_be_read_is_named(backends: Backends) {
        let scene = Scene::open(backends).await;
        let users = addresses("ok", 6);
        scene.shop.enrol_all(&users).await;
        let too_large = format!("\"{}\"", "x".repeat(65_536));
        let endless = format!("\"{}\"", "x".repeat(2_000_000));
        for value in unreadable().iter().chain([&too_large, &endless]) {
            let mut body = welcome_all(&users);
            body["users"][3]["x"] = json!("VALUE");
            let body = body.to_string().replace("\"VALUE\"", value);
            let refusal = post(&scene.shop, "/mails", body).await.expect(422);
            assert_eq!(refusal.faulty_fields(), ["users.3"], "{value:.40}");
        }
        let long = welcome_all(&["x".repeat(256)]);
        assert_eq!(scene.shop.post("/mails", &long).await.expect(422).faulty_fields(), ["users.0.identifier"]);
        let listed = scene.backends.command_line().run(&["batch", "list", "--json"]).expect(0);
        assert_eq!(listed.json(), json!([]));
    }

    async fn hostile_bodies_take_little_memory_and_stop_nobody(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let hostile = Shop::open(&scene.daemon, &scene.backends.command_line(), "hostile");
        hostile.fill_shelves().await;
        hostile.enrol("ok@example.net").await;
        let (huge, largest) = (tiny_objects(8_000_000), tiny_objects(65_000));
        let huge_field = format!("{{\"brand_id\":{huge}}}");
        let attack = join_all((0..64).map(|number| {
            let (path, body) = match number % 4 {
                0 => ("/mail", with_value(&huge)),
                1 => ("/mail", with_value(&largest)),
                2 => ("/api/v1/templates/welcome/preview", format!("{{\"user\":{{\"x\":{largest}}}}}")),
                _ => ("/webhooks", huge_field.clone()),
            };
            post(&hostile, path, body)
        }));
        let defence = async {
            for _ in 0..10 {
                scene.shop.post("/mail", &welcome("ok@example.net")).await.expect(200);
            }
        };
        let (answers, ()) = tokio::join!(attack, defence);
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.iter().all(|status| [200, 413, 422, 429, 503].contains(status)), "{statuses:?}");
        let memory = scene.daemon.most_memory() / MEBIBYTE;
        println!("{memory} MiB at most; {statuses:?}");
        assert!(memory < 400, "{memory} MiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_cannot_be_read_fails_its_own_mails() {
    let sink = postroom::demo::catcher::Catcher::start(Default::default()).await.unwrap();
    let backends = Backends::postgres_redis().await.with_route_to(&sink);
    let ingress = Daemon::start_as("ingress", &backends).await;
    let shop = Shop::open(&ingress, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let users = addresses("ok", 3);
    shop.enrol_all(&users).await;
    let mut body = welcome_all(&users);
    body["users"][1]["x"] = json!(12_321);
    let id = shop.send_batch(&body).await;
    backends.execute("UPDATE batch_chunks SET users = replace(users, '12321', '1e999')").await;
    let _worker = Daemon::start_as("worker", &backends).await;
    shop.until_batch(&id, "finished").await;
    let mails = shop.results(&id).await["mails"].clone();
    let failed = mails.as_array().unwrap().iter().filter(|mail| mail["mailing_error"] != Value::Null).count();
    assert_eq!(failed, 1, "{mails:#}");
    assert!(mails.to_string().contains("cannot be read"), "{mails:#}");
    assert_eq!(sink.mails().len(), 2);
}
