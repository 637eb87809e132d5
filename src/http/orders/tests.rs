//! The order family over HTTP: a real application on a database of its own, asked as a merchant's system asks.

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::{
    config::Config,
    http::{hash_token, new_secret, router},
    mail::{MailEvent, MailId, Outcome, Phase, Reply, Verdict, WorkerId},
    shop::{
        language::Language,
        letters,
        order::{OrderTemplate, letter_values},
    },
    store::{Claim, NewMerchant, Settlement},
};

const ORDER: &str = "/ordersv2/ord_1";
const SEND: &str = "/ordersv2/ord_1/email/send";

/// An application that listens, and a caller with every ability. No worker runs: a test plays it where it needs one.
struct Shop {
    app: Arc<App>,
    url: String,
    token: String,
    client: reqwest::Client,
    _listening: Listening,
    _folder: tempfile::TempDir,
}

struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(settings: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("postroom.db").display());
        let environment =
            [("POSTROOM_DATABASE__URL", database.as_str())].into_iter().chain(settings.iter().copied());
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let app = App::open(Config::load(None, environment).unwrap()).await.unwrap();
        app.store.migrate().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = router(Arc::clone(&app));
        let listening = Listening(tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }));
        let mut shop = Self {
            app,
            url,
            token: String::new(),
            client: reqwest::Client::new(),
            _listening: listening,
            _folder: folder,
        };
        let merchant = NewMerchant {
            id: "tea".parse().unwrap(),
            name: "Tea & Co".to_owned(),
            country: "DE".to_owned(),
            language: None,
            sender: None,
            secret: new_secret(),
        };
        shop.app.store.create_merchant(&merchant).await.unwrap();
        shop.token = shop.new_token("*").await;
        shop
    }

    async fn new_token(&self, abilities: &str) -> String {
        let token = new_secret();
        let merchant = "tea".parse().unwrap();
        self.app.store.create_token(&merchant, &hash_token(&token), abilities, None).await.unwrap();
        token
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.token);
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    async fn put(&self, path: &str, body: Value) {
        let answer = self.request("PUT", path, Some(&body)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    async fn send(&self, body: Value) -> (u16, Value) {
        answer(self.request("POST", SEND, Some(&body))).await
    }

    async fn order(&self) -> Value {
        answer(self.request("GET", ORDER, None)).await.1
    }

    /// The id of the order's newest mail.
    async fn newest_mail(&self) -> MailId {
        let record = self.app.store.order(&"tea".parse().unwrap(), "ord_1").await.unwrap().unwrap();
        record.emails.last().unwrap().entry.mail
    }

    /// Does with the newest mail what a worker does that got this reply.
    async fn settle(&self, outcome: Outcome, provider_id: Option<&str>) {
        let worker = WorkerId::new();
        let Claim::Granted(mail) = self.app.store.claim_mail(self.newest_mail().await, worker).await.unwrap()
        else {
            panic!("the mail could not be claimed")
        };
        let reply = Reply {
            outcome,
            provider_id: provider_id.map(str::to_owned),
            ..Reply::silent("main", Phase::Final, "as told", std::time::Duration::ZERO)
        };
        let verdict = if outcome == Outcome::Accepted { Verdict::Sent } else { Verdict::Failed };
        let settlement = Settlement::new(&mail, worker, crate::clock::now(), reply, verdict);
        self.app.store.settle_mail(settlement).await.unwrap();
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

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

    shop.settle(Outcome::Accepted, Some("4XyZ")).await;
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
    shop.settle(Outcome::Accepted, None).await;
    let message_id = format!("{}@postroom.invalid", shop.newest_mail().await);
    assert_eq!(shop.order().await["emails"][0]["emailId"], message_id);

    shop.send(json!({"template": "ORDERCONFIRMATION", "to": "Bob@Example.net"})).await;
    shop.settle(Outcome::Permanent, None).await;
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
    shop.settle(Outcome::Accepted, None).await;
    // The first mail is not the workflow's any more.
    shop.app.store.move_mail(None, mail, MailEvent::Retried).await.unwrap();
    assert_eq!(shop.order().await["emailConfirmationStatus"], "COMPLETED");
}

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
        (confirmation(json!({"to": "a@example.net\r\nBcc: b@example.net"})), error("recipient_invalid", "The field to is no address: the part after the `@` is not a domain name.")),
        (confirmation(json!({"to": ["ann@example.net"]})), error("recipient_invalid", "The field to must be a string.")),
    ];
    for (body, expected) in refusals {
        assert_eq!(shop.send(body.clone()).await, (400, expected), "{body}");
    }
    let (status, body) = shop.send(json!(["ORDERCONFIRMATION"])).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid")));
    let unknown = shop.request("POST", "/ordersv2/nope/email/send", Some(&json!({"template": "HELLO"})));
    let missing = (404, error("order_not_found", "Order not found"));
    assert_eq!(answer(unknown).await, missing);
    assert_eq!(answer(shop.request("GET", "/ordersv2/nope%00", None)).await, missing);
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
async fn who_asked_and_why_is_on_record_also_when_it_is_refused() {
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

    let audit = shop.app.store.order_audit(&"tea".parse().unwrap(), "ord_1").await.unwrap();
    let entries: Vec<_> =
        audit.iter().map(|entry| (entry.template.as_deref(), entry.reason.as_str())).collect();
    let long = "X".repeat(255);
    let expected = [
        (Some("ORDERCONFIRMATION"), "the shopper called"),
        (Some(long.as_str()), "MANUAL_RESEND"),
        (None, "MANUAL_RESEND"),
    ];
    assert_eq!(entries, expected);
    let hash = hash_token(&shop.token);
    assert!(audit.iter().all(|entry| entry.actor == format!("token:{}", &hash[..12])));
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
async fn what_a_merchant_tells_later_stands_but_for_a_mail_that_is_under_way() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    assert_eq!(shop.order().await["emailConfirmationStatus"], "PENDING");
    shop.settle(Outcome::Permanent, None).await;

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
        shop.settle(Outcome::Accepted, None).await;
    }
}

#[tokio::test]
async fn what_the_queue_does_not_take_fails_and_is_never_sent() {
    let shop = Shop::open_with(&[("POSTROOM_QUEUE__URL", "redis://127.0.0.1:1")]).await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    let body = json!({"template": "ORDERCONFIRMATION"});
    let failed =
        error("dispatch_failed", "The e-mail could not be dispatched; it failed and will not be sent.");
    for attempt in 0..2_usize {
        // The same key: an answer of 503 is not kept.
        let request = shop.request("POST", SEND, Some(&body)).header("idempotency-key", "k");
        assert_eq!(answer(request).await, (503, failed.clone()));
        let order = shop.order().await;
        assert_eq!(order["emailConfirmationStatus"], "FAILED");
        assert_eq!(order["emails"][attempt]["status"], "failed");
        let claimed = shop.app.store.claim_mail(shop.newest_mail().await, WorkerId::new()).await.unwrap();
        assert!(matches!(claimed, Claim::NotYours(Some(MailState::Failed))), "{claimed:?}");
    }
    shop.app.store.ring_all_again().await.unwrap();
    assert_eq!(shop.app.store.ring_due_mails(std::time::Duration::from_secs(60)).await.unwrap(), []);
}

#[tokio::test]
async fn a_mail_that_a_worker_has_is_not_withdrawn() {
    let shop = Shop::open().await;
    shop.put("/api/v1/orders/ord_1", confirmed_order()).await;
    shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    let mail = shop.newest_mail().await;
    assert!(matches!(shop.app.store.claim_mail(mail, WorkerId::new()).await.unwrap(), Claim::Granted(_)));
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
        let worker = WorkerId::new();
        let Claim::Granted(mail) = shop.app.store.claim_mail(shop.newest_mail().await, worker).await.unwrap()
        else {
            panic!("not claimed")
        };
        shop.app.store.take_from_dead_workers(std::time::Duration::ZERO).await.unwrap();
        shop.app.store.move_mail(None, mail.id, MailEvent::Cancelled).await.unwrap();
        let version = shop.app.template_version(&mail.template_version).await.unwrap().unwrap();
        let values = serde_json::from_str(&mail.values).unwrap();
        let content = shop.app.renderer.render(&version, &values).unwrap();
        assert_eq!(order["emails"].as_array().unwrap().last().unwrap()["templateDefinitionName"], "mine");
        (content.subject, mail.sender.to_string(), mail.recipient.to_string())
    };
    let from = "Tea House <shop@tea.example>".to_owned();
    let to = "Ann Lee <ann@example.net>".to_owned();
    let (subject, sender, recipient) = sent().await;
    assert!(subject.contains("ord_1") && subject.contains("Tea House"), "{subject}");
    assert_eq!((sender, recipient), (from.clone(), to.clone()));
    shop.put("/api/v1/templates/order_confirmation", template("built-in name {{order_id}}")).await;
    assert_eq!(sent().await, ("built-in name ord_1".to_owned(), from.clone(), to.clone()));
    shop.put("/api/v1/templates/mine", template("mine {{total}}")).await;
    assert_eq!(sent().await, ("mine €59.90".to_owned(), from, to));

    shop.put("/api/v1/templates/mine", template("{{points}}")).await;
    let message = "The template mine cannot be filled: the order gives no value for points.";
    let refused = shop.send(json!({"template": "ORDERCONFIRMATION"})).await;
    assert_eq!(refused, (400, error("template_incomplete", message)));
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
        ("payments", json!([{"amount": "1"}]), "payments.0"),
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
            let values = letter_values("ord_1", &order, payment, "Tea & Co", language);
            let source = letters::builtin(template.letter(), language);
            let (_, missing) = renderer.preview(&source, &values).unwrap();
            assert_eq!(missing, Vec::<String>::new(), "{template} in {language}");
        }
    }
}
