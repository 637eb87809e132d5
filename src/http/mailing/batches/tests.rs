//! Batches over HTTP, with a worker played by the test.

use serde_json::json;

use super::*;
use crate::{
    http::test_app::TestApp,
    jobs::{FanOutBatch, Job},
};

/// The app with a brand, a member of it and a template.
async fn start() -> TestApp {
    let test = TestApp::start("DE").await;
    test.put_mailing(
        json!({"brand_id": "tea", "title": "Hello", "subject": "Hi {{x}}", "html": "<p>Hi</p>"}),
    )
    .await;
    test
}

/// Asks for a batch and returns its id.
async fn asked(test: &TestApp, users: &str) -> BatchId {
    let body = format!("{{\"brand_id\":\"tea\",\"template_id\":\"hello\",\"users\":{users}}}");
    let bearer = test.bearer("tea");
    let headers = [&*bearer, "content-type: application/json"];
    let answer = test.request("POST /mails", &headers, &body).await.json();
    assert_eq!(answer["data"]["queued"], json!(["ann"]));
    answer["data"]["batch_id"].as_str().unwrap().parse().unwrap()
}

/// Makes the mails of a batch of one chunk, as a worker does; returns their recipients and why they failed.
async fn made(test: &TestApp, batch: BatchId) -> Vec<(String, Value)> {
    for _ in 0..2 {
        FanOutBatch { batch }.run(&test.app).await.unwrap();
    }
    let mails = test.get(&format!("/api/v1/mails?batch={batch}")).await.json();
    let mails = mails["data"].as_array().unwrap().iter();
    mails.map(|mail| (mail["recipient"].as_str().unwrap().to_owned(), mail["error"].clone())).collect()
}

fn failed(why: &str) -> (String, Value) {
    ("member-gone@postroom.invalid".to_owned(), json!(why))
}

#[tokio::test]
async fn a_user_object_is_read_alike_by_the_request_and_by_the_worker() {
    let test = start().await;
    let batch = asked(&test, r#"[{"identifier":"x","identifier":"ann","x":"1"}]"#).await;
    assert_eq!(made(&test, batch).await, [("ann@example.net".to_owned(), Value::Null)]);
}

#[tokio::test]
async fn a_member_who_went_to_another_brand_gets_no_mail_of_the_first() {
    let test = start().await;
    let batch = asked(&test, r#"[{"identifier":"ann","x":"1"}]"#).await;
    test.put("brands/oak", json!({"name": "Oak", "sender": {"email": "hello@oak.example"}})).await;
    test.put("members/ann", json!({"brand_id": "oak", "email": "ann@example.net"})).await;
    assert_eq!(made(&test, batch).await, [failed("the member is gone")]);
}

#[tokio::test]
async fn a_user_that_cannot_be_read_fails_and_is_not_left_out() {
    let test = start().await;
    let like = asked(&test, r#"[{"identifier":"ann","x":"1"}]"#).await;
    let like = test.app.store.batch(None, like).await.unwrap().unwrap();
    let users = RawValue::from_string(r#"[{"identifier":5},7,{}]"#.to_owned()).unwrap();
    let batch = NewBatch {
        id: BatchId::new(),
        merchant: like.merchant,
        brand_id: like.brand_id,
        brand: like.brand,
        template: like.template,
        template_version: like.template_version,
        coupon: None,
        webhook_url: None,
        link: String::new(),
        mails: 3,
        schedule: like.schedule,
        is_test: false,
    };
    test.app.store.stage_chunks(batch.id, &[StagedChunk { number: 0, users }]).await.unwrap();
    test.app.store.record_batch(&batch, None).await.unwrap();
    let unread = || failed("the user object cannot be read");
    assert_eq!(made(&test, batch.id).await, [unread(), unread(), unread()]);
}

#[tokio::test]
async fn a_batch_that_lacks_mails_says_how_many() {
    let test = start().await;
    let batch = asked(&test, r#"[{"identifier":"ann","x":"1"}]"#).await;
    let store = &test.app.store;
    assert_eq!(store.begin_chunk(batch).await.unwrap(), Some((0, 1)));
    assert_eq!(store.all_made(batch).await.unwrap(), 0, "its users are still there");
    store.make_mails(batch, 0, Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(store.all_made(batch).await.unwrap(), 1);
    assert_eq!(store.all_made(batch).await.unwrap(), 0, "it is over");
}

async fn staged(test: &TestApp, batch: BatchId) -> bool {
    test.app.store.chunk(batch, 0).await.unwrap().is_some()
}

#[tokio::test]
async fn users_staged_by_a_request_that_is_dropped_are_thrown_away() {
    let test = TestApp::start("DE").await;
    let users = |number| StagedChunk { number, users: RawValue::from_string("[{}]".to_owned()).unwrap() };
    for may_be_recorded in [false, true] {
        let batch = BatchId::new();
        let staging = Staging { app: Arc::clone(&test.app), batch, may_be_recorded };
        test.app.store.stage_chunks(batch, &[users(0), users(1)]).await.unwrap();
        assert!(staged(&test, batch).await);
        drop(staging);
        if may_be_recorded {
            assert!(staged(&test, batch).await, "the batch needs them");
            continue;
        }
        for _ in 0..500 {
            if !staged(&test, batch).await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(!staged(&test, batch).await);
    }
}

#[tokio::test]
async fn a_mail_that_would_have_no_subject_is_not_made() {
    let test = start().await;
    let template = json!({"brand_id": "tea", "title": "Hello", "subject": "{{x}}", "html": "<p>Hi</p>"});
    test.put("templates/hello", template).await;
    let user = json!({"identifier": "ann", "x": " \n"});
    let single = json!({"brand_id": "tea", "template_id": "hello", "user": user});
    let refused = test.json("POST /mail", &single).await;
    let why = "the subject of the mail is blank with these values";
    let message = format!("The template cannot be rendered: {why}.");
    assert_eq!((refused.status, &refused.json()["errors"]["template_id"][0]), (422, &json!(message)));
    let users = json!([user]);
    let many = json!({"brand_id": "tea", "template_id": "hello", "users": users});
    let preflight = test.json("POST /api/v1/batches/preflight", &many).await.json();
    assert_eq!((&preflight["recipients"], &preflight["unrenderable"]), (&json!(1), &json!(1)));
    let batch = asked(&test, &users.to_string()).await;
    let error = json!(format!("the template cannot be rendered: {why}"));
    assert_eq!(made(&test, batch).await, [("ann@example.net".to_owned(), error)]);
}
