//! What becomes of mails that somebody takes back or tries again, one or many, asked as a merchant's system asks.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    clock,
    http::test_app::TestApp,
    jobs::{FanOutBatch, Job, RunBulkAction, SendTestMail},
    mail::{MailId, MailLane},
    store::Claim,
};

/// A shop with a template `hello` and a member `ann`.
async fn shop() -> TestApp {
    let test = TestApp::start("DE").await;
    test.put_mailing(
        json!({"brand_id": "tea", "title": "Hello", "subject": "Hello", "html": "<p>Hello</p>"}),
    )
    .await;
    test
}

/// Asks for a mail to the member `ann`, with these fields too; returns its id.
async fn send(test: &TestApp, more: &Value) -> String {
    let mut mail = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    mail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sent = test.json("POST /mail", &mail).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    sent.json()["data"]["ann"]["transaction_id"].as_str().unwrap().to_owned()
}

/// Asks for something to be done with a mail; returns the mail.
async fn ask(test: &TestApp, mail: &str, what: &str) -> Value {
    let answered = test.json(&format!("POST /api/v1/mails/{mail}/{what}"), &json!({})).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    answered.json()
}

/// Does something to all mails that a search finds; returns the result for each.
async fn act(test: &TestApp, kind: &str, q: &str) -> Value {
    let drafted = test.json("POST /api/v1/actions", &json!({"kind": kind, "q": q})).await;
    assert_eq!(drafted.status, 201, "{drafted:?}");
    let id = drafted.json()["id"].as_str().unwrap().to_owned();
    let confirmed = test.json(&format!("POST /api/v1/actions/{id}/confirm"), &json!({})).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    RunBulkAction { action: id.parse().unwrap() }.run(&test.app).await.unwrap();
    test.get(&format!("/api/v1/actions/{id}/results")).await.json()["data"].clone()
}

async fn may_be_claimed(test: &TestApp, mail: &str) -> bool {
    let mail: MailId = mail.parse().unwrap();
    let claim = test.app.store.claim_mail(mail, test.app.worker.id, MailLane::Transactional).await.unwrap();
    matches!(claim, Claim::Granted(_))
}

#[tokio::test]
async fn a_scheduled_mail_that_was_taken_back_waits_for_its_time_again() {
    let test = shop().await;
    let send_at = (clock::now() + Duration::from_secs(20 * 86_400)).to_string();
    for is_one_of_many in [false, true] {
        let mail = send(&test, &json!({"send_at": send_at, "tags": ["later"]})).await;
        ask(&test, &mail, "cancel").await;
        match is_one_of_many {
            false => drop(ask(&test, &mail, "retry").await),
            true => assert_eq!(act(&test, "retry", "state:cancelled tag:later").await[0]["result"], "done"),
        }
        let waits = test.get(&format!("/api/v1/mails/{mail}")).await.json();
        assert_eq!((&waits["state"], &waits["due_at"]), (&json!("queued"), &json!(send_at)), "{waits}");
        assert_eq!(waits["waiting"], json!({"reason": "scheduled", "until": send_at}));
        assert!(!may_be_claimed(&test, &mail).await);
    }
    let at_once = send(&test, &json!({})).await;
    ask(&test, &at_once, "cancel").await;
    ask(&test, &at_once, "retry").await;
    assert!(may_be_claimed(&test, &at_once).await);
}

/// Asserts that a mail cannot be tried again, neither alone nor with others that a search finds.
async fn assert_stays(test: &TestApp, mail: &str, q: &str) {
    let refused = test.json(&format!("POST /api/v1/mails/{mail}/retry"), &json!({})).await;
    let (status, said) = refused.whole();
    assert_eq!((status, &said["code"]), (409, &json!("wrong_state")), "{said}");
    assert_eq!(said["detail"], "A mail whose recipient is gone cannot be retried.");
    let skipped = json!([{"mail": mail, "result": "skipped", "why": "its recipient is gone"}]);
    assert_eq!(act(test, "retry", q).await, skipped);
}

#[tokio::test]
async fn a_mail_whose_recipient_was_erased_is_not_tried_again() {
    let test = shop().await;
    let mail = send(&test, &json!({})).await;
    test.app.store.erase_recipient(&"ann@example.net".parse().unwrap()).await.unwrap();
    assert_stays(&test, &mail, "state:cancelled").await;
}

#[tokio::test]
async fn a_mail_whose_member_was_gone_is_not_tried_again() {
    let test = shop().await;
    let asked = json!({"brand_id": "tea", "template_id": "hello", "users": [{"identifier": "ann"}]});
    let queued = test.json("POST /mails", &asked).await.json();
    let batch = queued["data"]["batch_id"].as_str().unwrap();
    test.request("DELETE /api/v1/members/ann", &[&test.bearer("tea")], "").await;
    FanOutBatch { batch: batch.parse().unwrap() }.run(&test.app).await.unwrap();
    let made = test.get(&format!("/api/v1/mails?batch={batch}")).await.json();
    assert_eq!(
        (&made["data"][0]["state"], &made["data"][0]["error"]),
        (&json!("failed"), &json!("the member is gone"))
    );
    let mail = made["data"][0]["id"].as_str().unwrap();
    assert_stays(&test, mail, &format!("batch:{batch}")).await;
}

#[tokio::test]
async fn a_mail_that_comes_to_nobody_all_the_same_fails_before_it_is_offered() {
    let test = shop().await;
    test.put("members/ann", json!({"brand_id": "tea", "email": "erased@postroom.invalid"})).await;
    test.add_test_token("tea", "trying").await;
    let headers = [&*test.bearer("trying"), "content-type: application/json"];
    let asked = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    let sent = test.request("POST /mail", &headers, &asked.to_string()).await.json();
    let mail = sent["data"]["ann"]["transaction_id"].as_str().unwrap();
    test.app.worker.note_heartbeat(clock::now(), Instant::now());
    SendTestMail { mail: mail.parse().unwrap() }.run(&test.app).await.unwrap();
    let failed = test.get(&format!("/api/v1/mails/{mail}")).await.json();
    assert_eq!((&failed["state"], &failed["attempts"]), (&json!("failed"), &json!([])), "{failed}");
    assert_eq!(failed["error"], "the recipient is gone: there is no address to send it to");
}

#[tokio::test]
async fn a_test_mail_suppresses_nobody() {
    let test = shop().await;
    test.add_test_token("tea", "trying").await;
    let headers = [&*test.bearer("trying"), "content-type: application/json"];
    let asked = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    assert_eq!(test.request("POST /mail", &headers, &asked.to_string()).await.status, 200);
    let results = act(&test, "suppress", "to:ann@example.net").await;
    assert_eq!(results[0]["why"], "it is a test mail", "{results}");
    assert_eq!(test.get("/api/v1/suppressions/ann@example.net").await.status, 404);

    let mail = send(&test, &json!({})).await;
    let results = act(&test, "suppress", "to:ann@example.net test:false").await;
    assert_eq!(results, json!([{"mail": mail, "result": "done", "why": null}]));
    assert_eq!(test.get("/api/v1/suppressions/ann@example.net").await.status, 200);
}

#[tokio::test]
async fn in_test_mode_no_mail_is_sent_again_that_goes_to_a_relay() {
    let test = TestApp::start("DE").await;
    test.add_test_token("tea", "trial").await;
    test.put("brands/tea", json!({"name": "Tea", "sender": {"email": "hello@tea.example"}})).await;
    test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net"})).await;
    let template = json!({"brand_id": "tea", "title": "t", "subject": "s", "html": "h"});
    test.put("templates/hello", template).await;
    let body = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
    let by = async |token: &str, line: &str, body: String| {
        let headers = [&*test.bearer(token), "content-type: application/json"];
        test.request(line, &headers, &body).await
    };
    let action = json!({"kind": "retry", "q": "state:cancelled"}).to_string();
    for (token, by_trial) in [("tea", [403, 422]), ("trial", [200, 201])] {
        let sent = by(token, "POST /mail", body.to_string()).await.json();
        let mail = sent["data"]["ann"]["transaction_id"].as_str().unwrap().to_owned();
        let cancel = by(token, &format!("POST /api/v1/mails/{mail}/cancel"), String::new()).await;
        assert_eq!(cancel.status, 200, "{cancel:?}");
        let drafted = by("trial", "POST /api/v1/actions", action.clone()).await;
        let retried = by("trial", &format!("POST /api/v1/mails/{mail}/retry"), String::new()).await;
        assert_eq!([retried.status, drafted.status], by_trial, "{token}: {retried:?} {drafted:?}");
    }
}
