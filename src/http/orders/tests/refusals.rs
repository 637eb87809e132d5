//! What is refused, in whole answers, and what stays of it.

use serde_json::json;

use super::*;
use crate::{
    auth::{hash_token, new_secret},
    http::orders::request::FORCE,
};

#[tokio::test]
async fn every_refusal_is_answered_as_the_contract_says() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let confirmation = |more: Value| {
        let mut body = json!({"template": "ORDERCONFIRMATION"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let not_eligible = |message: &str| error("order_not_eligible", message);
    #[rustfmt::skip]
    let refusals = [
        (json!({}), error("template_missing", "The template field is required.")),
        (json!({"template": null}), error("template_missing", "The template field is required.")),
        (json!({"template": "WELCOME"}), error("template_not_supported", "The template is not supported by this endpoint.")),
        (json!({"template": "HELLO"}), error("template_unknown", "The template is not known.")),
        (json!({"template": 5}), error("template_unknown", "The template is not known.")),
        (json!({"template": "OFFLINE_PAYMENT_PENDING"}), not_eligible("OFFLINE_PAYMENT_PENDING requires that paymentStatus is PENDING.")),
        // The state comes before the payment, the payment before the recipient.
        (json!({"template": "CANCELLATION", "paymentId": "x"}), not_eligible("CANCELLATION requires that a cancellation has been triggered.")),
        (confirmation(json!({"paymentId": "x", "to": "x"})), error("payment_unknown", "The order has no such payment.")),
        (confirmation(json!({"paymentId": 5})), error("payment_unknown", "The order has no such payment.")),
        (confirmation(json!({"to": "ann"})), error("recipient_invalid", "The field to is no address: an address is a local part, `@` and a domain.")),
        (confirmation(json!({"to": "a@example.net\r\nBcc: b@example.net"})), error("recipient_invalid", "The field to is no address: the part before the `@` has a character that is not allowed there.")),
        (confirmation(json!({"to": ["ann@example.net"]})), error("recipient_invalid", "The field to must be a string.")),
    ];
    for (body, expected) in refusals {
        assert_eq!(shop.send(body.clone()).await, (400, expected), "{body}");
    }
    let (status, body) = shop.send(json!(["ORDERCONFIRMATION"])).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid")));
    for body in [json!({"template": "HELLO"}), json!([])] {
        let unknown = shop.request("POST", "/ordersv2/nope/email/send", Some(&body));
        assert_eq!(answer(unknown).await, (404, error("order_not_found", "Order not found")), "{body}");
    }
    assert_eq!(shop.order().await["emails"], json!([]));

    let mut nobody = confirmed_order();
    nobody["endUser"] = json!({});
    shop.put("/api/v1/orders/ord_1", nobody).await;
    let expected = error("recipient_missing", "The order has no address and the field to gives none.");
    assert_eq!(shop.send(confirmation(json!({}))).await, (400, expected));
}

#[tokio::test]
async fn another_merchants_order_and_a_missing_ability_are_refused() {
    let mut shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.token = shop.new_token("orders.read").await;
    assert_eq!(shop.order().await["id"], "ord_1");
    let message = "This credential lacks the ability orders.email.";
    assert_eq!(shop.send(json!({"template": "ORDERCONFIRMATION"})).await, (403, error("forbidden", message)));
    shop.token = shop.new_token("orders.email").await;
    assert_eq!(answer(shop.request("GET", ORDER, None)).await.0, 403);
    shop.token = new_secret();
    let unauthorized = (401, error("unauthorized", "Unauthorized"));
    assert_eq!(shop.send(json!({"template": "ORDERCONFIRMATION"})).await, unauthorized);
}

#[tokio::test]
async fn a_request_for_a_mail_of_an_order_is_on_record_also_when_it_is_refused() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let with_reason = |reason: &str, template: &str| {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("reason", reason).finish();
        shop.request("POST", &format!("{SEND}?{query}"), Some(&json!({"template": template})))
    };
    assert_eq!(answer(with_reason("the shopper called", "ORDERCONFIRMATION")).await.0, 202);
    assert_eq!(answer(with_reason("", &"X".repeat(300))).await.0, 400);
    assert_eq!(shop.send(json!({})).await.0, 400);
    let refused = |why: &str| (400, error("reason_invalid", &format!("The reason must {why}.")));
    assert_eq!(answer(with_reason(&"é".repeat(256), "X")).await, refused("have 1 to 255 characters"));
    assert_eq!(answer(with_reason("a\nb", "X")).await, refused("not contain control characters"));
    let undecided = shop.request("POST", SEND, Some(&json!({"template": "X"})));
    assert_eq!(answer(undecided.header(FORCE, "yes")).await.1["error"]["code"], "force_invalid");
    assert_eq!(shop.send(json!([1])).await.0, 400);
    let no_json = shop.request("POST", SEND, None).header("content-type", "application/json").body("{");
    assert_eq!(answer(no_json).await.1["error"]["code"], "not_json");

    let audit = shop.app.store.order_audit(&"tea".parse().unwrap(), "ord_1").await.unwrap();
    let entries: Vec<_> =
        audit.iter().map(|entry| (entry.template.as_deref(), entry.reason.as_str())).collect();
    let (long, accents) = ("X".repeat(255), "é".repeat(255));
    let expected = [
        (Some("ORDERCONFIRMATION"), "the shopper called"),
        (Some(long.as_str()), "MANUAL_RESEND"),
        (None, "MANUAL_RESEND"),
        (Some("X"), accents.as_str()),
        (Some("X"), "a b"),
        (Some("X"), "MANUAL_RESEND"),
        (None, "MANUAL_RESEND"),
        (None, "MANUAL_RESEND"),
    ];
    assert_eq!(entries, expected);
    let token = shop.app.store.token(&hash_token(&shop.token)).await.unwrap().unwrap();
    assert!(audit.iter().all(|entry| entry.actor == format!("token:{}", token.id)));
}

#[tokio::test]
async fn orders_and_stores_are_checked_when_they_are_told() {
    let shop = Shop::open().await;
    let base = || json!({"endUser": {}, "paymentStatus": "PENDING", "currency": "EUR", "totalAmount": "1"});
    for (field, value, path) in [
        ("emails", json!([]), "emails"),
        ("totalAmount", json!(1), "totalAmount"),
        ("totalAmount", json!("1,5"), "totalAmount"),
        ("currency", json!("Euro"), "currency"),
        ("paymentStatus", json!("PAID"), "paymentStatus"),
        ("endUser", json!({"email": "ann"}), "endUser.email"),
        ("endUser", Value::Null, "endUser"),
        ("items", json!([{"name": "Tea", "unitPrice": "1", "quantity": 0}]), "items.0.quantity"),
        ("payments", json!([{"amount": "1"}]), "payments.0.paymentId"),
        ("cancellation", json!({"triggeredAt": "yesterday"}), "cancellation.triggeredAt"),
        ("prebillingStatus", json!("DONE"), "prebillingStatus"),
    ] {
        let mut order = base();
        order[field] = value;
        let (status, problem) = answer(shop.request("PUT", "/api/v1/orders/ord_1", Some(&order))).await;
        assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!(path)), "{problem}");
    }
    for (settings, path) in [
        (
            json!({"bindings": [{"template": "WELCOME", "templateDefinitionName": "x"}]}),
            "bindings.0.template",
        ),
        (json!({"sender": {"email": "x"}}), "sender.email"),
        (json!({"other": 1}), "other"),
    ] {
        let (status, problem) = answer(shop.request("PUT", "/api/v1/stores/main", Some(&settings))).await;
        assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!(path)), "{problem}");
    }
    shop.put("/api/v1/orders/ord_1", base()).await;
    let (status, shown) = answer(shop.request("GET", "/api/v1/orders/ord_1", None)).await;
    let mut expected = base();
    expected["id"] = json!("ord_1");
    assert_eq!((status, shown), (200, expected));
}
