//! `/openapi.json` says what postroom does: Schemathesis asks for all that it allows, and for what it does not allow,
//! and holds every answer against it. What others make of the document is in `clients.rs`, its examples in `examples.rs`.

mod clients;
mod examples;

use std::fs;

use serde_json::{Value, json};

use crate::support::{Backends, Daemon, Shop, brand, mortal, template, tools, welcome};

/// What each operation may answer with is checked, and that no answer is a fault of the service.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// How many requests are made up for each operation beside those that its schema's borders call for.
const MADE_UP: &str = "12";

/// Schemathesis does not know how lines of JSON are written.
const HOOKS: &str = r#"
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
"#;

/// One of every kind, by its path below `/api/v1/`; those that belong to a brand after it.
fn one_of_every_kind() -> [(&'static str, Value); 10] {
    let voucher = || json!({"brand_id": "known", "title": "Ten percent", "code": "TEN"});
    let of_brand = |mut document: Value| {
        document["brand_id"] = json!("known");
        document
    };
    [
        ("brands", brand()),
        ("templates", of_brand(template())),
        ("partials", json!({"html": "<p>{{brand_name}}</p>"})),
        (
            "members",
            json!({"brand_id": "known", "email": "ok@example.net", "first_name": "Ann", "last_name": "Lee"}),
        ),
        ("coupons", voucher()),
        ("storecards", voucher()),
        ("stores", json!({"sender": {"email": "store@tea.example"}})),
        (
            "subscriptions",
            json!({"state": "waiting_for_payment", "cart_link": "https://tea.example/c",
            "shopper": {"email": "ok@example.net"}}),
        ),
        (
            "abandoned-carts",
            json!({"recovery_link": "https://tea.example/r", "currency": "EUR", "total": "59.90",
            "customer": {"email": "ok@example.net"}, "items": [{"name": "Tea", "unit_price": "29.95"}]}),
        ),
        (
            "orders",
            json!({"currency": "EUR", "totalAmount": "59.90", "endUser": {"email": "ok@example.net"},
            "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED", "storeId": "known",
            "payments": [{"paymentId": "pay_1", "status": "COMPLETED", "amount": "59.90", "refundedAmount": "0.00",
                "createdAt": "2026-01-02T03:04:05Z"}]}),
        ),
    ]
}

/// Which values Schemathesis takes where it could only guess; a webhook's URL is never one that somebody has.
fn dictionaries(mail: &str, webhook: &str, delivery: &str) -> String {
    format!(
        r#"
        [dictionaries.known]
        values = ["known"]
        [dictionaries.mails]
        values = ["{mail}"]
        [dictionaries.webhooks]
        values = ["{webhook}"]
        [dictionaries.deliveries]
        values = ["{delivery}"]
        [dictionaries.urls]
        values = ["https://localhost/hook", "https://receiver.invalid/", "ftp://receiver.invalid"]

        [parameters]
        "path.id" = {{ dictionary = "known", probability = 0.7 }}
        "path.identifier" = {{ dictionary = "known", probability = 0.7 }}
        "path.delivery" = {{ dictionary = "deliveries", probability = 0.7 }}
        "query.brand_id" = {{ dictionary = "known", probability = 0.7 }}
        "body.brand_id" = {{ dictionary = "known", probability = 0.7 }}
        "body.template_id" = {{ dictionary = "known", probability = 0.7 }}
        "body.url" = {{ dictionary = "urls", probability = 1.0 }}

        [[operations]]
        include-path-regex = "^/api/v1/mails/"
        [operations.parameters]
        "path.id" = {{ dictionary = "mails", probability = 0.8 }}

        [[operations]]
        include-path-regex = "^/webhooks/"
        [operations.parameters]
        "path.id" = {{ dictionary = "webhooks", probability = 0.8 }}
        "#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_one_that_the_openapi_document_allows() {
    let backends = Backends::sqlite_memory().with("http.rate", "100000/s");
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    for (kind, document) in one_of_every_kind() {
        shop.put(&format!("/api/v1/{kind}/known"), &document).await.expect(201);
    }
    let mut request = welcome("known");
    request["brand_id"] = json!("known");
    request["template_id"] = json!("known");
    let mail =
        shop.post("/mail", &request).await.expect(200).json()["data"]["known"]["transaction_id"].clone();
    let webhook = shop.post("/webhooks", &json!({"url": "https://localhost/hook"})).await.expect(201).json();
    let webhook = webhook["data"]["id"].as_str().unwrap();
    let delivery = shop.post(&format!("/webhooks/{webhook}/test"), &json!({})).await.expect(200).json();

    let config = backends.folder().join("schemathesis.toml");
    let [mail, delivery] = [&mail, &delivery["data"]["id"]].map(|id| id.as_str().unwrap());
    fs::write(&config, dictionaries(mail, webhook, delivery)).unwrap();
    fs::write(backends.folder().join("postroom_hooks.py"), HOOKS).unwrap();
    // One worker: with several, Python 3.11 now and then fails to parse itself.
    let asked = mortal(tools().join("venv/bin/schemathesis"))
        .arg("--config-file")
        .arg(&config)
        .args(["run", &format!("{}/openapi.json", daemon.url()), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", MADE_UP, "--seed", "1"])
        .args([
            "--workers",
            "1",
            "--request-timeout",
            "10",
            "--warnings",
            "off",
            "--suppress-health-check",
            "all",
        ])
        .args(["--header", &format!("Authorization: Bearer {}", shop.new_token("*"))])
        .env("SCHEMATHESIS_HOOKS", "postroom_hooks")
        .env("PYTHONPATH", backends.folder())
        .env("NO_PROXY", "*")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "150")
        .current_dir(backends.folder())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{told}\n{}", String::from_utf8_lossy(&asked.stderr));
}
