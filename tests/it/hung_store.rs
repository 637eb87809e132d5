//! A database that hangs, is locked or has no room, and callers that leave: what was promised stands, and what was refused
//! is never sent.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Executor};
use tokio::time::sleep;

use super::support::{
    Answer, Backends, Cluster, DatabaseProxy, Operator, Scene, Shop, eventually, welcome, within,
};

/// Longer than the store waits for an answer, which is 20 seconds, and than a row that was marked waits.
const HUNG_STORE_TIMEOUT: Duration = Duration::from_secs(100);

/// Requests of all four families, each for a mail to an address that begins with `word`.
pub async fn one_of_each_family(shop: &Shop, word: &str) -> Vec<(String, Value)> {
    let address = |family: &str| format!("{word}-{family}@example.net");
    let cart_link = json!({"state": "waiting_for_payment", "cart_link": "https://tea.example/cart",
        "shopper": {"email": address("link")}});
    let cart = json!({"recovery_link": "https://tea.example/recover", "currency": "EUR", "total": "9.90",
        "customer": {"email": address("cart")}});
    let order = json!({"currency": "EUR", "totalAmount": "59.90", "paymentStatus": "PENDING",
        "endUser": {"email": address("order")}});
    for (path, document) in [
        (format!("/api/v1/subscriptions/{word}"), cart_link),
        (format!("/api/v1/abandoned-carts/{word}"), cart),
        (format!("/api/v1/orders/{word}"), order),
    ] {
        shop.put(&path, &document).await.expect(201);
    }
    shop.enrol(&address("mail")).await;
    let reminder = json!({"type": "email", "alert_details": {"subject": "Your tea", "message": "It waits."}});
    vec![
        (format!("/api/public/v1/subscriptions/{word}/send_email"), json!({})),
        (format!("/abandoned-carts/{word}/reminder"), reminder),
        (format!("/ordersv2/{word}/email/send"), json!({"template": "OFFLINE_PAYMENT_PENDING"})),
        ("/mail".to_owned(), welcome(&address("mail"))),
    ]
}

async fn ask_all(shop: &Shop, requests: &[(String, Value)], key: &str) -> Vec<Answer> {
    join_all(requests.iter().map(|(path, body)| shop.post_once(path, key, body))).await
}

/// Holds back every write of others until it is dropped.
async fn lock_out(backends: &Backends) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let url = backends.database().url;
    let lock = match url.starts_with("sqlite:") {
        true => "BEGIN IMMEDIATE",
        false => "BEGIN; LOCK TABLE mails IN ACCESS EXCLUSIVE MODE",
    };
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    connection.execute(lock).await.unwrap();
    connection
}

async fn webhooks(shop: &Shop) -> usize {
    shop.get("/webhooks").await.expect(200).json()["data"].as_array().unwrap().len()
}

fn code(answer: &Answer) -> String {
    let body = answer.json();
    let code = [&body["code"], &body["error"]["code"], &body["errors"][0]["code"]];
    code.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
}

on_both! {
    async fn a_request_refused_while_the_database_was_locked_is_never_sent(backends: Backends) {
        let scene = Scene::open(backends.with("http.timeout", "1s")).await;
        let requests = one_of_each_family(&scene.shop, "ok").await;
        let lock = lock_out(&scene.backends).await;
        for answer in ask_all(&scene.shop, &requests, "first").await {
            answer.clone().expect(503);
            assert!(answer.header("retry-after").is_some() && code(&answer) != "outcome_unknown", "{answer:?}");
        }
        lock.close().await.unwrap();

        // The keys are free at once, and each mail comes once.
        eventually("all keys are free", async || {
            let answers = ask_all(&scene.shop, &requests, "first").await;
            assert!(answers.iter().all(|answer| [200, 202, 409, 503].contains(&answer.status)), "{answers:?}");
            answers.iter().all(|answer| answer.status < 300)
        })
        .await;
        eventually("the mails are there", async || scene.sink.count() >= 4).await;
        let last = scene.shop.send_to("ok-last@example.net").await;
        scene.shop.wait_until(&last, "sent").await;
        assert_eq!(scene.sink.count(), 5);
    }

    async fn clients_that_hang_up_take_no_answered_write_with_them(backends: Backends) {
        let mut scene = Scene::open(backends).await;
        let body = json!({"url": "https://hooks.example/x", "events": ["*"]});
        let mut answered = 0;
        for round in 0..20 {
            let impatient = (0..16).map(|number| {
                let brand = json!({"name": "Tea", "sender": {"email": "tea@shop.example"}});
                let put = scene.shop.request(reqwest::Method::PUT, &format!("/api/v1/brands/b{round}-{number}"));
                put.json(&brand).timeout(Duration::from_millis(1 + number % 5)).send()
            });
            let (_, answer) = tokio::join!(join_all(impatient), scene.shop.post("/webhooks", &body));
            answered += usize::from(answer.expect(201).status == 201);
        }
        scene.daemon.kill_9();
        scene.daemon.start_again().await;
        assert_eq!(webhooks(&scene.shop).await, answered);
    }
}

#[tokio::test]
async fn a_lock_on_mails_is_seen_by_operators() {
    let scene = Scene::open(Backends::postgres_redis().await).await;
    let ann = Operator::sign_in(&scene.daemon, &scene.backends.command_line(), "ann", "admin", None).await;
    assert!(ann.get("/").await.expect(200).body.contains("All is well"));
    let lock = lock_out(&scene.backends).await;
    let ready = scene.daemon.admin("/readyz").await.expect(503).json();
    assert_eq!(
        (&ready["dependencies"][0]["name"], &ready["dependencies"][0]["ok"]),
        (&json!("database"), &json!(false))
    );
    let overview = ann.get("/").await.expect(200).body;
    assert!(overview.contains("The database does not answer how many mails wait"), "{overview}");
    assert!(!overview.contains("All is well"));
    lock.close().await.unwrap();
    eventually("all is well again", async || ann.get("/").await.body.contains("All is well")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_was_answered_after_postgres_hung_stays() {
    let mut cluster = Cluster::start();
    let backends = Backends::on(cluster.new_database().await).await.with("http.timeout", "1s");
    let mut scene = Scene::open(backends).await;
    cluster.freeze();
    let brand = json!({"name": "Tea", "sender": {"email": "tea@shop.example"}});
    let puts: Vec<_> = (0..16).map(|number| format!("/api/v1/brands/b{number}")).collect();
    for answer in join_all(puts.iter().map(|path| scene.shop.put(path, &brand))).await {
        answer.expect(503);
    }
    cluster.thaw();
    let body = json!({"url": "https://hooks.example/x", "events": ["*"]});
    eventually("it answers again", async || scene.shop.post("/webhooks", &body).await.status == 201).await;
    for _ in 0..9 {
        scene.shop.post("/webhooks", &body).await.expect(201);
    }
    let open = "SELECT 'open', COUNT(*) FROM pg_stat_activity
        WHERE state LIKE 'idle in transaction%' AND datname = current_database() AND state_change < now() - interval '1 s'";
    assert_eq!(scene.backends.tally(open).await["open"], 0);
    scene.daemon.kill_9();
    scene.daemon.start_again().await;
    assert_eq!(webhooks(&scene.shop).await, 10);
}
/// A new database of this cluster that is reached through a proxy, by a worker that is heard all the while.
async fn through_a_proxy(cluster: &Cluster) -> (DatabaseProxy, Backends) {
    let (proxy, database) = DatabaseProxy::before(&cluster.new_database().await).await;
    (proxy, Backends::on(database).await.with("worker.silence", "5m"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_unknown_until_its_key_is_asked_again() {
    let cluster = Cluster::start();
    let (proxy, backends) = through_a_proxy(&cluster).await;
    let backends = backends.with("http.timeout", "1s");
    let scene = Scene::open(backends).await;
    let requests = one_of_each_family(&scene.shop, "ok").await;

    proxy.keep_answers(true);
    for answer in ask_all(&scene.shop, &requests, "key").await {
        // Reserving the key is a commit too, and says nothing about the mail.
        answer.expect(503);
    }
    proxy.keep_answers(false);
    within(HUNG_STORE_TIMEOUT, "each key has an answer", async || {
        let answers = ask_all(&scene.shop, &requests, "key").await;
        answers.iter().all(|answer| answer.status < 300)
    })
    .await;
    within(HUNG_STORE_TIMEOUT, "the mails are there", async || scene.sink.count() >= 4).await;
    let last = scene.shop.send_to("ok-last@example.net").await;
    scene.shop.wait_until(&last, "sent").await;
    assert_eq!(scene.sink.count(), 5, "each came once");

    // Without a key, the commit of the mail is the first one.
    scene.shop.enrol("ok-unknown@example.net").await;
    proxy.keep_answers(true);
    let answer = scene.shop.post("/mail", &welcome("ok-unknown@example.net")).await.expect(503);
    assert!(answer.json()["message"].as_str().unwrap().contains("not known yet"), "{answer:?}");
    proxy.keep_answers(false);
    within(HUNG_STORE_TIMEOUT, "it was committed after all", async || {
        scene.caught("ok-unknown@example.net") == 1
    })
    .await;
}

/// The scheduler marks rows before it enqueues them. One that hears nothing of its mark must not leave them to the next time
/// that they are due, which is a minute later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_the_scheduler_without_an_answer_delays_a_mail_no_longer_than_the_database() {
    let cluster = Cluster::start();
    let (proxy, backends) = through_a_proxy(&cluster).await;
    let backends = backends.with("retry.first", "3s");
    let scene = Scene::open(backends).await;
    let mail = scene.shop.send_to("greylist-once@example.net").await;
    scene.shop.wait_until(&mail, "deferred").await;
    proxy.keep_answers(true);
    sleep(Duration::from_secs(5)).await;
    proxy.keep_answers(false);
    let answers_again = Instant::now();
    within(HUNG_STORE_TIMEOUT, "its next attempt", async || scene.caught("greylist-once@example.net") == 1)
        .await;
    // What was sent on a connection that says nothing is waited for for 20 seconds.
    assert!(answers_again.elapsed() < Duration::from_secs(40), "{:?}", answers_again.elapsed());
}

/// A file system of a few megabytes in memory.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(folder).status();
        assert!(done.unwrap().success(), "a small file system needs root");
        Self(folder.to_owned())
    }

    fn fill(&self) {
        // As much as there is room for.
        let _ = std::fs::write(self.0.join("filler"), vec![1; 16 * 1024 * 1024]);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_over_when_there_is_room_again() {
    let backends = Backends::sqlite_memory();
    let disk = SmallDisk::mount(&backends.folder().join("small"));
    let database = format!("sqlite:{}", backends.folder().join("small/postroom.db").display());
    let scene = Scene::open(backends.with("database.url", database)).await;
    let slow = scene.shop.send_to("slow-1500@example.net").await;
    scene.shop.wait_until(&slow, "sending").await;

    disk.fill();
    let brand = json!({"name": "Tea ".repeat(50), "sender": {"email": "tea@shop.example"}});
    // The write-ahead log may still have room that it was given before.
    eventually("writes fail, and readiness says so", async || {
        let written = scene.shop.put("/api/v1/brands/b", &brand).await.status;
        written == 503 && scene.daemon.admin("/readyz").await.status == 503
    })
    .await;
    assert!(scene.sink.wait_for(1, Duration::from_secs(10)).await, "the attempt goes on");

    disk.make_room();
    eventually("it is ready again", async || scene.daemon.admin("/readyz").await.status == 200).await;
    scene.shop.put("/api/v1/brands/b", &brand).await.expect(201);
    let story = scene.shop.wait_until(&slow, "sent").await;
    assert_eq!(story["attempts"].as_array().unwrap().len(), 1, "{story}");
    assert_eq!(scene.sink.count(), 1);
    drop(scene);
}
