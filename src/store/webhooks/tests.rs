//! Events, claims and settlements of deliveries on a real database.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    fixture::{self, SECRET, fill, register, settle_mail, tea},
    *,
};
use crate::{
    clock,
    mail::{AttemptOutcome, DeliveryId, MerchantId, Origin, Timestamp, WorkerId},
    store::Store,
    webhook::{CallbackOutcome, CallbackReply, CallbackVerdict, DeliveryState},
};

async fn open() -> (Store, TempDir) {
    let (store, folder) = fixture::open().await;
    fill(&store, &tea()).await;
    (store, folder)
}

async fn delivery_of(store: &Store, endpoint: &Endpoint) -> DeliveryRecord {
    let (deliveries, total) = store.deliveries(&tea(), endpoint.id, 0, 10).await.unwrap();
    assert_eq!((deliveries.len(), total), (1, 1), "{deliveries:?}");
    deliveries.into_iter().next().unwrap()
}

async fn claim(store: &Store, delivery: DeliveryId, worker: WorkerId) -> Callback {
    match store.claim_callback(delivery, worker).await.unwrap() {
        CallbackClaim::Granted(callback) => *callback,
        CallbackClaim::NotYours => panic!("not granted"),
    }
}

fn answered(status: u16) -> CallbackReply {
    let silent = CallbackReply::silent(CallbackOutcome::Answered, "words", Duration::from_millis(12));
    CallbackReply { status: Some(status), ..silent }
}

async fn settle(store: &Store, callback: &Callback, worker: WorkerId, status: u16) -> CallbackSettled {
    let verdict = match status {
        200 => CallbackVerdict::Delivered,
        410 => CallbackVerdict::Gone,
        _ => CallbackVerdict::Retry(clock::now()),
    };
    let settlement = CallbackSettlement::new(callback, worker, clock::now(), answered(status), verdict);
    store.settle_callback(settlement).await.unwrap()
}

#[tokio::test]
async fn a_mail_is_told_to_those_who_listen_and_to_nobody_else() {
    let (store, _folder) = open().await;
    let other: MerchantId = "other".parse().unwrap();
    fill(&store, &other).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    assert_eq!(store.event_bodies().await, Vec::<Value>::new(), "nobody listens");

    let all = register(&store, &tea(), "https://all.example/", &["*"]).await;
    let failures = register(&store, &tea(), "https://failures.example/", &["email.failed"]).await;
    let foreign = register(&store, &other, "https://other.example/", &["*"]).await;
    let off = register(&store, &tea(), "https://off.example/", &["*"]).await;
    let disable = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    store.change_endpoint(&tea(), off.id, &disable).await.unwrap().unwrap();
    let mail = settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;

    let bodies = store.event_bodies().await;
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies[0]["type"], "email.sent");
    assert_eq!(bodies[0]["data"]["id"], mail.to_string());
    let delivery = delivery_of(&store, &all).await;
    assert_eq!((delivery.kind.as_deref(), delivery.state), (Some("email.sent"), DeliveryState::Queued));
    for (merchant, endpoint) in [(&tea(), &failures), (&tea(), &off), (&other, &foreign)] {
        assert_eq!(store.deliveries(merchant, endpoint.id, 0, 10).await.unwrap().1, 0, "{endpoint:?}");
    }
    let due = store.mark_due_deliveries(Duration::from_secs(60), &[]).await.unwrap();
    assert_eq!(due, [DueDelivery { delivery: delivery.id, merchant: tea() }]);
    assert_eq!(store.mark_due_deliveries(Duration::from_secs(60), &[]).await.unwrap(), []);
}

#[tokio::test]
async fn an_event_says_what_its_example_says() {
    let (store, _folder) = open().await;
    register(&store, &tea(), "https://all.example/", &["*"]).await;
    let cart = Origin { cart: Some("c1".to_owned()), ..Origin::default() };
    let order = Origin { order: Some("o1".to_owned()), member: Some("m1".to_owned()), ..Origin::default() };
    settle_mail(&store, &tea(), cart, AttemptOutcome::Accepted).await;
    settle_mail(&store, &tea(), order.clone(), AttemptOutcome::Accepted).await;
    settle_mail(&store, &tea(), order, AttemptOutcome::Permanent).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Transient).await;
    let bodies = store.event_bodies().await;
    let kinds: Vec<_> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "email.sent",
            "reminder.sent",
            "email.sent",
            "order.email.completed",
            "email.failed",
            "order.email.failed",
            "email.deferred"
        ]
    );
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for body in &bodies {
        let kind: crate::webhook::EventKind = body["type"].as_str().unwrap().parse().unwrap();
        let example = kind.example();
        assert_eq!((keys(body), keys(&body["data"])), (keys(&example), keys(&example["data"])), "{kind}");
    }
    let sent = &bodies[1]["data"];
    assert_eq!((&sent["cart"], &sent["state"], &sent["attempts"]), (&json!("c1"), &json!("sent"), &json!(1)));
    assert_eq!((&sent["code"], &sent["reply"]), (&json!(250), &json!("Ok: queued as 4XyZ12")));
    assert_eq!((&sent["provider_id"], &sent["route"]), (&json!("4XyZ12"), &json!("main")));
    assert_eq!(bodies[3]["data"]["member"], "m1");
}

#[tokio::test]
async fn a_delivery_is_one_workers_until_it_settles_it() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let delivery = delivery_of(&store, &endpoint).await;
    let (first, second) = (WorkerId::new(), WorkerId::new());
    let to = store.due_destination(delivery.id).await.unwrap().unwrap();
    assert_eq!((to.endpoint, to.merchant), (Some(endpoint.id), tea()));

    let callback = claim(&store, delivery.id, first).await;
    assert_eq!((callback.url.as_str(), callback.attempt), ("https://all.example/", 1));
    assert_eq!(callback.webhook_id, delivery.webhook_id);
    assert!(matches!(store.claim_callback(delivery.id, second).await.unwrap(), CallbackClaim::NotYours));
    assert_eq!(store.due_destination(delivery.id).await.unwrap(), None);
    assert_eq!(settle(&store, &callback, second, 200).await, CallbackSettled::TooLate);
    assert_eq!(settle(&store, &callback, first, 500).await, CallbackSettled::Now(DeliveryState::Deferred));
    assert_eq!(settle(&store, &callback, first, 200).await, CallbackSettled::TooLate);

    let again = claim(&store, delivery.id, second).await;
    assert_eq!((again.attempt, &again.webhook_id), (2, &callback.webhook_id));
    assert_eq!(
        settle(&store, &callback, first, 200).await,
        CallbackSettled::TooLate,
        "of the attempt before"
    );
    assert_eq!(settle(&store, &again, second, 200).await, CallbackSettled::Now(DeliveryState::Delivered));
    let record = delivery_of(&store, &endpoint).await;
    assert_eq!(
        (record.status, record.millis, record.answer.as_deref()),
        (Some(200), Some(12), Some("words"))
    );
    let attempts = store.delivery_attempts(delivery.id).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(500), Some(200)]);
}

#[tokio::test]
async fn a_delivery_of_a_dead_worker_is_due_again_with_the_same_id() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let id = delivery_of(&store, &endpoint).await.id;
    let (alive, dead) = (WorkerId::new(), WorkerId::new());
    store.beat(alive, "here", 1).await.unwrap();
    let silence = Duration::from_secs(15);
    let lost = claim(&store, id, dead).await;
    let take_lost = async || store.take_lost_deliveries(silence, WorkerId::new(), |_| false).await.unwrap();
    assert_eq!(take_lost().await, 1);
    assert_eq!(settle(&store, &lost, dead, 200).await, CallbackSettled::TooLate);
    let again = claim(&store, id, alive).await;
    assert_eq!((again.attempt, &again.webhook_id), (2, &lost.webhook_id));
    assert_eq!(take_lost().await, 0, "this worker lives");
    settle(&store, &again, alive, 200).await;
    let outcomes = store.delivery_attempts(id).await.unwrap();
    let outcomes: Vec<_> = outcomes.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["unknown", "answered"]);
}

#[tokio::test]
async fn a_delivery_that_its_living_worker_forgot_is_due_again() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let id = delivery_of(&store, &endpoint).await.id;
    let worker = WorkerId::new();
    store.beat(worker, "here", 1).await.unwrap();
    claim(&store, id, worker).await;
    let silence = Duration::from_secs(15);
    let take_lost =
        async |by, at_work| store.take_lost_deliveries(silence, by, move |_| at_work).await.unwrap();
    assert_eq!(take_lost(WorkerId::new(), false).await, 0, "only the worker itself knows what it works on");
    assert_eq!(take_lost(worker, true).await, 0, "it is at work on it");
    assert_eq!(take_lost(worker, false).await, 1);
    assert_eq!(claim(&store, id, worker).await.attempt, 2);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_failed_for_five_days_is_disabled_and_listed_for_notice_once() {
    let (store, _folder) = open().await;
    let worker = WorkerId::new();
    for (status, days, reason) in
        [(410, 0, Some("gone")), (500, 4, None), (500, 5, Some("failing")), (200, 6, None)]
    {
        let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
        settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
        let id = delivery_of(&store, &endpoint).await.id;
        settle(&store, &claim(&store, id, worker).await, worker, 500).await;
        store.let_it_be(endpoint.id, Duration::from_secs(days * 86_400)).await;
        settle(&store, &claim(&store, id, worker).await, worker, status).await;
        let now = store.endpoint(&tea(), endpoint.id).await.unwrap().unwrap();
        assert_eq!(
            (now.enabled, now.disabled_reason.as_deref()),
            (reason.is_none(), reason),
            "{status} {days}"
        );
        assert_eq!(now.failing_since.is_none(), status == 200);
        let reasons: Vec<_> =
            store.disabled_endpoints().await.unwrap().into_iter().map(|endpoint| endpoint.reason).collect();
        assert_eq!(reasons, Vec::from_iter(reason));
        assert_eq!(store.record_notified(endpoint.id, None).await.unwrap(), reason.is_some());
        assert!(!store.record_notified(endpoint.id, None).await.unwrap());
        let enable = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
        let mended = store.change_endpoint(&tea(), endpoint.id, &enable).await.unwrap().unwrap();
        assert_eq!((mended.enabled, mended.failing_since, mended.disabled_reason), (true, None, None));
        assert!(store.delete_endpoint(&tea(), endpoint.id).await.unwrap());
    }
}

fn moved_to(url: &str) -> EndpointChange {
    EndpointChange { url: Some(url.to_owned()), ..EndpointChange::default() }
}

#[tokio::test]
async fn an_answer_of_a_url_that_was_replaced_is_not_held_against_the_new_one() {
    let (store, _folder) = open().await;
    let worker = WorkerId::new();
    for status in [410, 500, 200] {
        let endpoint = register(&store, &tea(), "https://old.example/", &["*"]).await;
        settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
        let id = delivery_of(&store, &endpoint).await.id;
        settle(&store, &claim(&store, id, worker).await, worker, 500).await;
        let under_way = claim(&store, id, worker).await;
        let change = moved_to("https://new.example/");
        let moved = store.change_endpoint(&tea(), endpoint.id, &change).await.unwrap().unwrap();
        assert_eq!((moved.url.as_str(), moved.failing_since), ("https://new.example/", None));
        settle(&store, &under_way, worker, status).await;
        let now = store.endpoint(&tea(), endpoint.id).await.unwrap().unwrap();
        assert_eq!((now.enabled, now.disabled_reason, now.failing_since), (true, None, None), "{status}");
        assert!(store.delete_endpoint(&tea(), endpoint.id).await.unwrap());
    }
}

#[tokio::test]
async fn deliveries_that_wait_for_a_url_that_was_replaced_go_to_the_new_one_at_once() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://old.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let id = delivery_of(&store, &endpoint).await.id;
    let receiver = async || store.due_destination(id).await.unwrap().map(|to| to.name);
    let old = receiver().await.unwrap();
    let until = clock::now() + Duration::from_secs(300);
    store.put_off_deliveries(id, Some(endpoint.id), until).await.unwrap();
    let move_to = async |url| store.change_endpoint(&tea(), endpoint.id, &moved_to(url)).await.unwrap();
    move_to("https://old.example/").await;
    assert_eq!(receiver().await, None, "it is the same one");
    move_to("https://new.example/").await;
    let new = receiver().await.unwrap();
    assert_ne!(new, old, "a receiver that is away pauses nobody else");
    assert_eq!(store.mark_due_deliveries(Duration::from_secs(60), &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn deliveries_to_an_endpoint_that_is_away_are_put_off_at_no_cost() {
    let (store, _folder) = open().await;
    let away = register(&store, &tea(), "https://away.example/", &["*"]).await;
    let well = register(&store, &tea(), "https://well.example/", &["*"]).await;
    for _ in 0..3 {
        settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    }
    let (deliveries, _) = store.deliveries(&tea(), away.id, 0, 10).await.unwrap();
    let until = clock::now() + Duration::from_secs(60);
    assert_eq!(store.put_off_deliveries(deliveries[0].id, Some(away.id), until).await.unwrap(), 3);
    assert_eq!(store.put_off_deliveries(deliveries[0].id, Some(away.id), until).await.unwrap(), 0);
    let (deliveries, _) = store.deliveries(&tea(), away.id, 0, 10).await.unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.attempt == 0 && delivery.due_at == until));
    let due = store.mark_due_deliveries(Duration::from_secs(60), &[]).await.unwrap();
    let (others, _) = store.deliveries(&tea(), well.id, 0, 10).await.unwrap();
    assert_eq!(due.len(), 3);
    assert!(due.iter().all(|due| others.iter().any(|other| other.id == due.delivery)));
}

#[tokio::test]
async fn a_callback_with_a_key_is_recorded_once_and_signed_by_its_merchant() {
    let (store, _folder) = open().await;
    let callback = NewCallback {
        merchant: tea(),
        url: "https://shop.example/batch".to_owned(),
        body: r#"{"status":"success"}"#.to_owned(),
        unique_key: "batch:1".to_owned(),
    };
    assert!(store.record_callback(&callback).await.unwrap());
    assert!(!store.record_callback(&callback).await.unwrap());
    let due = store.mark_due_deliveries(Duration::from_secs(60), &[]).await.unwrap();
    assert_eq!(due.len(), 1);
    let to = store.due_destination(due[0].delivery).await.unwrap().unwrap();
    assert_eq!((to.endpoint, to.name.as_str()), (None, "tea https://shop.example"));
    let claimed = claim(&store, due[0].delivery, WorkerId::new()).await;
    assert_eq!(
        (claimed.url.as_str(), claimed.body.as_str()),
        (callback.url.as_str(), callback.body.as_str())
    );
    assert_eq!(claimed.webhook_id, claimed.id.to_string());
    assert_eq!(secrecy::ExposeSecret::expose_secret(&claimed.secrets[0]), SECRET);
}

#[tokio::test]
async fn old_deliveries_are_forgotten_with_their_events_and_waiting_ones_are_not() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let (id, worker) = (delivery_of(&store, &endpoint).await.id, WorkerId::new());
    settle(&store, &claim(&store, id, worker).await, worker, 200).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    clock_passes(&store, Duration::from_secs(100)).await;
    assert_eq!(store.forget_old_deliveries(Duration::from_secs(200)).await.unwrap(), 0);
    assert_eq!(store.forget_old_deliveries(Duration::from_secs(50)).await.unwrap(), 2);
    assert_eq!(
        (delivery_of(&store, &endpoint).await.state, store.event_bodies().await.len()),
        (DeliveryState::Queued, 1)
    );
}

/// Makes rows older instead of turning the clock that other tests look at.
async fn clock_passes(store: &Store, by: Duration) {
    let millis = i64::try_from(by.as_millis()).unwrap();
    for statement in [
        "UPDATE deliveries SET settled_at = settled_at - $1, created_at = created_at - $1",
        "UPDATE events SET created_at = created_at - $1",
    ] {
        store
            .writer
            .execute(crate::store::statement::query(statement).bind(millis), "turn a clock")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_was_away_for_long_gets_all_again_in_steps() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    let run = async |statement: String| {
        let statement = crate::store::statement::query(sqlx::AssertSqlSafe(statement));
        store.writer.execute(statement, "fill tables").await.unwrap()
    };
    let numbers =
        "WITH RECURSIVE numbers (n) AS (SELECT 10000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 12499)";
    run(format!(
        "INSERT INTO events (id, merchant_id, type, body, created_at) {numbers}
         SELECT 'e' || n, 'tea', 'email.sent', '{{}}', 1 FROM numbers"
    ))
    .await;
    run(format!(
        "INSERT INTO deliveries (id, merchant_id, event_id, endpoint_id, state, created_at, due_at, settled_at) {numbers}
         SELECT 'd' || n, 'tea', 'e' || n, '{}', CASE WHEN n % 5 = 0 THEN 'delivered' ELSE 'failed' END, 1, 1, 1 FROM numbers",
        endpoint.id
    ))
    .await;
    assert_eq!(store.replay_failed(&tea(), endpoint.id, Timestamp(0)).await.unwrap(), 2_000);
    assert_eq!(store.replay_failed(&tea(), endpoint.id, Timestamp(0)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_replay_begins_the_schedule_anew_and_keeps_the_id() {
    let (store, _folder) = open().await;
    let endpoint = register(&store, &tea(), "https://all.example/", &["*"]).await;
    settle_mail(&store, &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    let (record, worker) = (delivery_of(&store, &endpoint).await, WorkerId::new());
    let replay = async || store.replay_delivery(&tea(), endpoint.id, record.id).await.unwrap();
    assert!(matches!(replay().await, Replayed::UnderWay(DeliveryState::Queued)));
    settle(&store, &claim(&store, record.id, worker).await, worker, 410).await;
    assert!(matches!(replay().await, Replayed::Disabled));
    let enable = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    store.change_endpoint(&tea(), endpoint.id, &enable).await.unwrap();
    let since = async |at: Timestamp| store.replay_failed(&tea(), endpoint.id, at).await.unwrap();
    assert_eq!(since(record.created_at + Duration::from_millis(1)).await, 0);
    assert_eq!(since(record.created_at).await, 1);
    let again = claim(&store, record.id, worker).await;
    assert_eq!((again.attempt, again.attempt_of_schedule, &again.webhook_id), (2, 1, &record.webhook_id));
    settle(&store, &again, worker, 200).await;
    assert!(matches!(replay().await, Replayed::Now), "also what was delivered");
    let foreign: MerchantId = "other".parse().unwrap();
    let unknown = store.replay_delivery(&foreign, endpoint.id, record.id).await.unwrap();
    assert!(matches!(unknown, Replayed::Unknown));
}
