//! What the log says at three in the morning: what, whom and why, once, and nothing that is a secret.

use serde_json::{Value, json};

use super::support::{Backends, Daemon, Hook, Scene, Shop, eventually, send, welcome};

fn lines<'a>(log: &'a [Value], message: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["message"] == message).collect()
}

/// A trace as a caller names it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

on_both! {
    async fn one_line_names_the_request_its_merchant_and_the_mail_that_came_of_it(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let request = scene.shop.request(reqwest::Method::POST, "/mail").header("x-request-id", "r-1001");
        let answer = send(request.json(&welcome("ok@example.net"))).await.expect(200).json();
        let id = answer["data"]["ok@example.net"]["transaction_id"].as_str().unwrap();
        scene.shop.wait_until(id, "sent").await;
        let log = scene.daemon.log();
        let answered = lines(&log, "answered");
        let line = answered.iter().find(|line| line["span"]["request_id"] == "r-1001").unwrap();
        assert_eq!((&line["mail"], &line["merchant"], &line["status"]), (&json!(id), &json!("tea-co"), &json!(200)));
        assert!(line["millis"].is_u64() && line.get("code").is_none(), "{line}");
        let attempt = lines(&log, "attempt");
        assert!(attempt[0]["mail"] == id && attempt[0]["millis"].is_u64() && attempt[0]["code"].is_u64(), "{attempt:?}");
    }

    async fn a_refusal_names_the_merchant_and_the_rule_and_no_address(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.post("/mail", &json!({"brand_id": "tea", "template_id": "none", "user": {"identifier": "ann"}})).await.expect(422);
        scene.shop.post("/api/public/v1/subscriptions/none/send_email", &json!({})).await.expect(422);
        scene.shop.post("/mail", &json!({"ann@example.net": 1})).await.expect(422);
        let log = scene.daemon.log();
        let refused: Vec<_> = lines(&log, "answered").into_iter().filter(|line| line["status"] == 422).collect();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused.iter().all(|line| line["merchant"] == "tea-co" && line["code"] == "invalid"), "{refused:?}");
        assert_eq!(refused[0]["rule"], "template_id");
        assert_eq!(refused[1]["rule"], "Subscription not found");
        assert!(!scene.daemon.log_text().contains("ann@example.net"));
    }

    async fn the_callers_trace_goes_with_the_mail_to_the_log_and_to_the_callback(backends: Backends) {
        let mut hook = Hook::listen().await;
        let scene = Scene::open(backends.allowing_hooks()).await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.sent"]})).await.expect(201);
        scene.shop.enrol("ok@example.net").await;
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let request = scene.shop.request(reqwest::Method::POST, "/mail").header("traceparent", &parent);
        send(request.json(&welcome("ok@example.net"))).await.expect(200);
        let (headers, _) = hook.next_unchecked().await;
        assert_eq!(headers["traceparent"], parent.as_str());
        // One without a trace gets none.
        scene.shop.send_to("ok@example.org").await;
        let (headers, _) = hook.next_unchecked().await;
        assert!(!headers.contains_key("traceparent"));
        eventually("the callbacks are logged", async || lines(&scene.daemon.log(), "callback").len() == 2).await;
        let log = scene.daemon.log();
        let traced = log.iter().filter(|line| line["trace_id"] == TRACE);
        let mut messages: Vec<_> = traced.map(|line| line["message"].as_str().unwrap()).collect();
        messages.sort_unstable(); // the mail may be sent before its request is answered
        assert_eq!(messages, ["answered", "attempt", "callback"]);
        let mails = scene.sink.mails();
        let headers = mails[0].headers();
        assert!(headers.iter().all(|(_, value)| !value.contains(TRACE)), "the relay is told nothing of it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_line_says_what_runs_where_and_keeps_the_secrets() {
    let route = toml::toml! { name = "main" host = "127.0.0.1" port = 9 tls = "none" username = "ann" password = "darjeeling" };
    let backends = Backends::postgres_redis().await.with("smtp.routes", vec![route]);
    let daemon = Daemon::start(&backends).await;
    let log = daemon.log();
    let first = &log[0];
    assert_eq!(
        (&first["message"], &first["version"]),
        (&json!("postroom starts"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!((&first["role"], &first["routes"]), (&json!("all"), &json!("main (127.0.0.1:9)")));
    for (store, scheme) in [("database", "postgres://"), ("queue", "redis://")] {
        let named = first[store].as_str().unwrap();
        assert!(named.starts_with(scheme) && !named.contains(['@', '?']), "{first}");
    }
    // Probes come each second, and say nothing.
    daemon.admin("/healthz").await.expect(200);
    assert!(lines(&daemon.log(), "answered").is_empty());
    assert!(!daemon.log_text().contains("darjeeling"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_away_is_named_with_host_and_reason_once() {
    let route = toml::toml! { name = "main" host = "127.0.0.1" port = 9 tls = "none" };
    let backends = Backends::sqlite_memory()
        .with("smtp.routes", vec![route])
        .with("retry.schedule", vec!["100ms".to_owned()]);
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let id = shop.send_to("ok@example.net").await;
    eventually("it was tried several times", async || {
        shop.mail(&id).await["attempts"].as_array().is_some_and(|attempts| attempts.len() > 2)
    })
    .await;
    let log = daemon.log();
    let away = lines(&log, "no connection to the relay");
    assert_eq!(away.len(), 1, "{away:?}");
    let (line, reason) = (away[0], away[0]["reason"].as_str().unwrap());
    assert_eq!(
        (&line["route"], &line["host"], &line["port"]),
        (&json!("main"), &json!("127.0.0.1"), &json!(9))
    );
    assert!(reason.to_lowercase().contains("refused"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_is_told_once_and_not_for_each_request() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    scene.shop.enrol("ok@example.net").await;
    scene.backends.execute("ALTER TABLE mails RENAME TO gone").await;
    for _ in 0..5 {
        scene.shop.post("/mail", &welcome("ok@example.net")).await.expect(503);
    }
    // Meanwhile the scheduler fails four times a second.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let log = scene.daemon.log();
    for message in ["the database failed a request", "the scheduler could not enqueue what is due"] {
        let told = lines(&log, message);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["times"], 1);
    }
}
