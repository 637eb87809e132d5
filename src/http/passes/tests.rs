//! From a request with a coupon or a store card to the page that its mail links to, over HTTP.

use serde_json::{Value, json};

use super::page::read_qr;
use crate::http::test_app::{Answered, TestApp};

/// The app with a brand, a member, a template with a link to a pass, a coupon and a store card.
async fn start() -> TestApp {
    let test = TestApp::start("MX").await;
    test.put_mailing(
        json!({"brand_id": "tea", "title": "Hello", "subject": "Hi", "html": "<p>{{link_to_pass}}</p>",
        "text": "{{link_to_pass}}"}),
    )
    .await;
    let coupon = json!({"brand_id": "tea", "title": "15 % <off>", "code": "TEA15", "expires_at": "2040-12-31T12:00:00Z"});
    test.put("coupons/spring", coupon).await;
    test.put("storecards/gold", json!({"brand_id": "tea", "title": "Gold card"})).await;
    test.put("brands/coffee", json!({"name": "Coffee", "sender": {"email": "hello@coffee.example"}})).await;
    test.put("coupons/coffee", json!({"brand_id": "coffee", "title": "Coffee"})).await;
    test
}

async fn send(test: &TestApp, wish: Value) -> Answered {
    send_with(test, "tea", wish).await
}

async fn send_with(test: &TestApp, token: &str, wish: Value) -> Answered {
    let mut body = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
    let headers = [&*test.bearer(token), "content-type: application/json"];
    test.request("POST /mail", &headers, &body.to_string()).await
}

/// Where the links of all mails lead, oldest first.
async fn links(test: &TestApp) -> Vec<String> {
    test.mails().await.into_iter().map(|(_, content)| content.text.trim().to_owned()).collect()
}

async fn open(test: &TestApp, link: &str) -> Answered {
    let id = link.strip_prefix("https://post.example.com/mails/passes/").unwrap();
    test.request(&format!("GET /passes/{id}"), &[], "").await
}

#[tokio::test]
async fn a_coupon_makes_one_pass_for_a_member_however_often_it_is_sent() {
    let test = start().await;
    for _ in 0..3 {
        assert_eq!(send(&test, json!({"coupon_id": "spring"})).await.status, 200);
    }
    let member = json!({"brand_id": "tea", "email": "bob@example.net"});
    test.put("members/bob", member).await;
    send(&test, json!({"coupon_id": "spring", "user": {"identifier": "bob"}})).await;
    let links = links(&test).await;
    assert_eq!(links[0], links[1]);
    assert_eq!(links[0], links[2]);
    assert_ne!(links[0], links[3]);
    let page = open(&test, &links[0]).await;
    assert_eq!(page.status, 200);
    assert_eq!(read_qr(&page.text), links[0]);
}

#[tokio::test]
async fn a_mail_that_is_refused_or_only_tried_out_leaves_a_pass_as_it_is() {
    let test = start().await;
    test.add_test_token("tea", "trying").await;
    let coupon = |identifier: &str| json!({"coupon_id": "spring", "pass_identifier": identifier});
    assert_eq!(send(&test, coupon("REAL-1")).await.status, 200);
    let gold = json!({"storecard_id": "gold", "pass_identifier": "GOLD-1"});
    assert_eq!(send_with(&test, "trying", gold).await.status, 200);
    let links = links(&test).await;
    assert_eq!(read_qr(&open(&test, &links[1]).await.text), "GOLD-1", "a pass that was not there");

    assert_eq!(send_with(&test, "trying", coupon("TRIED-OUT")).await.status, 200);
    assert_eq!(read_qr(&open(&test, &links[0]).await.text), "REAL-1");
    test.put("suppressions/ann@example.net", json!({})).await;
    assert_eq!(send(&test, coupon("REFUSED-9")).await.status, 422);
    assert_eq!(read_qr(&open(&test, &links[0]).await.text), "REAL-1");
}

#[tokio::test]
async fn the_page_shows_the_coupon_in_the_members_language() {
    let test = start().await;
    send(&test, json!({"coupon_id": "spring"})).await;
    let link = links(&test).await.remove(0);
    let page = open(&test, &link).await;
    for shown in [
        "<html lang=\"de\">",
        "15 % &lt;off&gt;",
        "Gutschein",
        "TEA15",
        "Gültig bis",
        "31. Dezember 2040",
        ">Tea<",
    ] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert!(!page.text.contains("<off>") && !page.text.contains("[["));
    for (language, words) in [
        ("en", "Valid until"),
        ("es", "Válido hasta"),
        ("pt", "Válido até"),
        ("it", "Valido fino al"),
        ("fr", "Valable jusqu’au"),
    ] {
        test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net", "language": language}))
            .await;
        assert!(open(&test, &link).await.text.contains(words), "{language}");
    }
    test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net", "language": "nl"})).await;
    assert!(open(&test, &link).await.text.contains("<html lang=\"fr\">"), "the brand's language comes next");
}

#[tokio::test]
async fn the_qr_code_says_the_pass_identifier_when_one_is_given() {
    let test = start().await;
    send(&test, json!({"storecard_id": "gold", "pass_identifier": "4006381 333931"})).await;
    send(&test, json!({"storecard_id": "gold"})).await;
    let link = links(&test).await.remove(0);
    let page = open(&test, &link).await;
    assert!(page.text.contains("Gold card") && page.text.contains("Kundenkarte"));
    assert_eq!(read_qr(&page.text), "4006381 333931");
    send(&test, json!({"storecard_id": "gold", "pass_identifier": "new"})).await;
    assert_eq!(read_qr(&open(&test, &link).await.text), "new");
}

#[tokio::test]
async fn a_coupon_and_a_store_card_together_are_one_pass_of_both() {
    let test = start().await;
    send(&test, json!({"coupon_id": "spring", "storecard_id": "gold"})).await;
    send(&test, json!({"coupon_id": "spring"})).await;
    let links = links(&test).await;
    let page = open(&test, &links[0]).await.text;
    assert!(page.contains("Gold card") && page.contains("TEA15"));
    assert_ne!(links[0], links[1]);
    assert!(!open(&test, &links[1]).await.text.contains("Gold card"));
}

#[tokio::test]
async fn a_pass_that_is_over_says_so() {
    let test = start().await;
    send(&test, json!({"coupon_id": "spring"})).await;
    let over = json!({"brand_id": "tea", "title": "Old", "expires_at": "2020-01-31T12:00:00Z"});
    test.put("coupons/spring", over).await;
    let page = open(&test, &links(&test).await[0]).await.text;
    assert!(page.contains("Abgelaufen am 31. Januar 2020") && page.contains("<figure class=\"over\">"));
    assert!(!page.contains("Gültig bis"));
}

#[tokio::test]
async fn the_last_day_is_that_of_the_brands_mails() {
    let test = start().await;
    let template = json!({"brand_id": "tea", "title": "Hello", "subject": "{{date at language=\"de\"}}",
        "html": "<p>{{link_to_pass}}</p>", "text": "{{link_to_pass}}"});
    test.put("templates/hello", template).await;
    let zone =
        json!({"name": "Tea", "sender": {"email": "hello@tea.example"}, "timezone": "America/Los_Angeles"});
    test.put("brands/tea", zone).await;
    let at = "2039-01-01T07:59:59Z";
    test.put("coupons/spring", json!({"brand_id": "tea", "title": "Tea", "expires_at": at})).await;
    send(&test, json!({"coupon_id": "spring", "user": {"identifier": "ann", "at": at}})).await;
    let mail = test.mails().await.remove(0).1;
    assert_eq!(mail.subject, "31. Dezember 2038");
    let page = open(&test, mail.text.trim()).await.text;
    assert!(page.contains("31. Dezember 2038") && !page.contains("2039"), "{page}");
}

#[tokio::test]
async fn a_page_needs_nothing_from_outside_and_gives_nothing_away() {
    let test = start().await;
    send(&test, json!({"coupon_id": "spring"})).await;
    let page = open(&test, &links(&test).await[0]).await;
    let policy = &page.headers["content-security-policy"];
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert_eq!(page.headers["cache-control"], "private, no-store");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    for outside in ["src=", "href=", "url(", "@import", "<script", "style=\"", "ann@example.net"] {
        assert!(!page.text.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn an_unknown_pass_is_a_page_in_the_readers_language() {
    let test = start().await;
    for id in ["nonsense", "%C3%A4", "%3Cscript%3E"] {
        let page = test.request(&format!("GET /passes/{id}"), &["accept-language: it"], "").await;
        assert_eq!(page.status, 404, "{id}");
        assert!(
            page.text.contains("<html lang=\"it\">") && page.text.contains("Questo pass non esiste"),
            "{id}"
        );
        assert!(!page.text.contains("<script"));
    }
    send(&test, json!({"coupon_id": "spring"})).await;
    let link = links(&test).await.remove(0);
    let deleted = test.request("DELETE /api/v1/coupons/spring", &[&test.bearer("tea")], "").await;
    assert_eq!((deleted.status, open(&test, &link).await.status), (204, 404));
}

#[tokio::test]
async fn an_unknown_coupon_or_store_card_is_refused_by_its_field() {
    let test = start().await;
    let invalid = |field: &str| format!("The selected {field} is invalid.");
    for (wish, field, why) in [
        (json!({"coupon_id": "none"}), "coupon_id", invalid("coupon_id")),
        (json!({"coupon_id": ""}), "coupon_id", invalid("coupon_id")),
        (json!({"coupon_id": "coffee"}), "coupon_id", invalid("coupon_id")),
        (json!({"coupon_id": "gold"}), "coupon_id", invalid("coupon_id")),
        (json!({"storecard_id": "none"}), "storecard_id", invalid("storecard_id")),
        (json!({"coupon_id": "spring", "storecard_id": "none"}), "storecard_id", invalid("storecard_id")),
        (json!({"coupon_id": 5}), "coupon_id", "The coupon_id field must be a string.".to_owned()),
        (
            json!({"pass_identifier": ["x"]}),
            "pass_identifier",
            "The pass_identifier field must be a string.".to_owned(),
        ),
        (
            json!({"pass_identifier": "a\nb"}),
            "pass_identifier",
            "The pass_identifier field must not contain control characters.".to_owned(),
        ),
    ] {
        let expected = json!({"message": format!("{field}: {why}"), "errors": {field: [why]}});
        assert_eq!(send(&test, wish.clone()).await.whole(), (422, expected), "{wish}");
    }
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn without_a_coupon_or_store_card_there_is_no_link_and_a_callers_own_link_stands() {
    let test = start().await;
    let (status, answered) = send(&test, json!({"coupon_id": null})).await.whole();
    assert_eq!(
        (status, &answered["errors"]),
        (422, &json!({"user.link_to_pass": ["The template needs a value for link_to_pass."]}))
    );
    let own = json!({"coupon_id": "spring", "user": {"identifier": "ann", "link_to_pass": "https://tea.example/p"}});
    assert_eq!(send(&test, own).await.status, 200);
    assert_eq!(links(&test).await, ["https://tea.example/p"]);
}
