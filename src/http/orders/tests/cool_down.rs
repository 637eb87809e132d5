//! A store's cool-down: the same mail of an order to the same recipient has to wait, unless it is forced.

use super::*;
use crate::{
    mail::Origin,
    store::{NewOrderEmail, OrderStep, Precondition, Recorded, Recording},
};

async fn shop_with(cooldown: Value) -> Shop {
    let shop = Shop::open().await;
    shop.put("/api/v1/stores/main", json!({"resendCooldown": cooldown})).await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop
}

fn confirmation(to: &str) -> Value {
    json!({"template": "ORDERCONFIRMATION", "to": to})
}

async fn send_with(shop: &Shop, force: &str, body: &Value) -> (u16, Value) {
    answer(shop.request("POST", SEND, Some(body)).header("postroom-force", force)).await
}

#[tokio::test]
async fn the_same_mail_to_the_same_recipient_waits_until_the_cool_down_is_over() {
    let shop = shop_with(json!("15m")).await;
    let (status, sent) = shop.send(confirmation("ann@example.net")).await;
    assert_eq!(status, 202, "{sent}");
    shop.settle(AttemptOutcome::Accepted, None).await;

    let created = Timestamp::parse(sent["emails"][0]["createDate"].as_str().unwrap()).unwrap();
    let again = created + std::time::Duration::from_secs(900);
    let (status, refused) = shop.send(confirmation("Ann@EXAMPLE.net")).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("resend_cooldown")), "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains(&again.to_string()) && !message.contains("ann@"), "{message}");

    let (status, other) = shop.send(confirmation("bob@example.net")).await;
    assert_eq!(status, 202, "another recipient: {other}");
}

#[tokio::test]
async fn a_mail_that_was_not_sent_keeps_no_other_waiting() {
    let shop = shop_with(json!(3_600)).await;
    assert_eq!(shop.send(confirmation("ann@example.net")).await.0, 202);
    shop.settle(AttemptOutcome::Permanent, None).await;
    assert_eq!(shop.send(confirmation("ann@example.net")).await.0, 202);
}

#[tokio::test]
async fn a_test_mail_keeps_no_real_mail_waiting() {
    let mut shop = shop_with(json!("1h")).await;
    let (earnest, trying) = (shop.token.clone(), shop.new_test_token().await);
    for token in [trying.clone(), earnest.clone()] {
        shop.token = token;
        assert_eq!(shop.send(confirmation("ann@example.net")).await.0, 202);
        shop.settle(AttemptOutcome::Accepted, None).await;
    }
    for token in [trying, earnest] {
        shop.token = token;
        assert_eq!(shop.send(confirmation("ann@example.net")).await.0, 400);
    }
}

#[tokio::test]
async fn a_header_overrides_the_cool_down_and_is_in_the_audit() {
    let shop = shop_with(json!("1h")).await;
    let body = confirmation("ann@example.net");
    assert_eq!(shop.send(body.clone()).await.0, 202);
    shop.settle(AttemptOutcome::Accepted, None).await;
    assert_eq!(send_with(&shop, "false", &body).await.0, 400);
    assert_eq!(send_with(&shop, "True", &body).await.0, 202);
    let (status, refused) = send_with(&shop, "perhaps", &body).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("force_invalid")));
    let audit = shop.app.store.order_audit(&"tea".parse().unwrap(), "ord_1").await.unwrap();
    assert_eq!(audit.iter().map(|entry| entry.forced).collect::<Vec<_>>(), [false, false, true, false]);
}

#[tokio::test]
async fn of_two_equal_requests_at_once_the_cool_down_lets_one_through() {
    let shop = shop_with(json!("1h")).await;
    // This mail moves no workflow that would keep the second one back.
    let mut order = confirmed_order();
    order["paymentStatus"] = json!("PENDING");
    shop.put("/api/v1/orders/ord_1", order).await;
    let body = json!({"template": "OFFLINE_PAYMENT_PENDING"});
    let (one, other) = tokio::join!(shop.send(body.clone()), shop.send(body));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 400], "{one:?} {other:?}");
    assert_eq!(shop.order().await["emails"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_without_a_cool_down_sends_as_often_as_it_is_asked() {
    let shop = Shop::open().await;
    let mut order = confirmed_order();
    order["paymentStatus"] = json!("PENDING");
    shop.put("/api/v1/orders/ord_1", order).await;
    for _ in 0..3 {
        assert_eq!(shop.send(json!({"template": "OFFLINE_PAYMENT_PENDING"})).await.0, 202);
    }
}

#[tokio::test]
async fn a_recipient_in_other_letters_is_the_same_also_where_both_requests_were_judged_before() {
    let shop = shop_with(json!("1h")).await;
    let (store, merchant) = (&shop.app.store, "tea".parse().unwrap());
    let seen = store.order(&store.look_ups(&merchant, "order"), "ord_1").await.unwrap().unwrap().document;
    let template: OrderTemplate = "ORDERCONFIRMATION".parse().unwrap();
    let version = shop.app.templates.builtin(template.builtin_mail(), Language::En).await.unwrap();
    for (recipient, recorded) in
        [("Ärne@Example.net", Recorded::Committed), ("ärne@example.net", Recorded::Outdated)]
    {
        let mut mail = fixture::new_mail(&merchant, Origin::default());
        mail.template_version = version.id.clone();
        mail.recipient.email = recipient.parse().unwrap();
        let step = OrderStep {
            merchant: merchant.clone(),
            order: "ord_1".to_owned(),
            was: seen.body.clone(),
            document_updated_at: seen.updated_at,
            workflow: None,
            email: Some(NewOrderEmail {
                mail: mail.id,
                template,
                definition: "order-confirmation.default".to_owned(),
                recipient: mail.recipient.email.clone(),
                payment: None,
                created_at: mail.recorded_at,
            }),
            is_test: false,
            quiet_since: Some(mail.recorded_at - std::time::Duration::from_secs(3_600)),
        };
        let precondition = Some(Precondition::Order(Box::new(step)));
        let recording = Recording { precondition, mails: vec![mail], ..Recording::default() };
        assert_eq!(store.record(recording).await.unwrap(), recorded, "{recipient}");
    }
}
