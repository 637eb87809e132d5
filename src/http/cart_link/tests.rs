//! Every answer of the cart-link family, whole, over HTTP.

use serde_json::{Value, json};

use crate::{http::test_app::TestApp, mail::MailState, store::MailFilter};

const MESSAGE_ES: &str = "Correo con enlace al carrito enviado exitosamente";

fn subscription(state: &str) -> Value {
    json!({"state": state, "cart_link": "https://shop.example/c/1?a=b&c=d",
        "shopper": {"email": "ann@example.net", "first_name": "Ann", "last_name": "Lee", "phone": "+52 55 1234"}})
}

fn refused(title: &str) -> (u16, Value) {
    (422, json!({"errors": [{"code": "invalid", "title": title}]}))
}

async fn send(test: &TestApp, id: &str) -> (u16, Value) {
    let line = format!("POST /api/public/v1/subscriptions/{id}/send_email");
    test.request(&line, &[&test.bearer("tea")], "").await.whole()
}

async fn state(test: &TestApp, id: &str) -> Value {
    test.get(&format!("/api/v1/subscriptions/{id}")).await.json()["state"].clone()
}

#[tokio::test]
async fn each_state_is_answered_as_the_country_allows() {
    let wrong = || refused("Email not allowed for subscription in current status");
    for (country, message, allowed) in [
        ("MX", MESSAGE_ES, vec!["waiting_for_payment", "draft", "sent", "in_progress"]),
        ("ES", MESSAGE_ES, vec!["waiting_for_payment"]),
        ("DE", "Cart-Link-E-Mail erfolgreich gesendet", vec!["waiting_for_payment"]),
    ] {
        let test = TestApp::start(country).await;
        for state in ["draft", "sent", "waiting_for_payment", "in_progress", "active", "cancelled", "expired"]
        {
            test.put(&format!("subscriptions/{state}"), subscription(state)).await;
            let expected =
                if allowed.contains(&state) { (202, json!({ "message": message })) } else { wrong() };
            assert_eq!(send(&test, state).await, expected, "{country} {state}");
            let after = if (country, state) == ("MX", "draft") { "sent" } else { state };
            assert_eq!(self::state(&test, state).await, after, "{country} {state}");
        }
        assert_eq!(test.count().await, allowed.len(), "{country}");
    }
}

#[tokio::test]
async fn a_draft_stays_one_when_its_link_is_only_tried_out() {
    let test = TestApp::start("MX").await;
    test.put("subscriptions/1", subscription("draft")).await;
    test.add_test_token("tea", "trying").await;
    let line = "POST /api/public/v1/subscriptions/1/send_email";
    let tried = test.request(line, &[&test.bearer("trying")], "").await;
    assert_eq!(tried.whole(), (202, json!({ "message": MESSAGE_ES })));
    assert!(test.mails().await[0].0.is_test);
    assert_eq!(state(&test, "1").await, "draft");
}

#[tokio::test]
async fn the_answer_is_in_the_language_of_the_merchants_country() {
    let test = TestApp::start("US").await;
    for (country, message) in [
        ("US", "Cart link email sent successfully"),
        ("MX", MESSAGE_ES),
        ("BR", "E-mail com link do carrinho enviado com sucesso"),
        ("AT", "Cart-Link-E-Mail erfolgreich gesendet"),
        ("IT", "E-mail con link al carrello inviata con successo"),
        ("SN", "E-mail avec lien du panier envoyé avec succès"),
    ] {
        test.add_merchant(country, country).await;
        let headers = [&*test.bearer(country), "content-type: application/json"];
        let body = subscription("waiting_for_payment").to_string();
        assert_eq!(test.request("PUT /api/v1/subscriptions/1", &headers, &body).await.status, 201);
        let answered =
            test.request("POST /api/public/v1/subscriptions/1/send_email", &headers, "").await.whole();
        assert_eq!(answered, (202, json!({ "message": message })), "{country}");
    }
}

#[tokio::test]
async fn a_missing_subscription_is_named_in_the_familys_words() {
    let test = TestApp::start("MX").await;
    assert_eq!(send(&test, "nobody").await, refused("Subscription not found"));
    let no_text = "The path and the query must not contain the character U+0000.";
    let no_text = (400, json!({"errors": [{"code": "bad_request", "title": no_text}]}));
    assert_eq!(send(&test, "a%00b").await, no_text);
    for (id, state) in [("lost", "waiting_for_payment"), ("late", "expired")] {
        test.put(
            &format!("subscriptions/{id}"),
            json!({"state": state, "cart_link": "https://shop.example/"}),
        )
        .await;
        assert_eq!(send(&test, id).await, refused("Shopper has no email address"));
    }
    test.add_merchant("other", "MX").await;
    test.put("subscriptions/mine", subscription("draft")).await;
    let line = "POST /api/public/v1/subscriptions/mine/send_email";
    let others = test.request(line, &[&test.bearer("other")], "").await;
    assert_eq!(others.whole(), refused("Subscription not found"));
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn a_caller_that_may_not_ask_is_told_so_in_the_familys_envelope() {
    let test = TestApp::start("MX").await;
    test.add_token("tea", "reader", "resources.read").await;
    let line = "POST /api/public/v1/subscriptions/1/send_email";
    for headers in [vec![], vec!["authorization: Basic dGVhOndyb25n"], vec!["authorization: Bearer nonsense"]]
    {
        let answered = test.request(line, &headers, "").await;
        let expected = json!({"errors": [{"code": "unauthorized", "title": "Unauthorized"}]});
        assert_eq!(answered.whole(), (401, expected));
        assert!(answered.headers["www-authenticate"].starts_with("Basic "));
    }
    let answered = test.request(line, &[&test.bearer("reader")], "").await;
    let title = "This credential lacks the ability subscriptions.email.";
    assert_eq!(answered.whole(), (403, json!({"errors": [{"code": "forbidden", "title": title}]})));
    let answered = test.request("GET /api/public/v1/subscriptions/1/send_email", &[&test.basic()], "").await;
    let title = "GET is not allowed here.";
    assert_eq!(answered.whole(), (405, json!({"errors": [{"code": "method_not_allowed", "title": title}]})));
    let large = "x".repeat(8 * 1024 * 1024 + 1);
    let answered = test.request(line, &[&test.basic()], &large).await;
    let title = "The body is too large.";
    assert_eq!(answered.whole(), (413, json!({"errors": [{"code": "too_large", "title": title}]})));
}

#[tokio::test]
async fn no_body_and_any_body_are_the_same() {
    let test = TestApp::start("DE").await;
    test.put("subscriptions/1", subscription("waiting_for_payment")).await;
    let line = "POST /api/public/v1/subscriptions/1/send_email";
    let expected = (202, json!({"message": "Cart-Link-E-Mail erfolgreich gesendet"}));
    for (content_type, body) in [
        ("accept: */*", ""),
        ("content-type: application/json", ""),
        ("content-type: application/json", "{"),
        ("content-type: text/plain", "hello"),
        ("content-type: application/x-www-form-urlencoded", "a=b"),
    ] {
        let answered = test.request(line, &[&test.basic(), content_type], body).await;
        assert_eq!(answered.whole(), expected, "{content_type} {body}");
    }
}

#[tokio::test]
async fn the_mail_has_the_names_and_the_link_in_the_merchants_language() {
    let test = TestApp::start("MX").await;
    test.put("subscriptions/1", subscription("in_progress")).await;
    send(&test, "1").await;
    let filter = MailFilter { subscription: Some("1".to_owned()), limit: 10, ..MailFilter::default() };
    let recorded = test.app.store.mails(&filter).await.unwrap();
    assert_eq!(
        (recorded.len(), recorded[0].state, &*recorded[0].template),
        (1, MailState::Queued, "cart_link")
    );
    let (mail, content) = test.mails().await.pop().unwrap();
    assert_eq!(mail.recipient.to_string(), "Ann Lee <ann@example.net>");
    assert_eq!(mail.sender.to_string(), "Tea & Co <no-reply@post.example.com>");
    assert_eq!(content.subject, "Su carrito en Tea & Co");
    assert!(content.html.contains("lang=\"es\" dir=\"ltr\""), "{}", content.html);
    let link = "https://shop.example/c/1?a=b&amp;c=d";
    assert!(content.html.contains(&format!("href=\"{link}\"")), "{}", content.html);
    assert!(content.text.contains("Ann Lee") && content.text.contains("https://shop.example/c/1?a=b&c=d\n"));
}

#[tokio::test]
async fn a_merchants_own_template_goes_before_the_built_in_mail() {
    let test = TestApp::start("MX").await;
    let own = |subject: &str| json!({"brand_id": "tea", "title": "Own", "subject": subject, "html": "<p>{{cart_link}}</p>"});
    test.put_mailing(own("hello")).await;
    test.put("subscriptions/1", subscription("sent")).await;
    let mut subjects = vec!["Su carrito en Tea & Co"];
    send(&test, "1").await;
    for (id, subject) in [("cart_link", "any"), ("cart_link.de", "any"), ("cart_link.es", "spanish")] {
        test.put(&format!("templates/{id}"), own(if id == "cart_link.de" { "german" } else { subject }))
            .await;
        assert_eq!(send(&test, "1").await.0, 202);
        subjects.push(subject);
    }
    let written: Vec<_> = test.mails().await.into_iter().map(|(_, content)| content.subject).collect();
    assert_eq!(written, subjects);
    test.put("templates/cart_link.es", own("{{colour}}")).await;
    let title = "templates.cart_link.es: The template needs a value for colour.";
    assert_eq!(send(&test, "1").await, refused(title));
}

#[tokio::test]
async fn the_same_request_made_again_sends_nothing_more() {
    let test = TestApp::start("MX").await;
    test.put("subscriptions/1", subscription("draft")).await;
    let line = "POST /api/public/v1/subscriptions/1/send_email";
    let headers = [&*test.basic(), "idempotency-key: k1"];
    let first = test.request(line, &headers, "").await;
    let again = test.request(line, &headers, "").await;
    assert_eq!(first.whole(), (202, json!({ "message": MESSAGE_ES })));
    assert_eq!(again.whole(), first.whole());
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let other = test.request(line, &headers, "{}").await;
    let title = "idempotency_key_reused: this Idempotency-Key was used for another request.";
    assert_eq!(other.whole(), (422, json!({"errors": [{"code": "idempotency_key_reused", "title": title}]})));
    assert_eq!(test.count().await, 1);
}

#[tokio::test]
async fn many_at_once_move_a_draft_once_and_each_sends_its_mail() {
    let test = TestApp::start("MX").await;
    test.put("subscriptions/1", subscription("draft")).await;
    let answers = futures_util::future::join_all((0..20).map(|_| send(&test, "1"))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202), "{answers:?}");
    assert_eq!(state(&test, "1").await, "sent");
    assert_eq!(test.count().await, 20);
}

#[tokio::test]
async fn a_cart_link_looks_like_its_brand_or_the_merchants_only_one() {
    let test = TestApp::start("DE").await;
    let brand = |colour: &str| {
        json!({"name": "Tea", "sender": {"email": "hi@tea.example"}, "colour": colour,
            "logo_url": "https://tea.example/logo.png", "support_email": "help@tea.example", "postal_address": "1 Quay\nBonn"})
    };
    test.put("brands/tea", brand("#123456")).await;
    let document = json!({"state": "waiting_for_payment", "cart_link": "https://shop.example/c?a=1",
        "shopper": {"email": "ann@example.net"}});
    test.put("subscriptions/only", document.clone()).await;
    let mut named = document;
    named["brand_id"] = json!("oak");
    let refused = test.json("PUT /api/v1/subscriptions/named", &named).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["path"]), (422, &json!("brand_id")));
    test.put("brands/oak", brand("#654321")).await;
    test.put("subscriptions/named", named).await;
    let send = async |id: &str| {
        let line = format!("POST /api/public/v1/subscriptions/{id}/send_email");
        assert_eq!(test.request(&line, &[&test.basic()], "").await.status, 202);
    };
    send("named").await;
    send("only").await;
    let mails = test.mails().await;
    let (named, named_content) = &mails[0];
    assert!(
        named_content.html.contains("#654321") && named_content.html.contains("https://tea.example/logo.png")
    );
    assert!(named_content.html.contains("1 Quay, Bonn") && named_content.text.contains("help@tea.example"));
    assert_eq!(named.reply_to.as_ref().unwrap().to_string(), "help@tea.example");
    // Two brands, and the document names none: nobody's.
    let (bare, bare_content) = &mails[1];
    assert!(!bare_content.html.contains("logo.png") && bare.reply_to.is_none());
    let linked = bare_content.html.split_once("ld+json\">").unwrap().1.split_once("</script>").unwrap().0;
    let linked: serde_json::Value = serde_json::from_str(linked).unwrap();
    assert_eq!(linked["potentialAction"]["@type"], "ViewAction");
    assert_eq!(linked["potentialAction"]["target"], "https://shop.example/c?a=1");
}

#[tokio::test]
async fn a_merchants_only_brand_is_that_of_its_cart_links() {
    let test = TestApp::start("BR").await;
    let brand = json!({"name": "Tea", "sender": {"email": "hi@tea.example"}, "colour": "#123456"});
    test.put("brands/tea", brand).await;
    let document = json!({"state": "waiting_for_payment", "cart_link": "https://shop.example/c",
        "shopper": {"email": "ann@example.net"}});
    test.put("subscriptions/s", document).await;
    let line = "POST /api/public/v1/subscriptions/s/send_email";
    assert_eq!(test.request(line, &[&test.basic()], "").await.status, 202);
    let content = &test.mails().await[0].1;
    assert!(content.html.contains("#123456") && content.html.contains(" lang=\"pt-BR\""));
    assert!(content.html.contains("O seu carrinho está esperando por você"), "{}", content.html);
}

#[tokio::test]
async fn a_brands_sender_stands_in_for_a_merchant_who_has_none() {
    let test = TestApp::start_at("https://192.0.2.7/", "US").await;
    test.put("subscriptions/1", subscription("waiting_for_payment")).await;
    test.put("brands/tea", json!({"name": "Tea", "sender": {"email": "hi@tea.example"}})).await;
    let (answered, body) = send(&test, "1").await;
    assert_eq!(answered, 202, "{body}");
    assert_eq!(test.mails().await[0].0.sender.to_string(), "hi@tea.example");
}

#[tokio::test]
async fn a_merchant_for_whose_sender_nothing_stands_in_is_refused_and_told_why() {
    for (public_url, status) in [
        ("https://192.0.2.7/", 422),
        ("https://192.0.2.7:8443/mails/", 422),
        ("https://[2001:db8::7]/", 422),
        ("https://post.example.com/", 202),
        ("http://127.0.0.1:8025/", 202),
    ] {
        let test = TestApp::start_at(public_url, "US").await;
        test.put("subscriptions/1", subscription("waiting_for_payment")).await;
        let (answered, body) = send(&test, "1").await;
        assert_eq!(answered, status, "{public_url}: {body}");
        assert_eq!(test.count().await, usize::from(status == 202), "{public_url}");
        if status == 422 {
            let title = body["errors"][0]["title"].as_str().unwrap();
            assert!(title.contains("no sender") && title.contains("merchant update --sender"), "{title}");
        }
    }
}
