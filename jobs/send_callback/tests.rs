//! Callbacks from the mail that is settled to the receiver's socket, through the whole daemon.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tempfile::TempDir;

use crate::{
    callback::{
        Secret,
        receiver::{Act, Received, Receiver},
        verify,
    },
    clock,
    config::{Config, Role},
    daemon::Daemon,
    jobs::{Job, NotifyDisabledEndpoints},
    mail::{AttemptOutcome, Lane, MailState, Origin, WorkerId},
    store::{
        CallbackClaim, DeliveryRecord, Endpoint, MailFilter, NewCallback, Store,
        webhooks_fixture::{SECRET, fill, register, settle_mail, tea},
    },
    webhook::DeliveryState,
};

/// A daemon with one merchant and no route: mails are settled by the tests.
struct Scene {
    daemon: Daemon,
    _folder: TempDir,
}

impl Scene {
    async fn start(callbacks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postroom.toml");
        let text = format!(
            "[database]\nurl = \"sqlite:{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n[callbacks]\nallow_http = true\n\
             allow_networks = [\"127.0.0.0/8\"]\n{callbacks}\n",
            folder.path().join("postroom.db").display()
        );
        std::fs::write(&file, text).unwrap();
        let daemon = Daemon::start(Config::load(Some(&file), []).unwrap(), Role::All).await.unwrap();
        fill(&daemon.app().store, &tea()).await;
        Self { daemon, _folder: folder }
    }

    fn store(&self) -> &Store {
        &self.daemon.app().store
    }

    async fn listen(&self, receiver: &Receiver) -> Endpoint {
        register(self.store(), &tea(), &receiver.url(), &["*"]).await
    }

    async fn send_a_mail(&self) {
        settle_mail(self.store(), &tea(), Origin::default(), AttemptOutcome::Accepted).await;
    }

    async fn deliveries(&self, endpoint: &Endpoint) -> Vec<DeliveryRecord> {
        self.store().deliveries(&tea(), endpoint.id, 0, 100).await.unwrap().0
    }

    /// Waits until the newest delivery is in `state`.
    async fn until(&self, endpoint: &Endpoint, state: DeliveryState) -> DeliveryRecord {
        let begun = Instant::now();
        loop {
            match self.deliveries(endpoint).await.into_iter().next() {
                Some(delivery) if delivery.state == state => return delivery,
                other => assert!(begun.elapsed() < Duration::from_secs(20), "not {state}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_signed_by(received: &Received, secret: &str) -> bool {
    let secret = Secret::parse(secret).unwrap();
    verify(&received.signed(), received.body.as_bytes(), &[secret], clock::now())
}

#[tokio::test]
async fn a_settled_mail_is_posted_at_once_signed_and_on_record() {
    let mut receiver = Receiver::start(|_| Act::status(202)).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    let begun = Instant::now();
    scene.send_a_mail().await;
    let received = receiver.next().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(is_signed_by(&received, SECRET));
    assert_eq!(received.json()["type"], "email.sent");
    assert_eq!(received.json()["data"]["recipient"], "ann@example.net");
    let delivery = scene.until(&endpoint, DeliveryState::Delivered).await;
    assert_eq!(delivery.webhook_id, received.signed().id);
    assert_eq!((delivery.status, delivery.answer.as_deref()), (Some(202), Some("ok")));
    assert!(receiver.is_quiet());
}

#[tokio::test]
async fn a_callback_that_was_not_taken_comes_again_with_the_same_id() {
    let mut receiver = Receiver::start(|number| Act::status([500, 302, 200][number.min(2)])).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    scene.send_a_mail().await;
    let mut ids = vec![receiver.next().await.signed().id];
    for nominal in [5, 300] {
        let waits = scene.until(&endpoint, DeliveryState::Deferred).await;
        let wait = waits.due_at.since(clock::now()).as_secs_f64();
        assert!(wait > 0.7 * f64::from(nominal) && wait <= 1.2 * f64::from(nominal), "{wait} s");
        scene.store().bring_callbacks_forward().await;
        ids.push(receiver.next().await.signed().id);
    }
    let delivery = scene.until(&endpoint, DeliveryState::Delivered).await;
    assert_eq!((delivery.attempt, ids), (3, vec![delivery.webhook_id; 3]));
    assert!(scene.store().endpoint(&tea(), endpoint.id).await.unwrap().unwrap().failing_since.is_none());
}

#[tokio::test]
async fn a_worker_that_dies_between_claim_and_settle_leaves_a_callback_that_repeats_its_id() {
    let mut receiver = Receiver::start(|_| Act::status(200)).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    // Jobs of callbacks are held back until the worker that will die has it.
    let queue = &scene.daemon.app().queue;
    queue.pause(Lane::Callback).await.unwrap();
    scene.send_a_mail().await;
    let id = scene.deliveries(&endpoint).await[0].id;
    let claimed = scene.store().claim_callback(id, WorkerId::new()).await.unwrap();
    queue.resume(Lane::Callback).await.unwrap();
    let received = receiver.next().await;
    let delivery = scene.until(&endpoint, DeliveryState::Delivered).await;
    assert_eq!(received.signed().id, delivery.webhook_id);
    let CallbackClaim::Granted(lost) = claimed else { panic!("the living worker was first") };
    assert_eq!((lost.webhook_id, delivery.attempt), (delivery.webhook_id, 2));
}

#[tokio::test]
async fn after_410_nothing_more_is_sent_and_the_merchant_is_notified_by_mail() {
    let mut receiver = Receiver::start(|_| Act::status(410)).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    scene.send_a_mail().await;
    receiver.next().await;
    let delivery = scene.until(&endpoint, DeliveryState::Failed).await;
    assert_eq!((delivery.status, delivery.attempt), (Some(410), 1));
    scene.send_a_mail().await;
    assert_eq!(scene.deliveries(&endpoint).await.len(), 1);
    for _ in 0..2 {
        NotifyDisabledEndpoints.run(scene.daemon.app()).await.unwrap();
    }
    let filter = MailFilter {
        merchant: Some(tea()),
        state: Some(MailState::Queued),
        limit: 10,
        ..MailFilter::default()
    };
    let mails = scene.store().mails(&filter).await.unwrap();
    let notices: Vec<_> =
        mails.iter().map(|mail| (mail.template.as_str(), mail.recipient.as_str())).collect();
    assert_eq!(notices, [("endpoint_disabled", "hi@tea.example")]);
}

#[tokio::test]
async fn a_delivery_to_a_disabled_endpoint_fails_without_a_connection() {
    let mut receiver = Receiver::start(|_| Act::status(500)).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    scene.send_a_mail().await;
    receiver.next().await;
    scene.until(&endpoint, DeliveryState::Deferred).await;
    scene.store().let_it_be(endpoint.id, Duration::from_secs(5 * 86_400)).await;
    scene.store().bring_callbacks_forward().await;
    receiver.next().await;
    scene.until(&endpoint, DeliveryState::Deferred).await;
    let disabled = scene.store().endpoint(&tea(), endpoint.id).await.unwrap().unwrap();
    assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some("failing")));
    scene.store().bring_callbacks_forward().await;
    let delivery = scene.until(&endpoint, DeliveryState::Failed).await;
    assert_eq!((delivery.outcome.as_deref(), receiver.connections()), (Some("disabled"), 2));
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let answer = "HTTP/1.1 429 Slow\r\nRetry-After: 900\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut receiver = Receiver::start(move |_| Act::Say(answer.to_owned())).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    scene.send_a_mail().await;
    receiver.next().await;
    let waits = scene.until(&endpoint, DeliveryState::Deferred).await.due_at.since(clock::now());
    assert!(waits > Duration::from_secs(890) && waits <= Duration::from_secs(900), "{waits:?}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_nobody_else_back_and_pays_no_attempts_while_it_is_away() {
    let dead = Receiver::start(|_| Act::Hang).await;
    let mut alive = Receiver::start(|_| Act::status(200)).await;
    let scene = Scene::start("timeout = \"5s\"\nper_endpoint = 4\nconcurrency = 8").await;
    let hangs = scene.listen(&dead).await;
    for _ in 0..30 {
        scene.send_a_mail().await;
    }
    let works = scene.listen(&alive).await;
    let begun = Instant::now();
    for _ in 0..10 {
        scene.send_a_mail().await;
    }
    for _ in 0..10 {
        alive.next().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "not before the first time-out: {:?}", begun.elapsed());
    scene.until(&works, DeliveryState::Delivered).await;
    // After three time-outs the endpoint is paused: four were in flight, two had followed, and one or two may have tried it
    // since. The others are put off and have paid nothing.
    let begun = Instant::now();
    loop {
        let deliveries = scene.deliveries(&hangs).await;
        let paid = deliveries.iter().filter(|delivery| delivery.attempt > 0).count();
        let waiting = deliveries.iter().filter(|delivery| delivery.due_at > clock::now()).count();
        assert!(paid <= 8, "{paid} attempts");
        if waiting == deliveries.len() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{waiting} of {}", deliveries.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(dead.connections() <= 8, "{} connections", dead.connections());
}

#[tokio::test]
async fn a_delivery_that_finds_the_limit_reached_is_sent_when_a_permit_is_released() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let mut receiver = Receiver::start(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        Act::status(200)
    })
    .await;
    let scene = Scene::start("per_endpoint = 1").await;
    scene.listen(&receiver).await;
    for _ in 0..40 {
        scene.send_a_mail().await;
    }
    let begun = Instant::now();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..40 {
        ids.insert(receiver.next().await.signed().id);
    }
    // Without the line the scheduler would enqueue them a minute later.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((ids.len(), most.load(Ordering::SeqCst)), (40, 40));
}

#[tokio::test]
async fn each_secret_that_was_replaced_signs_for_a_day() {
    let mut receiver = Receiver::start(|_| Act::status(200)).await;
    let scene = Scene::start("").await;
    let endpoint = scene.listen(&receiver).await;
    // The answer to the first request for another secret may be lost, so that its merchant asks again.
    let (second, third) = (Secret::generate().expose(), Secret::generate().expose());
    for (secret, hours) in [(&second, 1), (&third, 0)] {
        let secret = SecretString::from(secret.as_str());
        scene.store().refresh_secret(&tea(), endpoint.id, &secret).await.unwrap();
        scene.store().let_it_be(endpoint.id, Duration::from_secs(hours * 3_600)).await;
    }
    let all = [SECRET, &second, &third];
    for (hours, sign) in [(0, [true; 3]), (23, [false, true, true]), (1, [false, false, true])] {
        scene.store().let_it_be(endpoint.id, Duration::from_secs(hours * 3_600)).await;
        scene.send_a_mail().await;
        let received = receiver.next().await;
        assert_eq!(all.map(|secret| is_signed_by(&received, secret)), sign);
    }
    for _ in 0..9 {
        let secret = SecretString::from(Secret::generate().expose());
        scene.store().refresh_secret(&tea(), endpoint.id, &secret).await.unwrap();
    }
    let endpoint = scene.store().endpoint(&tea(), endpoint.id).await.unwrap().unwrap();
    assert_eq!(endpoint.secrets.in_force(clock::now()).len(), 5);
}

#[tokio::test]
async fn a_callback_with_a_url_of_its_own_is_signed_with_the_merchants_secret() {
    let mut receiver = Receiver::start(|_| Act::status(200)).await;
    let scene = Scene::start("").await;
    let callback = NewCallback {
        merchant: tea(),
        url: receiver.url(),
        body: r#"{"status":"success"}"#.to_owned(),
        unique_key: "batch:1".to_owned(),
    };
    assert!(scene.store().record_callback(&callback).await.unwrap());
    let received = receiver.next().await;
    assert!(is_signed_by(&received, SECRET));
    assert_eq!(received.body, callback.body);
}
