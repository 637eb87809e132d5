//! `POST /api/v1/import` of more than fits into memory or into the time of a request.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{Answer, Backends, Daemon, Shop, eventually, send};

/// How many lines the large import has.
const LINES: usize = 100_000;
/// Every line whose number has this remainder by [`OFTEN`] is faulty: 37 of them.
const OFTEN: usize = 2_700;
const FAULTY: usize = 1_350;

fn line(number: usize) -> String {
    let email = if number % OFTEN == FAULTY { "no address" } else { "member@example.net" };
    let name = "A name that takes its room, as names do when they have several parts";
    json!({"kind": "members", "id": format!("m{number}"), "brand_id": "tea", "email": email, "first_name": name}).to_string()
}

async fn import(shop: &Shop, lines: impl Into<reqwest::Body>) -> Answer {
    let request = shop.request(reqwest::Method::POST, "/api/v1/import");
    send(request.header("content-type", "application/x-ndjson").body(lines)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_any_number_of_lines_in_bounded_memory_and_past_the_time_of_a_request() {
    let backends = Backends::sqlite_memory().with("http.timeout", "2s").with("http.max_body", "1 MiB");
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let first: Vec<_> = (1..1_000).map(line).collect();
    import(&shop, first.join("\n")).await.expect(200);

    let before = daemon.most_memory();
    let blocks = (0..LINES / 1_000).map(|block| {
        let lines = (block * 1_000 + 1..=block * 1_000 + 1_000).map(|number| line(number) + "\n");
        Ok::<_, std::io::Error>(lines.collect::<String>())
    });
    let answer = import(&shop, reqwest::Body::wrap_stream(futures_util::stream::iter(blocks)))
        .await
        .expect(200)
        .json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(LINES - 37), &json!(37)));
    let faults = answer["errors"].as_array().unwrap();
    let named: Vec<_> = faults.iter().map(|fault| fault["line"].as_u64().unwrap() as usize).collect();
    assert_eq!(named, (1..=LINES).filter(|number| number % OFTEN == FAULTY).collect::<Vec<_>>());
    assert!(faults.iter().all(|fault| fault["path"] == "email"));
    shop.get(&format!("/api/v1/members/m{LINES}")).await.expect(200);

    let grown = daemon.most_memory() - before;
    assert!(grown < 50_000_000, "the daemon grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_too_long_is_refused_alone() {
    let backends = Backends::sqlite_memory();
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let long = json!({"kind": "members", "id": "x".repeat(3 << 20)}).to_string();
    let answer = import(&shop, [&line(1), "", &long, "[]", &line(2)].join("\r\n")).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!(2)));
    let lines: BTreeSet<_> =
        answer["errors"].as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, BTreeSet::from([3, 4]));
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("longer than"), "{answer}");
    assert_eq!(shop.get("/api/v1/members/m2").await.expect(200).json()["id"], Value::from("m2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_merchants_own_import_names_no_merchant() {
    let backends = Backends::sqlite_memory();
    let daemon = Daemon::start(&backends).await;
    let shop = Shop::open(&daemon, &backends.command_line(), "tea-co");
    shop.fill_shelves().await;
    let member = json!({"kind": "members", "id": "m1", "brand_id": "tea", "email": "m@example.net", "merchant": "tea-co"});
    let suppression =
        json!({"kind": "suppressions", "address": "m@example.net", "reason": "manual", "merchant": 5});
    let lines = format!("{member}\n{suppression}\n{}", line(2));
    let answer = import(&shop, lines).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1), &json!(2)), "{answer}");
    for error in answer["errors"].as_array().unwrap() {
        assert_eq!(error["path"], "merchant", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merchant_has_four_imports_under_way() {
    let backends = Backends::sqlite_memory();
    let daemon = Daemon::start(&backends).await;
    let [shop, other] =
        ["tea-co", "coffee-co"].map(|name| Shop::open(&daemon, &backends.command_line(), name));
    shop.fill_shelves().await;
    other.fill_shelves().await;
    let held: Vec<_> = (0..4)
        .map(|_| {
            let shop = shop.clone();
            let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
            tokio::spawn(async move { import(&shop, reqwest::Body::wrap_stream(never)).await })
        })
        .collect();
    eventually("a fifth is refused", async || {
        let answer = import(&shop, line(1)).await;
        answer.status == 429 && answer.header("retry-after").is_some()
    })
    .await;
    import(&other, line(1)).await.expect(200);
    held.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("there is room again", async || import(&shop, line(1)).await.status == 200).await;
}
