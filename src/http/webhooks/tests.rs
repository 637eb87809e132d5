//! The webhook routes over the real router and a real database.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{
    app::App,
    auth::{hash_token, new_secret},
    callback::{Secret, Signed},
    clock,
    config::Config,
    http::router,
    mail::MerchantId,
    store::webhooks_fixture::{SECRET, fill, tea},
    webhook::EventKind,
};

struct Scene {
    app: Arc<App>,
    token: String,
    _folder: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postroom.toml");
        let url = format!("sqlite:{}", folder.path().join("postroom.db").display());
        std::fs::write(&file, format!("[database]\nurl = \"{url}\"\n")).unwrap();
        let app = App::open(Config::load(Some(&file), []).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();
        fill(&app.store, &tea()).await;
        let token = token(&app, &tea(), "webhooks.manage").await;
        Self { app, token, _folder: folder }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask_as(&self.token, method, path, body).await
    }

    async fn ask_as(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = router(Arc::clone(&self.app)).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn register(&self) -> (String, String) {
        let (status, answer) =
            self.ask("POST", "/webhooks", json!({"url": "https://shop.example/hook"})).await;
        assert_eq!(status, 201, "{answer}");
        let text = |name: &str| answer["data"][name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }
}

async fn token(app: &App, merchant: &MerchantId, abilities: &str) -> String {
    let token = new_secret();
    app.store.create_token(merchant, &hash_token(&token), abilities, None, false).await.unwrap();
    token
}

#[tokio::test]
async fn a_webhook_is_registered_listed_changed_and_deleted() {
    let scene = Scene::start().await;
    let asked = json!({"url": "https://shop.example/hook?a=1", "events": ["email.sent", "batch.failed"],
        "description": "Till", "enabled": false, "whatever": 1});
    let (status, answer) = scene.ask("POST", "/webhooks", asked).await;
    assert_eq!((status, &answer["status"]), (201, &json!("success")));
    let mut webhook = answer["data"].clone();
    let keys: Vec<_> = webhook.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["id", "url", "events", "description", "enabled", "created_at", "secret"]);
    assert!(Secret::parse(webhook["secret"].as_str().unwrap()).is_some());
    assert_eq!(webhook["events"], json!(["email.sent", "batch.failed"]));
    webhook.as_object_mut().unwrap().remove("secret");
    let listed = scene.ask("GET", "/webhooks", json!(null)).await;
    assert_eq!(listed, (200, json!({"status": "success", "data": [webhook]})));

    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    let (status, answer) = scene.ask("PUT", &path, json!({"enabled": true, "events": ["*"]})).await;
    webhook["enabled"] = json!(true);
    webhook["events"] = json!(["*"]);
    assert_eq!((status, &answer["data"]), (200, &webhook), "what is not given stays");
    let (status, answer) = scene.ask("DELETE", &path, json!(null)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("success")));
    for (method, path) in [("DELETE", path.clone()), ("PUT", path.clone()), ("POST", format!("{path}/test"))]
    {
        let (status, answer) = scene.ask(method, &path, json!({})).await;
        assert_eq!((status, answer), (404, json!({"status": "error", "message": "Webhook not found"})));
    }
}

#[tokio::test]
async fn a_url_or_a_list_of_events_that_cannot_be_is_refused_with_its_path() {
    let scene = Scene::start().await;
    let (id, _) = scene.register().await;
    for (asked, field) in [
        (json!({"url": "http://127.0.0.1/"}), "url"),
        (json!({"url": "http://0x7f.1/"}), "url"),
        (json!({"url": "https://[::ffff:10.0.0.1]/"}), "url"),
        (json!({"url": "https://ann:tea@shop.example/"}), "url"),
        (json!({"url": "ftp://shop.example/"}), "url"),
        (json!({"url": "shop"}), "url"),
        (json!({"url": 5}), "url"),
        (json!({"url": "https://shop.example/", "events": ["email.sent", "email.read"]}), "events.1"),
        (json!({"url": "https://shop.example/", "events": []}), "events"),
        (json!({"url": "https://shop.example/", "events": "email.sent"}), "events"),
        (json!({"url": "https://shop.example/", "description": "x".repeat(501)}), "description"),
        (json!({"url": "https://shop.example/", "enabled": "yes"}), "enabled"),
    ] {
        for (method, path) in [("POST", "/webhooks".to_owned()), ("PUT", format!("/webhooks/{id}"))] {
            let (status, answer) = scene.ask(method, &path, asked.clone()).await;
            assert_eq!((status, &answer["status"]), (422, &json!("error")), "{asked}");
            assert!(answer["errors"][field].is_array(), "{asked}: {answer}");
        }
    }
    let (status, answer) = scene.ask("POST", "/webhooks", json!({"events": ["no"]})).await;
    assert_eq!(status, 422);
    assert!(answer["errors"]["url"].is_array() && answer["errors"]["events.0"].is_array(), "{answer}");
    assert_eq!(scene.ask("GET", "/webhooks", json!(null)).await.1["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn webhooks_belong_to_their_merchant_and_need_the_ability() {
    let scene = Scene::start().await;
    let (id, _) = scene.register().await;
    let other: MerchantId = "other".parse().unwrap();
    fill(&scene.app.store, &other).await;
    let foreign = token(&scene.app, &other, "webhooks.manage").await;
    let weak = token(&scene.app, &tea(), "mails.read").await;
    let delivery = "0198c0de-0000-7000-8000-000000000000";
    for (method, path) in [
        ("PUT", format!("/webhooks/{id}")),
        ("DELETE", format!("/webhooks/{id}")),
        ("POST", format!("/webhooks/{id}/refresh-secret")),
        ("POST", format!("/webhooks/{id}/test")),
        ("GET", format!("/webhooks/{id}/deliveries")),
        ("GET", format!("/webhooks/{id}/deliveries/{delivery}")),
        ("POST", format!("/webhooks/{id}/deliveries/{delivery}/replay")),
        ("POST", format!("/webhooks/{id}/deliveries/replay")),
    ] {
        let body = json!({"since": "2026-01-01T00:00:00Z"});
        assert_eq!(scene.ask_as(&foreign, method, &path, body.clone()).await.0, 404, "{method} {path}");
        assert_eq!(scene.ask_as(&weak, method, &path, body.clone()).await.0, 403, "{method} {path}");
        assert_eq!(scene.ask_as("nobody", method, &path, body).await.0, 401, "{method} {path}");
    }
    for path in ["/webhooks", "/webhooks/events"] {
        assert_eq!(scene.ask_as(&weak, "GET", path, json!(null)).await.0, 403);
    }
}

#[tokio::test]
async fn every_event_is_listed_with_an_example() {
    let scene = Scene::start().await;
    let (status, answer) = scene.ask("GET", "/webhooks/events", json!(null)).await;
    let events = answer["data"].as_array().unwrap();
    assert_eq!((status, events.len()), (200, EventKind::ALL.len()));
    for event in events {
        assert_eq!(event["example"]["type"], event["name"]);
    }
}

#[tokio::test]
async fn a_signature_is_checked_against_each_secret_of_the_merchant() {
    let scene = Scene::start().await;
    let (id, old) = scene.register().await;
    let (status, answer) = scene.ask("POST", &format!("/webhooks/{id}/refresh-secret"), json!(null)).await;
    let new = answer["data"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(status, 200);
    assert_ne!(new, old);
    let body = r#"{"type":"email.sent", "b":1,"a":"Köln"}"#;
    for (secret, valid) in
        [(old, true), (new, true), (SECRET.to_owned(), true), (Secret::generate().expose(), false)]
    {
        let secret = Secret::parse(&secret).unwrap();
        let signed = Signed::new("e1".to_owned(), clock::now(), body.as_bytes(), &[secret]);
        let seconds: i64 = signed.timestamp.parse().unwrap();
        let as_text = json!({"id": "e1", "timestamp": signed.timestamp, "signature": signed.signature, "payload": body});
        let answer = scene.ask("POST", "/webhooks/verify-signature", as_text.clone()).await;
        assert_eq!(answer, (200, json!({"status": "success", "data": {"valid": valid}})));
        let mut late = as_text.clone();
        late["timestamp"] = json!(seconds - 301);
        let answer = scene.ask("POST", "/webhooks/verify-signature", late).await;
        assert_eq!(answer.1["data"], json!({"valid": false}));
        // The JSON itself instead of a text, and the time as a number.
        let raw = format!(
            r#"{{"payload": {body}, "id":"e1","timestamp":{seconds},"signature":{}}}"#,
            as_text["signature"]
        );
        let request = Request::post("/webhooks/verify-signature")
            .header("authorization", format!("Bearer {}", scene.token))
            .header("content-type", "application/json");
        let answer =
            router(Arc::clone(&scene.app)).oneshot(request.body(Body::from(raw)).unwrap()).await.unwrap();
        let answer: Value =
            serde_json::from_slice(&to_bytes(answer.into_body(), 1_000).await.unwrap()).unwrap();
        assert_eq!(answer["data"], json!({"valid": valid}));
    }
    let (status, answer) = scene.ask("POST", "/webhooks/verify-signature", json!({"id": "e1"})).await;
    assert_eq!((status, &answer["status"]), (422, &json!("error")));
}

#[tokio::test]
async fn a_test_is_recorded_shown_and_replayed_in_its_turn() {
    let scene = Scene::start().await;
    let (id, _) = scene.register().await;
    let (status, answer) = scene.ask("POST", &format!("/webhooks/{id}/test"), json!(null)).await;
    assert_eq!(
        (status, &answer["data"]["event"], &answer["data"]["state"]),
        (200, &json!("webhook.test"), &json!("queued"))
    );
    let delivery = answer["data"]["id"].as_str().unwrap().to_owned();
    let (status, answer) =
        scene.ask("GET", &format!("/webhooks/{id}/deliveries?per_page=5"), json!(null)).await;
    assert_eq!((status, &answer["data"][0]["id"]), (200, &json!(delivery)));
    assert_eq!(answer["pagination"], json!({"page": 1, "per_page": 5, "total": 1}));
    let (_, answer) = scene.ask("GET", &format!("/webhooks/{id}/deliveries?page=2"), json!(null)).await;
    assert_eq!(answer["data"], json!([]));
    let (status, answer) =
        scene.ask("GET", &format!("/webhooks/{id}/deliveries?page=0&per_page=101"), json!(null)).await;
    assert_eq!((status, answer["errors"].as_object().unwrap().len()), (422, 2));
    let (status, _) =
        scene.ask("POST", &format!("/webhooks/{id}/deliveries/{delivery}/replay"), json!(null)).await;
    assert_eq!(status, 409, "it is under way");
    let replay = format!("/webhooks/{id}/deliveries/replay");
    let (status, answer) = scene.ask("POST", &replay, json!({"since": "2026-01-01T00:00:00Z"})).await;
    assert_eq!((status, &answer["data"]), (200, &json!({"replayed": 0})));
    assert_eq!(scene.ask("POST", &replay, json!({"since": "yesterday"})).await.0, 422);
    scene.ask("PUT", &format!("/webhooks/{id}"), json!({"enabled": false})).await;
    assert_eq!(scene.ask("POST", &format!("/webhooks/{id}/test"), json!(null)).await.0, 409);
}

#[tokio::test]
async fn a_merchant_has_at_most_a_hundred_webhooks() {
    let scene = Scene::start().await;
    for _ in 0..100 {
        scene.register().await;
    }
    let (status, _) = scene.ask("POST", "/webhooks", json!({"url": "https://shop.example/hook"})).await;
    assert_eq!(status, 409);
}
