//! Mails of orders, sent again: from the request to the order that shows what became of them.

use std::time::Duration;

use futures_util::future::join_all;
use postroom::{app::App, config::Config};
use serde_json::{Value, json};

use super::support::{Backends, Scene, Shop, eventually};

const SEND: &str = "/ordersv2/ord_1/email/send";

fn order(recipient: &str) -> Value {
    json!({"language": "de", "currency": "EUR", "totalAmount": "59.90",
        "items": [{"name": "Tea", "quantity": 2, "unitPrice": "29.95"}],
        "endUser": {"email": recipient, "firstName": "Ann", "lastName": "Lee"},
        "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED"})
}

fn confirmation() -> Value {
    json!({"template": "ORDERCONFIRMATION"})
}

async fn tell(shop: &Shop, recipient: &str) {
    shop.put("/api/v1/orders/ord_1", &order(recipient)).await.expect(201);
}

async fn show(shop: &Shop) -> Value {
    shop.get("/ordersv2/ord_1").await.expect(200).json()
}

/// Waits until the workflow is in a state and returns the order.
async fn wait_until(shop: &Shop, state: &str) -> Value {
    let mut order = Value::Null;
    eventually(&format!("emailConfirmationStatus is {state}"), async || {
        order = show(shop).await;
        order["emailConfirmationStatus"] == state
    })
    .await;
    order
}

on_both! {
    async fn an_order_shows_the_id_that_the_relay_gave_its_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        tell(&scene.shop, "ok@example.net").await;
        let accepted = scene.shop.post(SEND, &confirmation()).await.expect(202).json();
        assert_eq!(accepted["emailConfirmationStatus"], "PENDING");
        assert_eq!(accepted["emails"][0].get("emailId"), None);

        let order = wait_until(&scene.shop, "COMPLETED").await;
        let caught = scene.sink.find("ok@example.net").unwrap();
        assert_eq!(order["emails"][0]["emailId"], caught.queue_id.as_str());
        assert_eq!(order["emails"][0]["status"], "sent");
        assert_eq!(caught.subject(), "Bestätigung Ihrer Bestellung ord_1");
        let text = caught.text().unwrap();
        assert!(text.contains("Ann Lee") && text.contains("59,90\u{a0}€") && text.contains("Tea & Co"), "{text}");
    }

    async fn an_order_whose_mail_is_refused_shows_that_it_failed(backends: Backends) {
        let scene = Scene::open(backends).await;
        tell(&scene.shop, "reject@example.net").await;
        scene.shop.post(SEND, &confirmation()).await.expect(202);
        let order = wait_until(&scene.shop, "FAILED").await;
        assert_eq!(order["emails"][0]["status"], "failed");
        assert_eq!(order["emails"][0].get("emailId"), None);

        let to_another = json!({"template": "ORDERCONFIRMATION", "to": "ok@example.net"});
        scene.shop.post(SEND, &to_another).await.expect(202);
        let order = wait_until(&scene.shop, "COMPLETED").await;
        assert_eq!(order["emails"][1]["recipient"], "ok@example.net");
    }

    async fn an_order_is_judged_by_its_present_document_whatever_earlier_requests_needed(backends: Backends) {
        let scene = Scene::open(backends).await;
        tell(&scene.shop, "ok@example.net").await;
        let of_store = async |store: &str, sender: &str| {
            let settings = json!({"sender": {"name": "Tea", "email": sender}});
            scene.shop.put(&format!("/api/v1/stores/{store}"), &settings).await;
            let mut order = order("ok@example.net");
            order["storeId"] = store.into();
            scene.shop.put("/api/v1/orders/ord_1", &order).await;
        };
        let sender_of_next = async |mails: usize| {
            scene.shop.post(SEND, &confirmation()).await.expect(202);
            wait_until(&scene.shop, "COMPLETED").await;
            assert_eq!(scene.caught("ok@example.net"), mails);
            scene.sink.mails().last().unwrap().sender.clone()
        };
        // Asked for one after the other, then along with the order, in another version, and instead of what was guessed.
        let changes = [("main", "a@example.com"), ("main", "a@example.com"), ("main", "b@example.com"), ("other", "c@example.com")];
        for (n, (store, sender)) in changes.into_iter().enumerate() {
            of_store(store, sender).await;
            assert_eq!(sender_of_next(n + 1).await, sender);
        }
        let own = json!({"brand_id": "tea", "title": "t", "subject": "Ours", "html": "<p>{{order_id}}</p>"});
        scene.shop.put("/api/v1/templates/order_confirmation", &own).await.expect(201);
        sender_of_next(5).await;
        assert_eq!(scene.sink.mails().last().unwrap().subject(), "Ours");
    }

    async fn an_order_forgets_the_entries_of_mails_that_are_forgotten(backends: Backends) {
        let scene = Scene::open(backends).await;
        tell(&scene.shop, "ok@example.net").await;
        scene.shop.post(SEND, &confirmation()).await.expect(202);
        wait_until(&scene.shop, "COMPLETED").await;
        let app = App::open(Config::load(Some(&scene.backends.config()), []).unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(app.store.forget_old_mails(Duration::ZERO).await.unwrap(), 1);
        let order = show(&scene.shop).await;
        assert_eq!((&order["emails"], &order["emailConfirmationStatus"]), (&json!([]), &json!("COMPLETED")));
        let entries = async || scene.backends.tally("SELECT 'entries', COUNT(*) FROM order_emails").await["entries"];
        assert_eq!(entries().await, 0);
        // As a version before this one does it beside it.
        scene.shop.post(SEND, &confirmation()).await.expect(202);
        wait_until(&scene.shop, "COMPLETED").await;
        scene.backends.execute("DELETE FROM mails").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.store.forget_stray_entries(Duration::ZERO).await.unwrap();
        assert_eq!(entries().await, 0);
    }

    async fn of_two_equal_requests_at_once_one_sends_a_mail(backends: Backends) {
        // Slow, so that the first mail is under way when the second request reads the order.
        let scene = Scene::open(backends).await;
        tell(&scene.shop, "slow-300@example.net").await;
        for round in 1..=20 {
            let body = confirmation();
            let (one, other) = tokio::join!(scene.shop.post(SEND, &body), scene.shop.post(SEND, &body));
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [202, 400], "round {round}: {one:?} {other:?}");
            let order = wait_until(&scene.shop, "COMPLETED").await;
            assert_eq!(order["emails"].as_array().unwrap().len(), round);
        }
        assert_eq!(scene.caught("slow-300@example.net"), 20);
    }

    async fn of_equal_requests_at_once_for_many_orders_each_sends_one_mail(backends: Backends) {
        let scene = Scene::open(backends).await;
        let orders: Vec<_> = (1..=10).map(|number| format!("ord_{number}")).collect();
        for id in &orders {
            // Put off by the relay, so that the workflow stays PENDING for longer than the test takes.
            scene.shop.put(&format!("/api/v1/orders/{id}"), &order("defer@example.net")).await.expect(201);
        }
        let body = confirmation();
        let requests = (0..3).flat_map(|_| &orders).map(async |id| {
            scene.shop.post(&format!("/ordersv2/{id}/email/send"), &body).await.status
        });
        let statuses = join_all(requests).await;
        for (place, id) in orders.iter().enumerate() {
            let mut of_order: Vec<_> = statuses.iter().skip(place).step_by(orders.len()).collect();
            of_order.sort_unstable();
            assert_eq!(of_order, [&202, &400, &400], "{id}");
            let shown = scene.shop.get(&format!("/ordersv2/{id}")).await.expect(200).json();
            assert_eq!(shown["emails"].as_array().unwrap().len(), 1, "{id}");
        }
    }

    async fn equal_requests_at_once_for_a_mail_without_a_workflow_all_send(backends: Backends) {
        let scene = Scene::open(backends).await;
        let mut unpaid = order("ok@example.net");
        unpaid["paymentStatus"] = json!("PENDING");
        scene.shop.put("/api/v1/orders/ord_1", &unpaid).await.expect(201);
        let body = json!({"template": "OFFLINE_PAYMENT_PENDING"});
        let answers = join_all((0..20).map(|_| scene.shop.post(SEND, &body))).await;
        assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
        eventually("all are sent", async || scene.caught("ok@example.net") == 20).await;
    }
}

/// There is a connection to the relay, and no mail waits: but for the queue it would go at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_a_hung_redis_does_not_take_fails_and_is_never_sent() {
    let scene = Scene::open(Backends::postgres_redis().await).await;
    tell(&scene.shop, "ok@example.net").await;
    scene.shop.wait_until(&scene.shop.send_to("ok-first@example.net").await, "sent").await;
    let redis = scene.backends.redis.as_ref().unwrap();
    redis.signal("STOP");
    let answer = scene.shop.post(SEND, &confirmation()).await.expect(503);
    redis.signal("CONT");
    assert_eq!(answer.json()["error"]["code"], "dispatch_failed");
    let order = show(&scene.shop).await;
    assert_eq!(
        (&order["emailConfirmationStatus"], &order["emails"][0]["status"]),
        (&json!("FAILED"), &json!("failed"))
    );
    assert!(!scene.sink.wait_for(2, Duration::from_secs(3)).await, "it is not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_redis_does_not_take_fails_and_is_never_sent() {
    let mut scene = Scene::open(Backends::postgres_redis().await).await;
    tell(&scene.shop, "ok@example.net").await;
    let redis = scene.backends.redis.as_mut().unwrap();
    redis.kill_9();
    let answer = scene.shop.post_once(SEND, "key", &confirmation()).await.expect(503);
    assert_eq!(answer.json()["error"]["code"], "dispatch_failed");
    assert!(answer.header("retry-after").is_some());
    let order = show(&scene.shop).await;
    assert_eq!(
        (&order["emailConfirmationStatus"], &order["emails"][0]["status"]),
        (&json!("FAILED"), &json!("failed"))
    );

    redis.start_again().await;
    scene.shop.post_once(SEND, "key", &confirmation()).await.expect(202);
    let order = wait_until(&scene.shop, "COMPLETED").await;
    assert_eq!(
        (&order["emails"][0]["status"], &order["emails"][1]["status"]),
        (&json!("failed"), &json!("sent"))
    );
    assert!(!scene.sink.wait_for(2, Duration::from_secs(1)).await, "only the second mail is sent");
}
