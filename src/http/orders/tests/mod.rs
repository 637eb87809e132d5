//! The order family over HTTP: a real application on a database of its own, asked as a merchant's system asks.

mod cool_down;
mod refusals;
mod shop;

use serde_json::{Value, json};

use super::*;
use crate::{
    mail::{AttemptOutcome, MailEvent, MailLane, MailState, Timestamp, WorkerId},
    shop::{
        builtin_mails,
        language::Language,
        order::{Order, OrderTemplate, mail_values},
    },
    store::{Claim, webhooks_fixture as fixture},
};
use shop::{Shop, answer};

const ORDER: &str = "/ordersv2/ord_1";
const SEND: &str = "/ordersv2/ord_1/email/send";

fn confirmed_order() -> Value {
    json!({"storeId": "main", "language": "en", "currency": "EUR", "totalAmount": "59.90",
        "items": [{"name": "Tea", "quantity": 2, "unitPrice": "29.95"}],
        "endUser": {"email": "ann@example.net", "firstName": "Ann", "lastName": "Lee"},
        "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED",
        "payments": [{"paymentId": "pay_1", "amount": "59.90"}]})
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

#[tokio::test]
async fn a_resent_mail_is_an_entry_of_its_order_from_the_request_to_the_relays_id() {
    let shop = Shop::open().await;
    let mut expected = confirmed_order();
    shop.put("/api/v1/orders/ord_1", expected.clone()).await;
    expected["id"] = json!("ord_1");
    expected["emails"] = json!([]);
    assert_eq!(shop.order().await, expected);

    let (status, sent) =
        shop.send(json!({"template": "ORDERCONFIRMATION", "paymentId": "pay_1", "more": 1})).await;
    let created = sent["emails"][0]["createDate"].as_str().unwrap().to_owned();
    assert!(Timestamp::parse(&created).is_ok() && created.len() == 24 && created.ends_with('Z'));
    expected["emailConfirmationStatus"] = json!("PENDING");
    expected["emails"] = json!([{"templateName": "ORDERCONFIRMATION",
        "templateDefinitionName": "order-confirmation.default", "recipient": "ann@example.net",
        "paymentId": "pay_1", "createDate": created, "status": "queued"}]);
    assert_eq!((status, &sent), (202, &expected));
    assert_eq!(shop.order().await, expected);

    shop.settle(AttemptOutcome::Accepted, Some("4XyZ")).await;
    expected["emailConfirmationStatus"] = json!("COMPLETED");
    expected["emails"][0]["status"] = json!("sent");
    expected["emails"][0]["emailId"] = json!("4XyZ");
    assert_eq!(shop.order().await, expected);
}

#[tokio::test]
async fn a_relay_without_ids_leaves_the_message_id_and_a_refusal_fails_the_workflow() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    shop.settle(AttemptOutcome::Accepted, None).await;
    let message_id = format!("{}@postroom.invalid", shop.newest_mail().await);
    assert_eq!(shop.order().await["emails"][0]["emailId"], message_id);

    shop.send(json!({"template": "ORDERCONFIRMATION", "to": "Bob@Example.net"})).await;
    shop.settle(AttemptOutcome::Permanent, None).await;
    let order = shop.order().await;
    assert_eq!(order["emailConfirmationStatus"], "FAILED");
    assert_eq!(order["emails"][1]["status"], "failed");
    assert_eq!(order["emails"][1]["recipient"], "Bob@example.net");
    assert_eq!(order["emails"][1].get("emailId"), None);
    assert_eq!(order["emails"][0]["status"], "sent");
}

#[tokio::test]
async fn a_workflow_follows_its_mail_through_cancelling_and_trying_again() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    let mail = shop.newest_mail().await;
    for (step, state) in [("cancel", "FAILED"), ("retry", "PENDING")] {
        let path = format!("/api/v1/mails/{mail}/{step}");
        assert_eq!(answer(shop.request("POST", &path, None)).await.0, 200);
        assert_eq!(shop.order().await["emailConfirmationStatus"], state, "after {step}");
    }
    shop.app.store.move_mail(None, mail, MailEvent::Cancelled).await.unwrap();
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    shop.settle(AttemptOutcome::Accepted, None).await;
    // The first mail is not the workflow's any more.
    shop.app.store.move_mail(None, mail, MailEvent::Retried).await.unwrap();
    assert_eq!(shop.order().await["emailConfirmationStatus"], "COMPLETED");
}

#[tokio::test]
async fn a_test_mail_is_an_entry_of_its_order_and_moves_no_workflow() {
    let mut shop = Shop::open().await;
    let mut order = confirmed_order();
    order["emailConfirmationStatus"] = json!("FAILED");
    shop.put("/api/v1/orders/ord_1", order).await;
    let (live, trying) = (shop.token.clone(), shop.new_test_token().await);
    shop.token = trying;
    let (status, tried) = shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    assert_eq!((status, &tried["emailConfirmationStatus"]), (202, &json!("PENDING")));
    assert_eq!(shop.order().await["emailConfirmationStatus"], "FAILED");
    shop.settle(AttemptOutcome::Accepted, Some("sandbox-1")).await;
    let order = shop.order().await;
    assert_eq!(order["emailConfirmationStatus"], "FAILED");
    assert_eq!((&order["emails"][0]["test"], &order["emails"][0]["status"]), (&json!(true), &json!("sent")));

    assert_eq!(shop.send(json!({"template": "ORDERCONFIRMATION", "to": "bob@example.net"})).await.0, 202);
    shop.token = live;
    let (status, sent) = shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    assert_eq!((status, &sent["emailConfirmationStatus"]), (202, &json!("PENDING")), "{sent}");
    shop.settle(AttemptOutcome::Accepted, None).await;
    assert_eq!(shop.order().await["emailConfirmationStatus"], "COMPLETED");
}

#[tokio::test]
async fn an_announcement_that_is_needless_leaves_its_workflow_when_it_is_only_tried_out() {
    let mut shop = Shop::open().await;
    let mut order = confirmed_order();
    order["paymentStatus"] = json!("PENDING");
    order["subscription"] =
        json!({"recurring": true, "resumeOffer": {"resumesAt": "2020-01-01T00:00:00.000Z"}});
    shop.put("/api/v1/orders/ord_1", order).await;
    let trying = shop.new_test_token().await;
    let live = std::mem::replace(&mut shop.token, trying);
    for status in [None, Some("NOT_REQUIRED")] {
        let (code, answered) = shop.send(json!({"template": "PREBILLING"})).await;
        assert_eq!((code, &answered["prebillingStatus"]), (200, &json!("NOT_REQUIRED")));
        assert_eq!(shop.order().await.get("prebillingStatus").and_then(Value::as_str), status);
        shop.token.clone_from(&live);
    }
}

#[tokio::test]
async fn a_store_that_wants_no_alternative_mails_gets_its_order_back_as_it_is() {
    let shop = Shop::open().await;
    let mut order = confirmed_order();
    order["paymentStatus"] = json!("FAILED");
    order["subscription"] = json!({"recurring": false, "expiredAt": "2020-01-01T00:00:00.000Z"});
    shop.put("/api/v1/orders/ord_1", order).await;
    shop.put("/api/v1/stores/main", json!({"alternativeNonRecurringCommunications": false})).await;
    let as_it_is = shop.order().await;
    for template in ["NON_RECURRING_PAYMENT_ATTEMPT", "NON_RECURRING_PAYMENT_SUBSCRIPTION_EXPIRED"] {
        let answered = shop.send(json!({"template": template, "to": "not even an address"})).await;
        assert_eq!(answered, (200, as_it_is.clone()));
    }
    shop.put("/api/v1/stores/main", json!({})).await;
    let (status, sent) = shop.send(json!({"template": "NON_RECURRING_PAYMENT_ATTEMPT"})).await;
    assert_eq!((status, &sent["emails"][0]["paymentId"]), (202, &json!("pay_1")));
}

#[tokio::test]
async fn a_subscription_that_has_resumed_needs_no_announcement() {
    let shop = Shop::open().await;
    let mut order = confirmed_order();
    order["paymentStatus"] = json!("PENDING");
    order["prebillingStatus"] = json!("NONE");
    order["subscription"] =
        json!({"recurring": true, "resumeOffer": {"resumesAt": "2020-01-01T00:00:00.000Z"}});
    shop.put("/api/v1/orders/ord_1", order.clone()).await;
    let mut expected = shop.order().await;
    expected["prebillingStatus"] = json!("NOT_REQUIRED");
    assert_eq!(shop.send(json!({"template": "PREBILLING"})).await, (200, expected.clone()));
    assert_eq!(shop.send(json!({"template": "PREBILLING"})).await, (200, expected.clone()));
    assert_eq!(shop.order().await, expected);
    assert_eq!(expected["emails"], json!([]));

    order["subscription"]["resumeOffer"]["resumesAt"] = json!("2999-01-01T00:00:00Z");
    shop.put("/api/v1/orders/ord_1", order).await;
    assert_eq!(shop.order().await["prebillingStatus"], "NONE", "the merchant's later word");
    assert_eq!(shop.send(json!({"template": "PREBILLING"})).await.0, 202);
}

#[tokio::test]
async fn a_later_document_of_a_merchant_stands_but_for_a_mail_that_is_under_way() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    assert_eq!(shop.order().await["emailConfirmationStatus"], "PENDING");
    shop.settle(AttemptOutcome::Permanent, None).await;

    let mut silent = confirmed_order();
    silent.as_object_mut().unwrap().remove("emailConfirmationStatus");
    shop.put("/api/v1/orders/ord_1", silent).await;
    assert_eq!(shop.order().await["emailConfirmationStatus"], "FAILED");
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let order = shop.order().await;
    assert_eq!(
        (&order["emailConfirmationStatus"], &order["emails"][0]["status"]),
        (&json!("COMPLETED"), &json!("failed"))
    );
}

#[tokio::test]
async fn of_two_equal_requests_at_once_one_is_accepted() {
    let shop = Shop::open().await;
    let mut order = confirmed_order();
    order["subscription"] = json!({"recurring": true});
    for round in 0..20 {
        let (template, rule) = match round % 2 {
            0 => ("ORDERCONFIRMATION", "emailConfirmationStatus is COMPLETED or FAILED"),
            _ => ("PREBILLING", "prebillingStatus is not PENDING"),
        };
        order["paymentStatus"] = json!(if round % 2 == 0 { "COMPLETED" } else { "FAILED" });
        shop.put("/api/v1/orders/ord_1", order.clone()).await;
        let body = json!({"template": template});
        let (one, other) = tokio::join!(shop.send(body.clone()), shop.send(body));
        let (accepted, refused) = if one.0 == 202 { (one, other) } else { (other, one) };
        assert_eq!(accepted.0, 202);
        let message = format!("{template} requires that {rule}.");
        assert_eq!(refused, (400, error("order_not_eligible", &message)));
        assert_eq!(shop.order().await["emails"].as_array().unwrap().len(), round + 1);
        shop.settle(AttemptOutcome::Accepted, None).await;
    }
}

#[tokio::test]
async fn a_request_that_another_got_ahead_of_is_refused_even_if_that_mail_is_sent_already() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let merchant = "tea".parse().unwrap();
    let load = async || LoadedOrder::load(&shop.app, &merchant, "ord_1", "order e-mail").await.unwrap();
    let seen = load().await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    shop.settle(AttemptOutcome::Accepted, None).await;
    let mut found = load().await;
    let is_allowed =
        |found: &LoadedOrder| OrderTemplate::OrderConfirmation.check(&found.order, crate::clock::now());
    assert!(is_allowed(&found).is_ok(), "for whoever asks now");
    found.yield_to_rivals(&seen);
    assert!(is_allowed(&found).is_err(), "for whoever asked before");
    let mut again = load().await;
    again.yield_to_rivals(&found);
    assert!(is_allowed(&again).is_ok());
}

#[tokio::test]
async fn a_mail_that_the_queue_does_not_take_fails_and_is_never_sent() {
    let shop = Shop::open_with(&[("POSTROOM_QUEUE__URL", "redis://127.0.0.1:1")]).await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let body = json!({"template": "ORDERCONFIRMATION"});
    let tea = fixture::tea();
    fixture::register(&shop.app.store, &tea, "https://shop.example/hook", &["*"]).await;
    let failed =
        error("dispatch_failed", "The e-mail could not be dispatched; it failed and will not be sent.");
    for attempt in 0..2_usize {
        // The same key: an answer of 503 is not kept.
        let request = shop.request("POST", SEND, Some(&body)).header("idempotency-key", "k");
        assert_eq!(answer(request).await, (503, failed.clone()));
        let order = shop.order().await;
        assert_eq!(order["emailConfirmationStatus"], "FAILED");
        assert_eq!(order["emails"][attempt]["status"], "failed");
        let claimed = shop
            .app
            .store
            .claim_mail(shop.newest_mail().await, WorkerId::new(), MailLane::Transactional)
            .await
            .unwrap();
        assert!(matches!(claimed, Claim::NotYours(Some(MailState::Failed))), "{claimed:?}");
    }
    let events = shop.app.store.event_bodies().await;
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["email.failed", "order.email.failed"].repeat(2));
    assert_eq!(events[1]["data"]["order"], "ord_1");
    assert_eq!(events[1]["data"]["reply"], "the queue did not take the mail in time");
    shop.app.store.make_all_mails_due().await.unwrap();
    let due =
        shop.app.store.mark_due_mails(MailLane::Transactional, std::time::Duration::from_secs(60), &[]).await;
    assert_eq!(due.unwrap(), []);
}

#[tokio::test]
async fn a_mail_that_a_worker_has_is_not_withdrawn() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    let mail = shop.newest_mail().await;
    assert!(matches!(
        shop.app.store.claim_mail(mail, WorkerId::new(), MailLane::Transactional).await.unwrap(),
        Claim::Granted(_)
    ));
    let moved = shop.app.store.withdraw_order_mail(mail, "too slow", None).await.unwrap();
    assert_eq!(moved, crate::store::Moved::Refused(MailState::Sending));
    assert_eq!(shop.order().await["emailConfirmationStatus"], "PENDING");
}

#[tokio::test]
async fn a_request_made_again_under_its_key_gets_its_first_answer() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    for body in [json!({"template": "ORDERCONFIRMATION"}), json!({"template": "CANCELLATION"})] {
        let key = body["template"].as_str().unwrap();
        let again = || answer(shop.request("POST", SEND, Some(&body)).header("idempotency-key", key));
        let first = again().await;
        assert_eq!(again().await, first);
    }
    assert_eq!(shop.order().await["emails"].as_array().unwrap().len(), 1);
    assert_eq!(shop.app.store.order_audit(&"tea".parse().unwrap(), "ord_1").await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_template_is_the_merchants_own_where_there_is_one() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.put("/api/v1/brands/b", json!({"name": "Tea", "sender": {"email": "hi@tea.example"}})).await;
    let template =
        |subject: &str| json!({"brand_id": "b", "title": "t", "subject": subject, "html": "<p>x</p>"});
    shop.put(
        "/api/v1/stores/main",
        json!({"sender": {"name": "Tea House", "email": "shop@tea.example"},
        "bindings": [{"template": "ORDERCONFIRMATION", "templateDefinitionName": "mine", "language": "en"}]}),
    )
    .await;
    let sent = async || {
        let (status, order) = shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
        assert_eq!(status, 202, "{order}");
        let mail = shop.settle(AttemptOutcome::Accepted, None).await;
        let version = shop.app.templates.version(&mail.template_version).await.unwrap().unwrap();
        let values: Value = serde_json::from_str(&mail.values).unwrap();
        let content = shop.app.renderer.render(&version, &values.into()).unwrap();
        assert_eq!(order["emails"].as_array().unwrap().last().unwrap()["templateDefinitionName"], "mine");
        (content, mail.sender.to_string(), mail.recipient.to_string())
    };
    let from = "Tea House <shop@tea.example>";
    let to = "Ann Lee <ann@example.net>";
    let (content, sender, recipient) = sent().await;
    assert_eq!(content.subject, "Confirmation of your order ord_1");
    assert!(content.text.contains("Tea House") && content.text.contains("€59.90"), "{}", content.text);
    assert_eq!((sender, recipient), (from.to_owned(), to.to_owned()));
    shop.put("/api/v1/templates/order_confirmation", template("built-in name {{order_id}}")).await;
    assert_eq!(sent().await.0.subject, "built-in name ord_1");
    shop.put("/api/v1/templates/mine", template("mine {{total}}")).await;
    assert_eq!(sent().await.0.subject, "mine €59.90");

    shop.put("/api/v1/templates/mine", template("{{points}}")).await;
    let message = "The template mine cannot be filled: the order gives no value for points.";
    let refused = shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    assert_eq!(refused, (400, error("template_incomplete", message)));
}

#[tokio::test]
async fn every_letter_gets_the_values_that_it_needs_in_every_language() {
    let order: Order = serde_json::from_value(json!({"endUser": {}, "paymentStatus": "PENDING",
        "currency": "EUR", "totalAmount": "1059.90", "items": [{"name": "Tea", "unitPrice": "29.95"}],
        "cancellation": {"triggeredAt": "2026-11-20T09:00:00Z"},
        "payments": [{"paymentId": "p", "amount": "59.90", "refundedAmount": "10.00"}],
        "subscription": {"recurring": false, "expiredAt": "2026-11-01T00:00:00Z"}}))
    .unwrap();
    let renderer = crate::render::Renderer::new(crate::render::RenderLimits::default());
    for &template in OrderTemplate::ALL {
        let payment = template.payment(&order, None).unwrap();
        for &language in Language::ALL {
            let values =
                mail_values("ord_1", &order, payment, "Tea & Co", crate::shop::Look::default(), language);
            let source = builtin_mails::template(template.builtin_mail(), language);
            let (_, missing) = renderer.preview(&source, None, &values.into()).unwrap();
            assert_eq!(missing, Vec::<String>::new(), "{template} in {language}");
        }
    }
}
