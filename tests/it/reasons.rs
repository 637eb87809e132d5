//! When a mail is about to go its reason is asked again: nobody is reminded of what is over.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Backends, Hook, Scene, eventually, send};

/// How soon a change is seen in all processes.
const SEEN: Duration = Duration::from_secs(2);

async fn listen(scene: &Scene, events: &[&str]) -> Hook {
    let hook = Hook::listen().await;
    scene.shop.post("/webhooks", &json!({"url": hook.url, "events": events})).await.expect(201);
    hook
}

/// Holds all single mails back, or lets them go.
async fn pause(scene: &Scene, is_paused: bool) {
    let commands = scene.backends.command_line();
    if is_paused {
        let words = ["queue", "pause", "--lane", "transactional", "--reason", "so that it changes meanwhile"];
        commands.run(&words).expect(0);
        tokio::time::sleep(SEEN).await;
    } else {
        commands.run(&["queue", "resume", "--lane", "transactional"]).expect(0);
    }
}

/// The id of the newest mail that fits.
async fn mail_about(scene: &Scene, query: &str) -> String {
    let listed = scene.shop.get(&format!("/api/v1/mails?{query}")).await.expect(200).json();
    listed["data"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// Asserts that a mail was not sent, for this reason, and that nobody tried.
async fn is_not_sent(scene: &Scene, mail: &str, why: &str) -> Value {
    let story = scene.shop.wait_until(mail, "cancelled").await;
    assert_eq!(story["cancel_reason"], why, "{story:#}");
    assert_eq!((&story["attempts"], &story["attempts_made"]), (&json!([]), &json!(0)));
    assert_eq!(scene.sink.find(story["recipient"].as_str().unwrap()).map(|mail| mail.at), None);
    story
}

fn cart(status: &str) -> Value {
    json!({"recovery_link": "https://shop.example/r/1", "currency": "EUR", "total": "59.90", "status": status,
        "customer": {"email": "cart@example.net"}})
}

fn order(changes: &Value) -> Value {
    let mut order = json!({"currency": "EUR", "totalAmount": "59.90", "endUser": {"email": "order@example.net"},
        "paymentStatus": "PENDING", "subscription": {"recurring": true}});
    order.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    order
}

on_both! {
    async fn a_cart_that_is_recovered_while_its_reminder_waits_for_a_rate_gets_no_mail(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = listen(&scene, &["email.cancelled", "reminder.sent"]).await;
        let commands = scene.backends.command_line();
        commands.run(&["merchant", "update", "tea-co", "--rate", "1/h"]).expect(0);
        // Rates are read every five seconds.
        tokio::time::sleep(SEEN * 3).await;
        scene.shop.wait_until(&scene.shop.send_to("ok@example.net").await, "sent").await;
        scene.shop.put("/api/v1/abandoned-carts/c1", &cart("abandoned")).await.expect(201);
        let body = json!({"type": "email", "alert_details": {"subject": "Your cart", "message": "It waits."}});
        scene.shop.post("/abandoned-carts/c1/reminder", &body).await.expect(200);
        let mail = mail_about(&scene, "cart=c1").await;
        eventually("it waits for a rate", async || scene.shop.mail(&mail).await["waiting"]["reason"] == "rate").await;
        scene.shop.put("/api/v1/abandoned-carts/c1", &cart("recovered")).await.expect(200);
        commands.run(&["merchant", "update", "tea-co", "--no-rate"]).expect(0);
        let story = is_not_sent(&scene, &mail, "cart_recovered").await;
        let last = story["timeline"].as_array().unwrap().last().unwrap()["event"].clone();
        assert_eq!(last, "cancelled: the shopper came back for the cart");
        let told = hook.next(&scene.shop).await;
        assert_eq!(told["type"], "email.cancelled");
        assert_eq!((&told["data"]["cancel_reason"], &told["data"]["cart"]), (&json!("cart_recovered"), &json!("c1")));
        assert!(hook.is_quiet());
        let shown = commands.run(&["mail", "show", &mail]).expect(0).out;
        assert!(shown.contains("cart_recovered: the shopper came back for the cart"), "{shown}");
        // Whoever tries it again gets the same answer while the reason is gone, and the mail once it is there again.
        scene.shop.post(&format!("/api/v1/mails/{mail}/retry"), &json!({})).await.expect(200);
        is_not_sent(&scene, &mail, "cart_recovered").await;
        scene.shop.put("/api/v1/abandoned-carts/c1", &cart("abandoned")).await.expect(200);
        scene.shop.post(&format!("/api/v1/mails/{mail}/retry"), &json!({})).await.expect(200);
        let story = scene.shop.wait_until(&mail, "sent").await;
        assert_eq!(story.get("cancel_reason"), None);
    }

    async fn an_order_that_changes_meanwhile_gets_no_mail_and_its_workflow_fails(backends: Backends) {
        let scene = Scene::open(backends.allowing_hooks()).await;
        let mut hook = listen(&scene, &["order.email.failed"]).await;
        for (id, change, why) in [
            ("paid", json!({"paymentStatus": "COMPLETED"}), "order_paid"),
            ("cancelled", json!({"cancellation": {"triggeredAt": "2026-11-20T09:00:00Z"}}), "order_cancelled"),
        ] {
            pause(&scene, true).await;
            let path = format!("/api/v1/orders/{id}");
            scene.shop.put(&path, &order(&json!({}))).await.expect(201);
            let sent = scene.shop.post(&format!("/ordersv2/{id}/email/send"), &json!({"template": "PREBILLING"})).await;
            assert_eq!(sent.expect(202).json()["prebillingStatus"], "PENDING");
            let mail = mail_about(&scene, &format!("order={id}")).await;
            scene.shop.put(&path, &order(&change)).await.expect(200);
            pause(&scene, false).await;
            is_not_sent(&scene, &mail, why).await;
            let shown = scene.shop.get(&format!("/ordersv2/{id}")).await.expect(200).json();
            assert_eq!((&shown["prebillingStatus"], &shown["emails"][0]["status"]), (&json!("FAILED"), &json!("cancelled")));
            let told = hook.next(&scene.shop).await;
            assert_eq!((&told["type"], &told["data"]["cancel_reason"]), (&json!("order.email.failed"), &json!(why)));
        }
        // One that is as it was is sent: the workflow that waits for it is nothing against it.
        scene.shop.put("/api/v1/orders/same", &order(&json!({}))).await.expect(201);
        scene.shop.post("/ordersv2/same/email/send", &json!({"template": "PREBILLING"})).await.expect(202);
        scene.shop.wait_until(&mail_about(&scene, "order=same").await, "sent").await;
    }

    async fn a_cart_link_goes_while_its_state_allows_one_and_a_draft_that_it_made_sent_is_fine(backends: Backends) {
        let scene = Scene::open(backends).await;
        scene.backends.command_line().run(&["merchant", "update", "tea-co", "--country", "MX"]).expect(0);
        tokio::time::sleep(SEEN).await;
        let subscription = |state: &str| json!({"state": state, "cart_link": "https://shop.example/c/1",
            "shopper": {"email": "subscriber@example.net"}});
        for (id, becomes, why) in [("s1", "active", Some("subscription_moved_on")), ("s2", "", None)] {
            pause(&scene, true).await;
            let path = format!("/api/v1/subscriptions/{id}");
            scene.shop.put(&path, &subscription("draft")).await.expect(201);
            let ask = scene.shop.request(Method::POST, &format!("/api/public/v1/subscriptions/{id}/send_email"));
            send(ask).await.expect(202);
            assert_eq!(scene.shop.get(&path).await.expect(200).json()["state"], "sent");
            let mail = mail_about(&scene, &format!("subscription={id}")).await;
            if !becomes.is_empty() {
                scene.shop.put(&path, &subscription(becomes)).await.expect(200);
            }
            pause(&scene, false).await;
            match why {
                Some(why) => drop(is_not_sent(&scene, &mail, why).await),
                None => drop(scene.shop.wait_until(&mail, "sent").await),
            }
        }
    }
}
