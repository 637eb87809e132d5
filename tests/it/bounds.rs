//! What one caller may ask for, keep on the disk and store; and what every answer says to browsers.

use std::time::Duration;

use postroom::{
    mail::BatchId,
    store::{StagedChunk, Store},
};
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};
use tokio::time::Instant;

use super::support::{Backends, Credential, Daemon, Scene, Shop, brand, eventually, send, template, welcome};

async fn open(backends: &Backends) -> (Daemon, Shop) {
    let daemon = Daemon::start(backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    (daemon, shop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dearest_signature_to_verify_holds_nobody_up() {
    let backends = Backends::sqlite_memory();
    let (_daemon, shop) = open(&backends).await;
    for number in 0..100 {
        let webhook = json!({"url": format!("https://shop.example/{number}")});
        shop.post("/webhooks", &webhook).await.expect(201);
    }
    let signature = format!("v1,{}=", "A".repeat(43));
    let claim = |bytes: usize| {
        let now = postroom::clock::now().millis() / 1_000;
        let signatures = vec![signature.as_str(); 20].join(" ");
        json!({"id": "x", "timestamp": now.to_string(), "signature": signatures, "payload": "x".repeat(bytes)})
    };
    let started = Instant::now();
    let refused = shop.post("/webhooks/verify-signature", &claim(8_000_000)).await.expect(422);
    assert_eq!(refused.faulty_fields(), ["payload"]);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let dear: Vec<_> = (0..4)
        .map(|_| {
            let (shop, claim) = (shop.clone(), claim(1 << 20));
            tokio::spawn(async move { shop.post("/webhooks/verify-signature", &claim).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !dear.iter().all(tokio::task::JoinHandle::is_finished) {
        let asked = Instant::now();
        shop.get("/webhooks/events").await.expect(200);
        slowest = slowest.max(asked.elapsed());
    }
    for answer in dear {
        assert_eq!(answer.await.unwrap().expect(200).json()["data"]["valid"], false);
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_another_character_set_is_415() {
    let backends = Backends::sqlite_memory();
    let (_daemon, shop) = open(&backends).await;
    let body = brand().to_string();
    let put = async |content_type: &str| {
        let request = shop.request(Method::PUT, "/api/v1/brands/tea").header("content-type", content_type);
        send(request.body(body.clone())).await.status
    };
    for wrong in ["application/json; charset=latin1", "application/json;charset=\"UTF-16\"", "text/plain"] {
        assert_eq!(put(wrong).await, 415, "{wrong}");
    }
    for right in ["application/json; charset=utf-8", "application/json;Charset=\"UTF-8\"", "application/json"]
    {
        assert!(matches!(put(right).await, 200 | 201), "{right}");
    }
    let line = "{}";
    for (content_type, status) in [
        ("application/x-ndjson; charset=utf-8", 200),
        ("application/x-ndjson; charset=latin1", 415),
        ("application/x-ndjsonx", 415),
    ] {
        shop.post_text("/api/v1/import", content_type, line).await.expect(status);
    }
    shop.post_text("/mails", "application/json; charset=latin1", line).await.expect(415);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_keeps_browsers_strict() {
    let backends = Backends::sqlite_memory();
    let (_daemon, shop) = open(&backends).await;
    let nobody = shop.with(Credential::Nobody);
    for (shop, path, status) in [
        (&shop, "/api/v1/mails", 200),
        (&nobody, "/api/v1/mails", 401),
        (&nobody, "/nowhere", 404),
        (&nobody, "/docs", 200),
        (&nobody, "/healthz", 200),
        (&nobody, "/openapi.json", 200),
        (&nobody, "/passes/x", 404),
        (&nobody, "/passes/%00", 400),
    ] {
        let answer = shop.get(path).await.expect(status);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert_eq!(policy.matches("frame-ancestors 'none'").count(), 1, "{path}: {policy}");
        assert_eq!(path == "/docs", policy.contains("script-src 'self'"), "{path}: {policy}");
    }
}

on_both! {
    async fn a_merchant_stores_as_many_things_as_it_may_and_can_change_them(backends: Backends) {
        let backends = backends.with("stored.definitions", 2).with("stored.members", 2).with("stored.template_versions", 3);
        let (_daemon, shop) = open(&backends).await;
        shop.fill_shelves().await;
        shop.put("/api/v1/brands/coffee", &brand()).await.expect(201);
        let refused = shop.put("/api/v1/brands/cocoa", &brand()).await.expect(409);
        assert_eq!(refused.json()["code"], "too_many");
        shop.put("/api/v1/brands/coffee", &brand()).await.expect(200);
        shop.delete("/api/v1/brands/coffee").await.expect(204);
        eventually("there is room again", async || {
            shop.put("/api/v1/brands/cocoa", &brand()).await.status == 201
        })
        .await;
        let other = Shop::open(&_daemon, &backends.command_line(), "coffee-co");
        other.fill_shelves().await;

        let members: String = ["a", "b", "a", "c"]
            .map(|id| json!({"kind": "members", "id": id, "brand_id": "tea", "email": "ok@example.net"}).to_string() + "\n")
            .concat();
        let answer = shop.post_text("/api/v1/import", "application/x-ndjson", members).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(2)), "{answer}");
        shop.put("/api/v1/members/a", &json!({"brand_id": "tea", "email": "b@example.net"})).await.expect(200);
    }

    async fn a_brand_that_an_import_has_no_room_for_gets_no_members(backends: Backends) {
        let backends = backends.with("stored.definitions", 2);
        let (_daemon, shop) = open(&backends).await;
        shop.fill_shelves().await;
        let brand = |id: &str| {
            let mut line = brand();
            line["kind"] = json!("brands");
            line["id"] = json!(id);
            line
        };
        let member = |id: &str| json!({"kind": "members", "id": id, "brand_id": id, "email": "ok@example.net"});
        let lines = [brand("coffee"), member("coffee"), brand("cocoa"), member("cocoa"), json!({"id": "x"})];
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let answer = shop.post_text("/api/v1/import", "application/x-ndjson", lines).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(3)), "{answer}");
        let faults = answer["errors"].as_array().unwrap();
        let faults: Vec<_> = faults.iter().map(|fault| (&fault["line"], &fault["message"])).collect();
        let expected = [
            (&json!(3), &json!("is one more than this merchant may have")),
            (&json!(4), &json!("names no brand of this merchant")),
            (&json!(5), &json!("is required")),
        ];
        assert_eq!(faults, expected);
        shop.get("/api/v1/members/cocoa").await.expect(404);
    }

    async fn a_template_that_is_stored_as_it_was_makes_no_version(backends: Backends) {
        let (_daemon, shop) = open(&backends).await;
        shop.fill_shelves().await;
        let versions = "SELECT 'all', COUNT(*) FROM template_versions WHERE merchant_id = 'tea-co'";
        let before = backends.tally(versions).await["all"];
        for _ in 0..3 {
            shop.put("/api/v1/templates/welcome", &template()).await.expect(200);
        }
        let mut line = template();
        line["kind"] = json!("templates");
        line["id"] = json!("welcome");
        shop.post_text("/api/v1/import", "application/x-ndjson", line.to_string()).await.expect(200);
        assert_eq!(backends.tally(versions).await["all"], before);
        let mut other = template();
        other["title"] = json!("Another");
        shop.put("/api/v1/templates/welcome", &other).await.expect(200);
        assert_eq!(backends.tally(versions).await["all"], before + 1);
        assert_eq!(shop.get("/api/v1/templates/welcome").await.expect(200).json()["title"], "Another");
    }

    async fn users_that_a_dead_process_staged_are_swept(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        let chunk = || [StagedChunk { number: 0, users: RawValue::from_string("[]".to_owned()).unwrap() }];
        let (old, fresh): (BatchId, _) = ("018f0000-0000-7000-8000-000000000000".parse().unwrap(), BatchId::new());
        store.stage_chunks(old, &chunk()).await.unwrap();
        store.stage_chunks(fresh, &chunk()).await.unwrap();
        assert_eq!(store.discard_forgotten_chunks(Duration::from_secs(3_600)).await.unwrap(), 1);
        assert!(store.chunk(old, 0).await.unwrap().is_none() && store.chunk(fresh, 0).await.unwrap().is_some());
        assert_eq!(store.discard_forgotten_chunks(Duration::from_secs(3_600)).await.unwrap(), 0);
    }

    async fn answers_kept_for_a_day_are_swept_and_later_ones_stay(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let store = Store::open(&scene.backends.database()).await.unwrap();
        let mail = welcome("ok@example.net");
        scene.shop.post_once("/mail", "old", &mail).await.expect(200);
        scene.backends.execute("UPDATE idempotency SET created_at = 1").await;
        scene.shop.post_once("/mail", "fresh", &mail).await.expect(200);
        assert_eq!(store.forget_old_answers().await.unwrap(), 1);
        let left = scene.backends.tally("SELECT key, 1 AS one FROM idempotency").await;
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["fresh"]);
    }

    async fn a_suspended_merchants_account_and_passes_stop_within_a_second(backends: Backends) {
        let scene = Scene::open(backends).await;
        let shop = scene.shop.with(scene.shop.new_account("ann"));
        shop.enrol("ok@example.net").await;
        shop.put("/api/v1/coupons/ten", &json!({"brand_id": "tea", "title": "Ten"})).await.expect(201);
        let mut mail = welcome("ok@example.net");
        mail["coupon_id"] = json!("ten");
        shop.post("/mail", &mail).await.expect(200);
        let passes = scene.backends.tally("SELECT id, 1 AS one FROM passes").await;
        let pass = format!("/passes/{}", passes.keys().next().unwrap());
        let nobody = shop.with(Credential::Nobody);
        nobody.get(&pass).await.expect(200);
        shop.get("/api/v1/mails").await.expect(200);

        scene.backends.execute("UPDATE merchants SET suspended_at = 1").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        shop.get("/api/v1/mails").await.expect(403);
        nobody.get(&pass).await.expect(404);

        scene.backends.execute("UPDATE merchants SET suspended_at = NULL").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        shop.get("/api/v1/mails").await.expect(200);
        scene.backends.execute("UPDATE accounts SET password_hash = 'x'").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        shop.get("/api/v1/mails").await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_batches_share_their_merchants_room_on_the_disk() {
    let backends = Backends::sqlite_memory().with("batches.spooled_per_merchant", "100KiB");
    let (daemon, shop) = open(&backends).await;
    let other = Shop::open(&daemon, &backends.command_line(), "coffee-co");
    let half_sent = |shop: &Shop| {
        let beginning = futures_util::stream::once(async { Ok::<_, std::io::Error>(" ".repeat(60 * 1_024)) });
        let body = futures_util::StreamExt::chain(beginning, futures_util::stream::pending());
        let request = shop.request(Method::POST, "/mails").header("content-type", "application/json");
        tokio::spawn(send(request.body(reqwest::Body::wrap_stream(body))))
    };
    let whole = || vec![b' '; 60 * 1_024];
    let mut held = half_sent(&shop);
    eventually("the room is taken", async || {
        if held.is_finished() {
            held = half_sent(&shop); // one of those below was quicker
            return false;
        }
        let answer = shop.post_text("/mails", "application/json", whole()).await;
        answer.status == 429 && answer.header("retry-after").is_some()
    })
    .await;
    other.post_text("/mails", "application/json", whole()).await.expect(400);
    held.abort();
    eventually("there is room again", async || {
        shop.post_text("/mails", "application/json", whole()).await.status == 400
    })
    .await;
    let _: Value = shop.get("/api/v1/brands").await.expect(200).json();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_unknown_length_take_no_more_room_than_they_need() {
    let backends = Backends::sqlite_memory();
    let (_daemon, shop) = open(&backends).await;
    shop.put("/api/v1/brands/tea", &brand()).await;
    let started = Instant::now();
    let puts = futures_util::future::join_all((0..8).map(|number| {
        let text = brand().to_string();
        let (begin, end) = (text[..9].to_owned(), text[9..].to_owned());
        // All are begun before any ends; the space makes half of them larger than small.
        let space = " ".repeat(if number % 2 == 0 { 0 } else { 30_000 });
        let begin = futures_util::stream::once(async { Ok::<_, std::io::Error>(begin) });
        let end = futures_util::stream::once(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(end + &space)
        });
        let body = reqwest::Body::wrap_stream(futures_util::StreamExt::chain(begin, end));
        let request = shop.request(Method::PUT, &format!("/api/v1/brands/tea-{number}"));
        send(request.header("content-type", "application/json").body(body))
    }))
    .await;
    let statuses: Vec<_> = puts.iter().map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_wrong_logins_does_not_hold_up_good_ones() {
    let backends = Backends::sqlite_memory();
    let (_daemon, shop) = open(&backends).await;
    let known = shop.with(shop.new_account("ann"));
    known.get("/api/v1/mails").await.expect(200);
    let stranger = shop.new_account("bob");
    let flood = {
        let shop = shop.clone();
        tokio::spawn(async move {
            let mut answers = tokio::task::JoinSet::new();
            for number in 0..320 {
                // Of the one who is known, of one whom nobody knows, and of many.
                let name = ["ann", "nobody", &format!("nobody-{number}")][number % 3].to_owned();
                let shop = shop.with(Credential::Basic(name, format!("wrong-{number}")));
                answers.spawn(async move { shop.get("/api/v1/mails").await });
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            answers.join_all().await
        })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    eventually("a first login comes through", async || {
        shop.with(stranger.clone()).get("/api/v1/mails").await.status == 200
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(5), "a first login took {:?}", asked.elapsed());
    let mut times = Vec::new();
    while !flood.is_finished() {
        let asked = Instant::now();
        known.get("/api/v1/mails").await.expect(200);
        times.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort();
    assert!(
        times[times.len() / 2] < Duration::from_millis(250),
        "half the time over {:?}",
        times[times.len() / 2]
    );
    assert!(times[times.len() - 1] < Duration::from_secs(2), "{:?}", times[times.len() - 1]);
    let answers = flood.await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    let mut told_to_wait = answers.iter().filter(|answer| answer.status == 429);
    assert!(told_to_wait.all(|answer| answer.header("retry-after").is_some()));
}
