//! JSON as people and programs write it: in their order, with decimals and marks, and with several faults at once.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Answer, Backends, Scene, Shop, send, template, welcome};

/// The fields that a refusal names, in alphabetical order.
fn faulty(refused: &Answer) -> Vec<String> {
    let mut fields = refused.faulty_fields();
    fields.sort();
    fields
}

async fn put_text(shop: &Shop, path: &str, body: String) -> Answer {
    send(shop.request(Method::PUT, path).header("content-type", "application/json").body(body)).await
}

on_both! {
    async fn an_object_keeps_its_order_on_the_way_into_a_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut lists = template();
        lists["html"] = json!("<p>{{#each specs}}{{@key}}={{this}};{{/each}}{{#each more.sizes}}{{@key}}:{{this.z}}{{this.a}}|{{/each}}</p>\
            {{#each rows}}{{#each this}}{{@key}}{{/each}},{{/each}}");
        scene.shop.put("/api/v1/templates/welcome", &lists).await.expect(200);
        scene.shop.enrol("ok@example.net").await;
        // As text: `json!` would be one more that keeps an order.
        let body = r#"{"brand_id": "tea", "template_id": "welcome", "user": {"identifier": "ok@example.net",
            "specs": {"z": 1, "10": "b", "9": "a", "a": true, "É": 2, "E": 3},
            "more": {"sizes": {"XL": {"z": 1, "a": 2}, "S": {"a": 4, "z": 3}}},
            "rows": [{"b": 1, "a": 2}, {"a": 1, "b": 2}]}}"#;
        let answer = scene.shop.post_text("/mail", "application/json", body).await.expect(200).json();
        scene.shop.wait_until(answer["data"]["ok@example.net"]["transaction_id"].as_str().unwrap(), "sent").await;
        let caught = scene.sink.find("ok@example.net").unwrap();
        let html = caught.html().unwrap();
        assert!(html.contains("<p>z=1;10=b;9=a;a=true;É=2;E=3;XL:12|S:34|</p>ba,ab,"), "{html}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_may_begin_with_a_byte_order_mark() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let shop = &scene.shop;
    shop.enrol("ok@example.net").await;
    let marked = |body: &Value| format!("\u{feff}{body}");
    shop.post_text("/mail", "application/json", marked(&welcome("ok@example.net"))).await.expect(200);
    let cart = json!({"recovery_link": "https://shop.example/c", "currency": "EUR", "total": "1", "customer": {"email": "ok@example.net"}});
    put_text(shop, "/api/v1/abandoned-carts/c", marked(&cart)).await.expect(201);
    let reminder = json!({"type": "email", "alert_details": {"subject": "Hi", "message": "Hi"}});
    shop.post_text("/abandoned-carts/c/reminder", "application/json", marked(&reminder)).await.expect(200);
    let line = json!({"kind": "members", "id": "bo", "brand_id": "tea", "email": "bo@example.net"});
    let answer = shop.post_text("/api/v1/import", "application/x-ndjson", marked(&line)).await.expect(200);
    assert_eq!(answer.json()["accepted"], 1, "{answer:?}");
    let twice = format!("\u{feff}\u{feff}{}", welcome("ok@example.net"));
    shop.post_text("/mail", "application/json", twice).await.expect(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_of_a_body_of_postrooms_own_api_are_named_at_once() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let shop = &scene.shop;
    for (path, body, fields) in [
        (
            "/api/v1/templates/welcome/test-send",
            json!({"to": "nobody", "cc": "x", "bcc": "y"}),
            &["bcc", "cc", "to"][..],
        ),
        ("/api/v1/templates/welcome/preview", json!({"users": {}, "colour": 1}), &["colour", "users"]),
        (
            "/api/v1/builtin-mails/cart_link/preview",
            json!({"language": 1, "users": {}}),
            &["language", "users"],
        ),
        ("/api/v1/actions", json!({"kind": "burn", "q": 5, "now": true}), &["kind", "now", "q"]),
        ("/api/v1/actions", json!({}), &["kind", "q"]),
        ("/webhooks", json!({"url": 1, "events": "all", "enabled": "yes"}), &["enabled", "events", "url"]),
        ("/webhooks/verify-signature", json!({"id": 1}), &["id", "payload", "signature", "timestamp"]),
    ] {
        let refused = shop.post(path, &body).await.expect(422);
        assert_eq!(faulty(&refused), fields, "{path} {body}: {refused:?}");
    }
    let body = json!({"reason": "tired", "scope": 1, "note": "a\nb", "expires_at": "tomorrow", "until": 1});
    let refused = shop.put("/api/v1/suppressions/a@example.net", &body).await.expect(422);
    assert_eq!(faulty(&refused), ["expires_at", "note", "reason", "scope", "until"], "{refused:?}");
    let body = json!({"expires_at": "2020-01-01T00:00:00Z", "created_at": "2999-01-01T00:00:00Z", "address": "b@example.net"});
    let refused = shop.put("/api/v1/suppressions/a@example.net", &body).await.expect(422);
    assert_eq!(faulty(&refused), ["address", "created_at", "expires_at"], "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_thing_may_be_ordered_and_a_blank_text_is_none() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let shop = &scene.shop;
    let cart = |quantity: Value| json!({"recovery_link": "https://shop.example/c", "currency": "EUR", "total": "1", "items": [{"name": "Tea", "quantity": quantity, "unit_price": "1"}]});
    let order = |quantity: Value| json!({"endUser": {}, "paymentStatus": "PENDING", "currency": "EUR", "totalAmount": "1", "items": [{"name": "Tea", "quantity": quantity, "unitPrice": "1"}]});
    for quantity in [json!(0.75), json!(2), json!(1.5), json!(0.001)] {
        let stored = shop.put("/api/v1/abandoned-carts/c", &cart(quantity.clone())).await.json();
        assert_eq!(stored["items"][0]["quantity"], quantity, "{stored}");
        let stored = shop.put("/api/v1/orders/o", &order(quantity.clone())).await.json();
        assert_eq!(stored["items"][0]["quantity"], quantity, "{stored}");
    }
    let stored = shop.put("/api/v1/orders/o", &order(Value::Null)).await.json();
    assert_eq!(stored["items"][0]["quantity"], 1, "{stored}");
    for quantity in [json!(0), json!(-1.5), json!("half"), json!([1])] {
        let refused = shop.put("/api/v1/orders/o", &order(quantity.clone())).await.expect(422);
        assert_eq!(refused.faulty_fields(), ["items.0.quantity"], "{quantity}");
    }
    for blank in ["", " ", "\u{a0}\t"] {
        let mut document = template();
        for field in ["title", "subject", "html"] {
            document[field] = json!(blank);
        }
        let refused = shop.put("/api/v1/templates/x", &document).await.expect(422);
        assert!(refused.body.contains("title") && !refused.body.contains("expected"), "{refused:?}");
        let brand = json!({"name": blank, "sender": {"email": "a@tea.example", "name": blank}});
        let refused = shop.put("/api/v1/brands/x", &brand).await.expect(422);
        assert_eq!(refused.faulty_fields(), ["name", "sender.name"], "{blank:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blanks_around_an_address_are_trimmed_wherever_one_is_given() {
    let scene = Scene::open(Backends::sqlite_memory()).await;
    let shop = &scene.shop;
    let (given, kept) = ("\t ann@Example.net \r\n", "ann@example.net");
    let order = json!({"endUser": {"email": given}, "paymentStatus": "PENDING", "currency": "EUR", "totalAmount": "1"});
    for (path, document, pointer) in [
        ("members/m", json!({"brand_id": "tea", "email": given}), "/email"),
        ("brands/b", json!({"name": "Tea", "sender": {"email": given}}), "/sender/email"),
        (
            "brands/b",
            json!({"name": "Tea", "sender": {"email": "a@b.example"}, "reply_to": given}),
            "/reply_to",
        ),
        (
            "brands/b",
            json!({"name": "Tea", "sender": {"email": "a@b.example"}, "support_email": given}),
            "/support_email",
        ),
        ("stores/s", json!({"sender": {"email": given}}), "/sender/email"),
        ("orders/o", order, "/endUser/email"),
        (
            "abandoned-carts/c",
            json!({"recovery_link": "https://shop.example/c", "currency": "EUR", "total": "1",
                "customer": {"email": given}}),
            "/customer/email",
        ),
        (
            "subscriptions/s",
            json!({"state": "draft", "cart_link": "https://shop.example/c", "shopper": {"email": given}}),
            "/shopper/email",
        ),
    ] {
        let stored = shop.put(&format!("/api/v1/{path}"), &document).await.json();
        assert_eq!(stored.pointer(pointer), Some(&json!(kept)), "{path}: {stored}");
        let mut invisible = document.clone();
        *invisible.pointer_mut(pointer).unwrap() = json!("ann\u{200b}@example.net");
        let refused = shop.put(&format!("/api/v1/{path}"), &invisible).await.expect(422);
        assert_eq!(refused.faulty_fields(), [pointer[1..].replace('/', ".")], "{path}");
        assert!(refused.body.contains("U+200B"), "{path}: {refused:?}");
        let mut unusual = document;
        *unusual.pointer_mut(pointer).unwrap() = json!("try..this@docomo.example");
        let stored = shop.put(&format!("/api/v1/{path}"), &unusual).await.json();
        assert_eq!(stored.pointer(pointer), Some(&json!("\"try..this\"@docomo.example")), "{path}: {stored}");
    }
    let body = json!({"to": given, "user": {"first_name": "Ann"}});
    shop.post("/api/v1/templates/welcome/test-send", &body).await.expect(202);
}
