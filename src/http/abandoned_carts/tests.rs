//! Every answer of the abandoned-cart family, whole, over HTTP.

use serde_json::{Value, json};

use crate::{
    clock,
    http::test_app::{SECRET, TestApp},
    shop::{recovery_link, reminder::Discount},
};

fn cart() -> Value {
    json!({"recovery_link": "https://shop.example/r/2?lang=de", "currency": "EUR", "total": "1259.90",
        "customer": {"email": "ann@example.net", "first_name": "Ann", "language": "de"},
        "items": [{"name": "Tea <black>", "quantity": 2, "unit_price": "29.95",
            "image_url": "https://shop.example/tea.png"}],
        "abandoned_at": "2026-11-20T09:00:00+02:00"})
}

fn reminder() -> Value {
    json!({"type": "email", "alert_details": {"subject": "Complete your purchase",
        "message": "You left <b>items</b> in your cart.\nFinish now!", "offer_discount": 15}})
}

fn refused(errors: &[(&str, &str)]) -> (u16, Value) {
    let by_path: serde_json::Map<_, _> =
        errors.iter().map(|(path, message)| ((*path).to_owned(), json!([message]))).collect();
    (422, json!({"status": "error", "message": errors[0].1, "errors": by_path}))
}

fn sent(message: &str) -> (u16, Value) {
    let data = json!({"reminder_sent": true, "type": "email"});
    (200, json!({"status": "success", "message": message, "data": data}))
}

async fn remind(test: &TestApp, cart: &str, body: &Value) -> (u16, Value) {
    test.json(&format!("POST /abandoned-carts/{cart}/reminder"), body).await.whole()
}

#[tokio::test]
async fn a_reminder_is_answered_exactly_as_the_source_says_in_the_best_language() {
    let test = TestApp::start("DE").await;
    test.put("abandoned-carts/2", cart()).await;
    for (language, message) in [
        (vec![], "Reminder sent successfully"),
        (vec!["accept-language: {{lang}}"], "Reminder sent successfully"),
        (vec!["accept-language: nl, es-MX;q=0.9, en;q=0.1"], "Recordatorio enviado exitosamente"),
        (vec!["accept-language: nl", "accept-language: pt"], "Lembrete enviado com sucesso"),
        (vec!["accept-language: de"], "Erinnerung erfolgreich gesendet"),
        (vec!["accept-language: it"], "Promemoria inviato con successo"),
        (vec!["accept-language: fr-CA"], "Rappel envoyé avec succès"),
    ] {
        let bearer = test.bearer("tea");
        let headers: Vec<_> =
            [&*bearer, "content-type: application/json"].into_iter().chain(language.clone()).collect();
        let body = reminder().to_string();
        let answered = test.request("POST /abandoned-carts/2/reminder", &headers, &body).await;
        assert_eq!(answered.whole(), sent(message), "{language:?}");
    }
    let answered = test.json("POST /abandoned-carts/2/reminder", &reminder()).await;
    let source = r#"{"status":"success","message":"Reminder sent successfully","data":{"reminder_sent":true,"type":"email"}}"#;
    assert_eq!(answered.text, source);
}

#[tokio::test]
async fn every_fault_of_a_reminder_is_named_by_its_path() {
    let test = TestApp::start("DE").await;
    test.put("abandoned-carts/2", cart()).await;
    let required = |path: &str| format!("The {path} field is required.");
    let subject = "alert_details.subject";
    let message = "alert_details.message";
    let discount = "alert_details.offer_discount";
    let over = "The alert_details.offer_discount field must be over 0 and at most 100.";
    let with = |pointer: &str, value: Value| {
        let mut body = reminder();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, path, why) in [
        (with("/type", json!("sms")), "type", "The selected type is invalid.".to_owned()),
        (with("/type", json!("Email")), "type", "The selected type is invalid.".to_owned()),
        (with("/type", json!(1)), "type", "The selected type is invalid.".to_owned()),
        (with("/type", json!(null)), "type", required("type")),
        (with("/alert_details", json!(null)), "alert_details", required("alert_details")),
        (
            with("/alert_details", json!([])),
            "alert_details",
            "The alert_details field must be an object.".to_owned(),
        ),
        (with("/alert_details/subject", json!(null)), subject, required(subject)),
        (with("/alert_details/subject", json!("")), subject, required(subject)),
        (with("/alert_details/subject", json!("  ")), subject, required(subject)),
        (with("/alert_details/subject", json!(5)), subject, format!("The {subject} field must be a string.")),
        (
            with("/alert_details/subject", json!("ä".repeat(256))),
            subject,
            format!("The {subject} field must have 1 to 255 characters."),
        ),
        (
            with("/alert_details/subject", json!("a\r\nBcc: b@example.net")),
            subject,
            format!("The {subject} field must not contain control characters."),
        ),
        (with("/alert_details/message", json!(null)), message, required(message)),
        (with("/alert_details/message", json!("")), message, required(message)),
        (
            with("/alert_details/message", json!({})),
            message,
            format!("The {message} field must be a string."),
        ),
        (
            with("/alert_details/message", json!("ä".repeat(10_001))),
            message,
            format!("The {message} field must have 1 to 10000 characters."),
        ),
        (
            with("/alert_details/message", json!("\u{7}")),
            message,
            format!("The {message} field must not contain control characters other than line ends and tabs."),
        ),
        (with("/alert_details/offer_discount", json!(0)), discount, over.to_owned()),
        (with("/alert_details/offer_discount", json!(-1)), discount, over.to_owned()),
        (with("/alert_details/offer_discount", json!(100.5)), discount, over.to_owned()),
        (
            with("/alert_details/offer_discount", json!("15")),
            discount,
            format!("The {discount} field must be a number."),
        ),
        (
            with("/alert_details/offer_discount", json!(true)),
            discount,
            format!("The {discount} field must be a number."),
        ),
        (
            with("/alert_details/offer_discount", json!(1.23456)),
            discount,
            format!("The {discount} field must have at most 4 decimals."),
        ),
    ] {
        assert_eq!(remind(&test, "2", &body).await, refused(&[(path, &why)]), "{body}");
    }
    let all = [("type", &*required("type")), (subject, &*required(subject)), (message, &*required(message))];
    assert_eq!(remind(&test, "2", &json!({"alert_details": {}})).await, refused(&all));
    let both = [("type", &*required("type")), ("alert_details", &*required("alert_details"))];
    assert_eq!(remind(&test, "2", &json!({})).await, refused(&both));
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn the_longest_subject_and_message_are_taken_and_unknown_fields_ignored() {
    let test = TestApp::start("DE").await;
    test.put("abandoned-carts/2", cart()).await;
    let body = json!({"type": "email", "colour": 1, "alert_details": {"subject": "ä".repeat(255),
        "message": "ö".repeat(10_000), "offer_discount": null, "more": {}}});
    assert_eq!(remind(&test, "2", &body).await, sent("Reminder sent successfully"));
    for discount in [json!(0.5), json!(15.5), json!(100)] {
        let mut body = reminder();
        body["alert_details"]["offer_discount"] = discount;
        assert_eq!(remind(&test, "2", &body).await.0, 200, "{body}");
    }
}

#[tokio::test]
async fn a_cart_that_cannot_be_reminded_of_is_refused() {
    let test = TestApp::start("DE").await;
    let unknown = || (404, json!({"status": "error", "message": "Abandoned cart not found"}));
    assert_eq!(remind(&test, "2", &reminder()).await, unknown());
    let no_text = "The path and the query must not contain the character U+0000.";
    let no_text = (400, json!({"status": "error", "message": no_text}));
    assert_eq!(remind(&test, "a%00b", &reminder()).await, no_text);
    assert_eq!(test.get("/abandoned-carts/2").await.whole(), unknown());
    let mut recovered = cart();
    recovered["status"] = json!("recovered");
    test.put("abandoned-carts/2", recovered).await;
    let expected = refused(&[("identifier", "The cart was recovered already.")]);
    assert_eq!(remind(&test, "2", &reminder()).await, expected);
    let mut nobody = cart();
    nobody["customer"] = json!({"first_name": "Ann"});
    test.put("abandoned-carts/2", nobody).await;
    let expected = refused(&[("customer.email", "The cart's customer has no email address.")]);
    assert_eq!(remind(&test, "2", &reminder()).await, expected);
    test.put("abandoned-carts/2", cart()).await;
    test.add_merchant("other", "DE").await;
    let headers = [&*test.bearer("other"), "content-type: application/json"];
    let body = reminder().to_string();
    assert_eq!(test.request("POST /abandoned-carts/2/reminder", &headers, &body).await.whole(), unknown());
    assert_eq!(test.request("GET /abandoned-carts/2", &headers, "").await.whole(), unknown());
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn a_malformed_request_is_refused_in_the_familys_envelope() {
    let test = TestApp::start("DE").await;
    test.add_token("tea", "reader", "carts.read").await;
    test.add_token("tea", "reminder", "carts.remind").await;
    let line = "POST /abandoned-carts/2/reminder";
    let json_type = "content-type: application/json";
    let error = |status: u16, message: &str| (status, json!({"status": "error", "message": message}));
    let bearer = test.bearer("tea");
    let body = reminder().to_string();
    for (line, headers, body, expected) in [
        (line, vec![json_type], &*body, error(401, "Unauthorized")),
        (line, vec![json_type, "authorization: Bearer x"], &body, error(401, "Unauthorized")),
        ("GET /abandoned-carts", vec![], "", error(401, "Unauthorized")),
        ("GET /abandoned-carts/2", vec![], "", error(401, "Unauthorized")),
        (
            line,
            vec![json_type, &test.bearer("reader")],
            &body,
            error(403, "This credential lacks the ability carts.remind."),
        ),
        (
            "GET /abandoned-carts",
            vec![&test.bearer("reminder")],
            "",
            error(403, "This credential lacks the ability carts.read."),
        ),
        (
            "GET /abandoned-carts/2",
            vec![&test.bearer("reminder")],
            "",
            error(403, "This credential lacks the ability carts.read."),
        ),
        (line, vec![&bearer], &body, error(415, "The body must be application/json.")),
        (line, vec![&bearer, json_type], "{", error(400, "The body is not JSON: line 1 column 1.")),
        (line, vec![&bearer, json_type], "", error(400, "The body is not JSON: line 1 column 0.")),
        (
            line,
            vec![&bearer, json_type, "idempotency-key: é"],
            &body,
            error(400, "Idempotency-Key must be 1 to 255 visible ASCII characters."),
        ),
        ("DELETE /abandoned-carts/2", vec![&bearer], "", error(405, "DELETE is not allowed here.")),
        ("GET /abandoned-carts/2/nothing", vec![&bearer], "", error(404, "There is nothing at this path.")),
    ] {
        let answered = test.request(line, &headers, body).await;
        assert_eq!(answered.whole(), expected, "{line} {headers:?}");
    }
    for body in [r#"["email",{}]"#, "\"email\"", "5"] {
        let (status, answered) = test.request(line, &[&bearer, json_type], body).await.whole();
        assert_eq!((status, &answered["status"]), (422, &json!("error")), "{body}");
    }
}

#[tokio::test]
async fn the_mail_has_the_message_as_text_the_cart_and_a_link_that_carries_the_discount() {
    let test = TestApp::start("MX").await;
    test.put("abandoned-carts/2", cart()).await;
    assert_eq!(remind(&test, "2", &reminder()).await.0, 200);
    let (mail, content) = test.mails().await.pop().unwrap();
    assert_eq!(mail.recipient.to_string(), "Ann <ann@example.net>");
    assert_eq!(content.subject, "Complete your purchase");
    assert!(content.html.contains("lang=\"de\" dir=\"ltr\""));
    assert!(content.html.contains("You left &lt;b&gt;items&lt;/b&gt; in your cart."));
    assert!(content.html.contains("Tea &lt;black&gt;") && content.html.contains("29,95\u{a0}€"));
    assert!(content.html.contains("1.259,90\u{a0}€") && content.html.contains("15\u{a0}%"));
    assert!(content.text.contains("You left <b>items</b> in your cart.\nFinish now!"), "{}", content.text);
    let expires = mail.recorded_at + recovery_link::OFFER_LASTS;
    let discount = Discount::new(&15.into()).unwrap();
    let plain = "https://shop.example/r/2?lang=de".parse().unwrap();
    let signed = recovery_link::with_discount(&plain, "2", &discount, expires, SECRET);
    // The link was signed a moment before the mail was made; a second may have begun in between.
    let earlier = expires - std::time::Duration::from_secs(1);
    let earlier = recovery_link::with_discount(&plain, "2", &discount, earlier, SECRET);
    let links = [signed, earlier];
    assert!(links.iter().any(|link| content.text.contains(&format!("{link}\n"))), "{}", content.text);
    assert!(links.iter().any(|link| content.html.contains(&link.as_str().replace('&', "&amp;"))));
}

#[tokio::test]
async fn without_a_discount_the_recovery_link_is_the_carts_own() {
    let test = TestApp::start("FR").await;
    let mut document = cart();
    document["customer"] = json!({"email": "ann@example.net"});
    test.put("abandoned-carts/2", document).await;
    let mut body = reminder();
    body["alert_details"].as_object_mut().unwrap().remove("offer_discount");
    assert_eq!(remind(&test, "2", &body).await.0, 200);
    let (_, content) = test.mails().await.pop().unwrap();
    assert!(content.text.contains("\nhttps://shop.example/r/2?lang=de\n"), "{}", content.text);
    assert!(
        content.html.contains("lang=\"fr\" dir=\"ltr\"") && content.html.contains("1\u{202f}259,90\u{a0}€")
    );
    assert!(!content.html.contains('%') || !content.html.contains("15\u{a0}%"));
}

#[tokio::test]
async fn a_cart_shows_what_it_is_and_its_reminders() {
    let test = TestApp::start("DE").await;
    test.put("abandoned-carts/2", cart()).await;
    let before = clock::now();
    remind(&test, "2", &reminder()).await;
    let mut second = reminder();
    second["alert_details"]["subject"] = json!("Still there?");
    remind(&test, "2", &second).await;
    let mut answered = test.get("/abandoned-carts/2").await.json();
    for reminder in answered["data"]["reminders"].as_array_mut().unwrap() {
        let reminder = reminder.as_object_mut().unwrap();
        let when: crate::mail::Timestamp = serde_json::from_value(reminder.remove("when").unwrap()).unwrap();
        assert!(before <= when && when <= clock::now());
        let mail = reminder.remove("mail").unwrap();
        let story = test.get(&format!("/api/v1/mails/{}", mail.as_str().unwrap())).await.json();
        assert_eq!(story["cart"], "2");
    }
    let mut expected = cart();
    expected["id"] = json!("2");
    expected["identifier"] = json!("2");
    expected["status"] = json!("abandoned");
    expected["abandoned_at"] = json!("2026-11-20T07:00:00.000Z");
    expected["reminders"] = json!([{"subject": "Complete your purchase", "state": "queued"},
        {"subject": "Still there?", "state": "queued"}]);
    assert_eq!(answered, json!({"status": "success", "data": expected}));
}

#[tokio::test]
async fn carts_are_listed_in_pages_and_by_status() {
    let test = TestApp::start("DE").await;
    for id in ["a", "b", "c", "d", "e"] {
        let mut document = cart();
        document["status"] = json!(if id == "c" { "recovered" } else { "abandoned" });
        test.put(&format!("abandoned-carts/{id}"), document).await;
    }
    test.add_merchant("other", "DE").await;
    remind(&test, "a", &reminder()).await;
    let list = async |query: &str| {
        let answered = test.get(&format!("/abandoned-carts{query}")).await.json();
        let ids: Vec<_> = answered["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cart| cart["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(answered["status"], "success");
        (ids.concat().chars().rev().collect::<String>(), answered["pagination"].clone())
    };
    let pages =
        |page: u32, per_page: u32, total: u32| json!({"page": page, "per_page": per_page, "total": total});
    assert_eq!(list("").await, ("abcde".to_owned(), pages(1, 20, 5)));
    assert_eq!(list("?page=1&per_page=2").await, ("de".to_owned(), pages(1, 2, 5)));
    assert_eq!(list("?page=3&per_page=2").await, ("a".to_owned(), pages(3, 2, 5)));
    assert_eq!(list("?page=4&per_page=2").await, (String::new(), pages(4, 2, 5)));
    assert_eq!(list("?status=abandoned").await, ("abde".to_owned(), pages(1, 20, 4)));
    assert_eq!(list("?status=recovered&per_page=100").await, ("c".to_owned(), pages(1, 100, 1)));
    let mut document = cart();
    document["status"] = json!("recovered");
    test.put("abandoned-carts/b", document).await;
    assert_eq!(list("?status=recovered").await, ("bc".to_owned(), pages(1, 20, 2)));
    let first = test.get("/abandoned-carts?page=5&per_page=1").await.json();
    assert_eq!(first["data"][0]["reminders"][0]["subject"], "Complete your purchase");
    let others = test.request("GET /abandoned-carts", &[&test.bearer("other")], "").await.json();
    assert_eq!(others, json!({"status": "success", "data": [], "pagination": pages(1, 20, 0)}));
    for (query, path, why) in [
        ("page=0", "page", "must be a number from 1."),
        ("page=x", "page", "must be a number from 1."),
        ("page=99999999999", "page", "must be a number from 1."),
        ("per_page=0", "per_page", "must be a number from 1 to 100."),
        ("per_page=101", "per_page", "must be a number from 1 to 100."),
        ("status=lost", "status", "must be abandoned or recovered."),
    ] {
        let why = format!("The {path} field {why}");
        assert_eq!(
            test.get(&format!("/abandoned-carts?{query}")).await.whole(),
            refused(&[(path, &why)]),
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_same_reminder_made_again_sends_nothing_more() {
    let test = TestApp::start("DE").await;
    test.put("abandoned-carts/2", cart()).await;
    let headers = [&*test.bearer("tea"), "content-type: application/json", "idempotency-key: k1"];
    let line = "POST /abandoned-carts/2/reminder";
    let body = reminder().to_string();
    let first = test.request(line, &headers, &body).await;
    let again = test.request(line, &headers, &body).await;
    assert_eq!((first.whole(), again.whole()), (sent("Reminder sent successfully"), first.whole()));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = test.request(line, &headers, "{}").await.whole();
    let message = "idempotency_key_reused: this Idempotency-Key was used for another request.";
    assert_eq!(other, (422, json!({"status": "error", "message": message})));
    assert_eq!(test.count().await, 1);
}

#[tokio::test]
async fn a_language_that_is_not_ours_says_nothing_of_where_the_merchants_is_read() {
    let test = TestApp::start("BR").await;
    let mut cart = cart();
    cart["customer"]["language"] = json!("nl-NL");
    test.put("abandoned-carts/2", cart).await;
    assert_eq!(remind(&test, "2", &reminder()).await.0, 200);
    assert!(test.mails().await[0].1.html.contains(" lang=\"pt-BR\""));
}
