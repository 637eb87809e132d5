//! Preflight: what would become of a batch, and nothing of it happens.

use std::time::Instant;

use serde_json::{Value, json};

use super::support::{Backends, Credential, Scene, Shop, addresses, welcome_all};

const PREFLIGHT: &str = "/api/v1/batches/preflight";

/// A template that prints what only the caller can know.
async fn ask_for_a_voucher(shop: &Shop) {
    let template = json!({"brand_id": "tea", "title": "Voucher", "subject": "{{first_name}}, {{voucher}}",
        "html": "<p>{{voucher}} in {{city}}</p>"});
    shop.put("/api/v1/templates/welcome", &template).await.expect(200);
}

/// A request to all of them, each with all that the template needs.
fn all_with_vouchers(users: &[String]) -> Value {
    let mut body = welcome_all(users);
    for user in body["users"].as_array_mut().unwrap() {
        user["voucher"] = json!("TEA-10");
        user["city"] = json!("Bonn");
    }
    body
}

/// Plants 37 faults among the users; returns the identifiers of each kind.
fn plant(body: &mut Value) -> [Vec<String>; 4] {
    let users = body["users"].as_array_mut().unwrap();
    let (mut strangers, mut no_city, mut no_voucher) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..10 {
        let user = &mut users[number * 7 + 3];
        no_city.push(user["identifier"].as_str().unwrap().to_owned());
        user.as_object_mut().unwrap().remove("city");
    }
    for number in 0..7 {
        let user = &mut users[number * 11 + 100];
        no_voucher.push(user["identifier"].as_str().unwrap().to_owned());
        user.as_object_mut().unwrap().remove("voucher");
    }
    for number in 0..12 {
        let stranger = format!("stranger-{number}@example.net");
        users.insert(number * 13, json!({"identifier": stranger, "voucher": "x", "city": "x"}));
        strangers.push(stranger);
    }
    let twice: Vec<_> =
        (0..8).map(|number| users[number * 17 + 5]["identifier"].as_str().unwrap().to_owned()).collect();
    users.extend(twice.iter().map(|id| json!({"identifier": id, "voucher": "y", "city": "y"})));
    [strangers, twice, no_city, no_voucher]
}

on_both! {
    async fn each_planted_fault_is_named_and_nothing_is_sent(backends: Backends) {
        const MAILS: usize = 2_000;
        let scene = Scene::open(backends.with("limits.per_merchant", "100/s")).await;
        let shop = &scene.shop;
        ask_for_a_voucher(shop).await;
        let users = addresses("ok", MAILS);
        shop.enrol_all(&users).await;
        let mut body = all_with_vouchers(&users);
        let [strangers, twice, no_city, no_voucher] = plant(&mut body);
        let began = Instant::now();
        let told = shop.post(PREFLIGHT, &body).await.expect(200).json();
        println!("{MAILS} users took {:?}", began.elapsed());
        assert_eq!(told["recipients"], MAILS, "{told:#}");
        assert_eq!((&told["not_found"], &told["duplicates"], &told["suppressed"]), (&json!(12), &json!(8), &json!(0)));
        assert_eq!((&told["examples"]["not_found"], &told["examples"]["duplicates"]), (&json!(strangers), &json!(twice)));
        let missing = json!([
            {"tag": "city", "users": 10, "examples": no_city},
            {"tag": "voucher", "users": 7, "examples": no_voucher},
        ]);
        assert_eq!(told["missing_tags"], missing);
        assert!((300..5_000).contains(&told["largest_bytes"].as_u64().unwrap()), "{told:#}");
        assert_eq!(told["forecast"]["limited_by"], json!({"scope": "merchant", "name": "tea-co", "per_second": 100.0}));
        assert!(told["forecast"]["ends_at"].is_string());
        let mails = scene.backends.tally("SELECT 'mails', COUNT(*) FROM mails UNION ALL SELECT 'batches', COUNT(*) FROM batches UNION ALL SELECT 'chunks', COUNT(*) FROM batch_chunks").await;
        assert!(mails.values().all(|count| *count == 0), "{mails:?}");
    }

    async fn a_body_that_mails_would_refuse_is_refused_with_a_problem(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.shop.enrol("ok@example.net").await;
        let fine = welcome_all(&["ok@example.net".to_owned()]);
        let without = |field: &str| {
            let mut body = fine.clone();
            body.as_object_mut().unwrap().remove(field);
            body
        };
        let with = |field: &str, value: Value| {
            let mut body = fine.clone();
            body[field] = value;
            body
        };
        for (body, path) in [
            (without("users"), "users"),
            (with("brand_id", json!("coffee")), "brand_id"),
            (with("template_id", json!("goodbye")), "template_id"),
            (with("coupon_id", json!("none")), "coupon_id"),
            (with("send_at", json!("soon")), "send_at"),
            (with("users", json!([{"identifier": 5}])), "users.0.identifier"),
        ] {
            let answer = scene.shop.post(PREFLIGHT, &body).await.expect(422);
            assert!(answer.header("content-type").unwrap().starts_with("application/problem+json"));
            let problem = answer.json();
            assert_eq!(problem["errors"][0]["path"], path, "{problem}");
        }
        let token = scene.shop.new_token("mails.read");
        let other = scene.shop.with(Credential::Bearer(token));
        other.post(PREFLIGHT, &fine).await.expect(403);
    }

    async fn the_largest_size_of_a_preflight_is_the_size_that_the_recipient_gets(backends: Backends) {
        let scene = Scene::open(backends).await;
        ask_for_a_voucher(&scene.shop).await;
        let users = addresses("ok", 50);
        scene.shop.enrol_all(&users).await;
        let mut body = all_with_vouchers(&users);
        body["users"][33]["city"] = json!("x".repeat(3_000));
        let told = scene.shop.post(PREFLIGHT, &body).await.expect(200).json();
        let batch = scene.shop.send_batch(&body).await;
        scene.shop.until_batch(&batch, "finished").await;
        let largest = scene.sink.mails().iter().map(|mail| mail.bytes.len() as i64).max().unwrap();
        let said = told["largest_bytes"].as_i64().unwrap();
        // The relay adds lines of its own.
        assert!((largest - said).abs() < 600, "{said} {largest}");
    }
}
