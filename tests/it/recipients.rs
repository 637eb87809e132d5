//! Everything about a recipient is found and erased, and what is old goes by itself.

use std::{process::Command, time::Duration};

use postroom::store::Store;
use serde_json::{Value, json};

use super::support::{Backends, Hook, Scene, addresses, eventually, welcome};

const ANN: &str = "Ann.Lee+tea@example.net";
const JOANN: &str = "joann.lee+tea@example.net";

fn holds(text: &[u8], part: &str) -> bool {
    String::from_utf8_lossy(text).to_lowercase().contains(&part.to_lowercase())
}

/// Every byte that the stores and the log hold.
async fn everything(scene: &Scene) -> Vec<u8> {
    let mut bytes = scene.daemon.log_text().into_bytes();
    let url = scene.backends.database().url;
    if url.starts_with("sqlite:") {
        for file in ["postroom.db", "postroom.db-wal"] {
            bytes.extend(std::fs::read(scene.backends.folder().join(file)).unwrap_or_default());
        }
    } else {
        let programs =
            std::env::var("POSTGRES_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
        let dump = Command::new(format!("{programs}/pg_dump")).arg(url).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        bytes.extend(dump.stdout);
    }
    if let Some(redis) = &scene.backends.redis {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let config = ["SET", "rdbcompression", "no"];
        redis::cmd("CONFIG").arg(&config).query_async::<()>(&mut connection).await.unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        for key in keys {
            let value: Option<Vec<u8>> =
                redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap();
            bytes.extend(key.into_bytes());
            bytes.extend(value.unwrap_or_default());
        }
    }
    bytes
}

/// A member, an order, a cart and a subscription of Ann's, and mails about them.
async fn fill(scene: &Scene) {
    let shop = &scene.shop;
    let order = json!({"language": "de", "currency": "EUR", "totalAmount": "59.90",
        "items": [{"name": "Tea", "quantity": 2, "unitPrice": "29.95"}],
        "endUser": {"email": ANN, "firstName": "Annabel", "lastName": "Leigh"},
        "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED"});
    shop.put("/api/v1/orders/ord_1", &order).await.expect(201);
    let cart = json!({"recovery_link": "https://tea.example/c/1", "currency": "EUR", "total": "9.90",
        "customer": {"email": ANN, "first_name": "Annabel"}});
    shop.put("/api/v1/abandoned-carts/c1", &cart).await.expect(201);
    let subscription = json!({"state": "waiting_for_payment", "cart_link": "https://tea.example/s?to=Ann.Lee%2Btea%40example.net",
        "shopper": {"email": ANN, "first_name": "Annabel"}});
    shop.put("/api/v1/subscriptions/s1", &subscription).await.expect(201);
    let sent = shop.send_to(ANN).await;
    shop.wait_until(&sent, "sent").await;
    shop.wait_until(&shop.send_to(JOANN).await, "sent").await;
    let path = "/ordersv2/ord_1/email/send?reason=asked%20by%20ann.lee%2Btea%40example.net";
    shop.post_once(path, "key-1", &json!({"template": "ORDERCONFIRMATION"})).await.expect(202);
    let alert = json!({"type": "email", "alert_details": {"subject": "Your tea", "message": "It waits."}});
    shop.post("/abandoned-carts/c1/reminder", &alert).await.expect(200);
    eventually("all are sent", async || scene.sink.mails().len() == 4).await;
    let batch = shop
        .send_batch(&json!({"brand_id": "tea", "template_id": "welcome",
        "users": [{"identifier": ANN, "first_name": "Annabel"}, {"identifier": JOANN}]}))
        .await;
    shop.until_batch(&batch, "finished").await;
}

on_both! {
    async fn after_an_erasure_nothing_holds_the_address_and_the_counts_remain(backends: Backends) {
        let mut hook = Hook::listen().await;
        let mut scene = Scene::open(backends.allowing_hooks()).await;
        scene.shop.post("/webhooks", &json!({"url": hook.url, "events": ["email.sent"]})).await.expect(201);
        fill(&scene).await;
        for _ in 0..6 {
            hook.next_unchecked().await;
        }
        let commands = scene.backends.command_line();
        commands.run(&["queue", "pause", "--lane", "transactional", "--reason", "a test"]).expect(0);
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let waiting = scene.shop.send_to(ANN).await;
        let before = scene.backends.tally("SELECT 'mails', COUNT(*) FROM mails").await;
        assert!(holds(&everything(&scene).await, ANN));

        let exported = commands.run(&["recipient", "export", "ANN.lee+tea@example.net"]).expect(0).json();
        assert_eq!(exported["mails"].as_array().unwrap().len(), 5, "{exported:#}");
        assert_eq!(exported["mails"][0]["values"]["last_name"], "Lee", "{exported:#}");
        let tables: std::collections::BTreeSet<_> =
            exported["records"].as_array().unwrap().iter().map(|record| record["table"].as_str().unwrap()).collect();
        for table in ["resources", "order_emails", "order_audit", "events", "idempotency"] {
            assert!(tables.contains(table), "{table} is not in {tables:?}");
        }
        assert!(!exported.to_string().contains("joann"));

        assert!(commands.run(&["recipient", "erase", ANN]).expect(2).err.contains("--yes"));
        let erased = commands.run(&["recipient", "erase", "ann.lee+TEA@example.net", "--yes", "--json"]).expect(0);
        assert_eq!(erased.json()["cancelled"], 1, "{}", erased.out);
        scene.daemon.stop().await;
        commands.run(&["recipient", "erase", ANN, "--yes", "--vacuum"]).expect(0);

        let left = everything(&scene).await;
        let text = String::from_utf8_lossy(&left).to_lowercase().replace("joann.lee", "somebody.else");
        for part in ["ann.lee+tea", "ann.lee%2btea", "example.net@ann.lee", "annabel", "leigh"] {
            let around = text.find(part).map(|at| text[at.saturating_sub(80)..].chars().take(200).collect::<String>());
            assert_eq!(around, None, "{part}");
        }
        assert!(holds(&left, JOANN), "somebody else is not erased");
        assert_eq!(scene.backends.tally("SELECT 'mails', COUNT(*) FROM mails").await, before);
        let states = scene.backends.tally("SELECT state, COUNT(*) FROM mails GROUP BY state").await;
        assert_eq!(states, [("sent".to_owned(), 6), ("cancelled".to_owned(), 1)].into());
        let audit = commands.run(&["audit", "list", "--action", "recipient.erased", "--json"]).expect(0).json();
        assert!(audit[0]["target"].as_str().unwrap().starts_with("sha256:"), "{audit}");
        scene.daemon.start_again().await;
        assert_eq!(scene.shop.mail(&waiting).await["recipient"], "erased@postroom.invalid");
        scene.shop.post(&format!("/api/v1/mails/{waiting}/retry"), &json!({})).await.expect(409);
        commands.run(&["mail", "retry", &waiting]).expect(1);
        scene.shop.get(&format!("/api/v1/members/{ANN}")).await.expect(404);
        let order = scene.shop.get("/ordersv2/ord_1").await.expect(200).json();
        assert_eq!(order["endUser"], json!({}));
    }

    async fn the_tags_and_files_of_an_erased_mail_go_with_it(backends: Backends) {
        let scene = Scene::open(backends).await;
        for (to, file) in [(ANN, "JVBERi0xLjc="), (JOANN, "JVBERi0xLjg="), (ANN, "JVBERi0xLjg=")] {
            scene.shop.enrol(to).await;
            let mut body = welcome(to);
            body["tags"] = json!(["invoice"]);
            body["metadata"] = json!({"customer": "4711"});
            body["attachments"] = json!([{"filename": "invoice.pdf", "content": file}]);
            let answer = scene.shop.post("/mail", &body).await.expect(200).json();
            scene.shop.wait_until(answer["data"][to]["transaction_id"].as_str().unwrap(), "sent").await;
        }
        let commands = scene.backends.command_line();
        commands.run(&["recipient", "erase", ANN, "--yes"]).expect(0);
        let files = "SELECT 'files', COUNT(*) FROM mail_attachments UNION ALL SELECT 'tags', COUNT(*) FROM mail_tags";
        assert_eq!(scene.backends.tally(files).await, [("files".to_owned(), 1), ("tags".to_owned(), 2)].into());
        scene.backends.execute("UPDATE attachments SET stored_at = 1").await;
        let app = Store::open(&scene.backends.database()).await.unwrap();
        assert_eq!(app.forget_unused_attachments().await.unwrap(), 1, "the other file is somebody else's too");
    }

    async fn a_recipient_is_found_and_erased_among_more_rows_than_are_read_at_once(backends: Backends) {
        let store = Store::open(&backends.database()).await.unwrap();
        store.migrate().await.unwrap();
        let rows = "INSERT INTO audit (id, at, actor, action, target, number, details)
            WITH RECURSIVE numbers (n) AS (SELECT 100000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 112000)
            SELECT CAST(n AS TEXT), 0, 'cli:root', 'mail.cancel', 'mail', 1,
                CASE WHEN n % 6000 = 0 THEN '{\"q\":\"to:last@example.net\"}' ELSE '{}' END FROM numbers";
        backends.execute(rows).await;
        let address = "last@example.net".parse().unwrap();
        let look_and_erase = async {
            assert_eq!(store.traces_of(&address).await.unwrap().len(), 2);
            store.erase_recipient(&address).await.unwrap();
            assert_eq!(store.traces_of(&address).await.unwrap(), []);
        };
        tokio::time::timeout(Duration::from_secs(60), look_and_erase).await.expect("it comes to an end");
    }

    async fn mails_go_when_they_were_kept_long_enough_and_their_batch_keeps_its_counts(backends: Backends) {
        let scene = Scene::open(backends.with("keep.mails", "1d")).await;
        let users = addresses("old", 30);
        scene.shop.enrol_all(&users).await;
        let batch = scene.shop.send_all(&users).await;
        scene.shop.until_batch(&batch, "finished").await;
        let held = scene.shop.send_to("new@example.net").await;
        scene.shop.wait_until(&held, "sent").await;
        // Two days pass for the mails of the batch.
        let earlier = "UPDATE mails SET settled_at = settled_at - 172800000, id = '01900000' || substr(id, 9) WHERE batch_id IS NOT NULL";
        scene.backends.execute(earlier).await;
        let app = postroom::app::App::open(
            postroom::config::Config::load(Some(&scene.backends.config()), []).unwrap(),
        );
        let app = app.await.unwrap();
        let forgotten = app.store.forget_old_mails(app.config.keep.mails).await.unwrap();
        assert_eq!(forgotten, 30);
        assert_eq!(app.store.forget_old_mails(app.config.keep.mails).await.unwrap(), 0);
        let left = scene.backends.tally("SELECT 'mails', COUNT(*) FROM mails").await;
        assert_eq!(left["mails"], 1);
        let shown = scene.shop.batch(&batch).await;
        assert_eq!(shown["counts"]["sent"], 30, "{shown:#}");
        let results: Value = scene.shop.results(&batch).await;
        assert_eq!(results["mails"], serde_json::json!([]), "{results:#}");
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    let backends = Backends::sqlite_memory();
    let commands = backends.command_line();
    commands.run(&["migrate"]).expect(0);
    commands.run(&["recipient", "export", "ann"]).expect(2);
    let nothing = commands.run(&["recipient", "export", "nobody@example.net"]).expect(0).json();
    assert_eq!((&nothing["mails"], &nothing["records"]), (&json!([]), &json!([])));
}
