//! The rows, asked directly: record, claim, settle, and what a group commit, a precondition and a dead worker do to them.

mod callers;
mod claims;
mod groups;
mod schema;
mod suppressions;

use std::{
    collections::{BTreeMap, HashSet},
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use postroom::{
    clock,
    mail::{
        Address, AttemptOutcome, BatchId, CrashPolicy, Mail, MailDraft, MailEvent, MailId, MailLane,
        MailState, Mailbox, MerchantId, NewMail, Origin, Phase, PinnedTemplate, Reply, RetryPolicy, Schedule,
        Verdict, WorkerId,
    },
    shop::{ResourceKind, TemplateSource},
    store::{
        Answer, BatchRecorded, Claim, DueBatch, DueMail, GivenBack, KeyHolder, NewBatch, NewEndpoint,
        NewTemplateVersion, Precondition, Recorded, Recording, Registered, Replacement, Reservation,
        ResourceRow, Settled, Settlement, Store, WriteProgress, WriteWatch,
    },
    webhook::Topics,
};
use serde_json::value::RawValue;

use super::support::Backends;

/// How many mails are in each state that is not settled.
const UNDER_WAY: &str = "SELECT state, COUNT(*) FROM mails WHERE wake_at IS NOT NULL GROUP BY state";
const SILENCE: Duration = Duration::from_secs(15);
const POLICY: RetryPolicy = RetryPolicy {
    schedule: Vec::new(),
    first: Duration::from_secs(10),
    longest: Duration::from_secs(3_600),
    max_age: Duration::from_secs(86_400),
    rescues: 2,
};

/// An empty database with a merchant and a template.
pub(super) async fn open(backends: &Backends) -> Store {
    let store = backends.store_of(&merchant()).await;
    let version = NewTemplateVersion {
        id: "v1".to_owned(),
        template: "welcome".to_owned(),
        source: TemplateSource { subject: "Hi".to_owned(), html: "<p>Hi</p>".to_owned(), text: None },
        tags: Vec::new(),
        kind: ResourceKind::Templates,
        partials: BTreeMap::new(),
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    };
    store.put_builtin_version(&version).await.unwrap();
    store
}

pub(super) fn merchant() -> MerchantId {
    "tea".parse().unwrap()
}

/// A request of its own under a key.
fn holder(key: &str) -> KeyHolder {
    KeyHolder {
        merchant: merchant(),
        path: "/mail".to_owned(),
        key: key.to_owned(),
        request: uuid::Uuid::now_v7(),
    }
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox { name: None, email: address.parse::<Address>().unwrap() }
}

pub(super) fn new_mail() -> NewMail {
    NewMail::new(MailDraft {
        merchant: merchant(),
        lane: MailLane::Transactional,
        template: PinnedTemplate {
            version: "v1".to_owned(),
            name: "welcome".to_owned(),
            on_crash: CrashPolicy::Resend,
        },
        sender: mailbox("hello@tea.example"),
        reply_to: None,
        recipient: mailbox("ok@example.net"),
        values: &serde_json::json!({}),
        origin: Origin::default(),
        schedule: Schedule::default(),
        is_test: false,
    })
}

pub(super) async fn record(store: &Store, mail: NewMail) -> MailId {
    let id = mail.id;
    let recorded = store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
    assert_eq!(recorded, Recorded::Committed);
    id
}

/// A worker that is alive.
pub(super) async fn worker(store: &Store) -> WorkerId {
    let worker = WorkerId::new();
    store.beat(worker, "here", 1).await.unwrap();
    worker
}

pub(super) async fn claim(store: &Store, mail: MailId, worker: WorkerId) -> Mail {
    match store.claim_mail(mail, worker, MailLane::Transactional).await.unwrap() {
        Claim::Granted(mail) => *mail,
        Claim::NotYours(state) => panic!("not granted: {state:?}"),
    }
}

pub(super) fn accepted(mail: &Mail, worker: WorkerId) -> Settlement {
    let reply = Reply {
        outcome: AttemptOutcome::Accepted,
        code: Some(250),
        ..Reply::silent("main", Phase::Final, "2.0.0 Ok", Duration::ZERO)
    };
    Settlement::new(mail, worker, clock::now(), reply, Verdict::Sent)
}

/// Takes mails from dead workers, as a process does that works on none itself.
async fn take_from_dead_workers(store: &Store, silence: Duration) -> Vec<DueMail> {
    store.take_lost_mails(silence, WorkerId::new(), &POLICY, |_| false).await.unwrap().due
}

pub(super) async fn state(store: &Store, mail: MailId) -> MailState {
    store.mail(None, mail).await.unwrap().unwrap().state
}

fn subscription(id: &str, body: &str) -> ResourceRow {
    ResourceRow {
        kind: ResourceKind::Subscriptions,
        id: id.to_owned(),
        brand_id: None,
        status: None,
        version: None,
        body: RawValue::from_string(body.to_owned()).unwrap(),
    }
}

/// Records a mail together with the move of a subscription.
fn replacing(id: &str, was: &str, becomes: &str) -> Recording {
    let replacement = Replacement {
        merchant: merchant(),
        kind: ResourceKind::Subscriptions,
        id: id.to_owned(),
        was: was.to_owned(),
        becomes: becomes.to_owned(),
    };
    Recording {
        precondition: Some(Precondition::Replace(Box::new(replacement))),
        mails: vec![new_mail()],
        ..Recording::default()
    }
}

/// Polls a future at most `polls` times and drops it then; tells what it came to before that.
async fn leave_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

on_both! {
    async fn old_answers_are_forgotten_in_steps(backends: Backends) {
        let store = open(&backends).await;
        backends.execute(
            "INSERT INTO idempotency (merchant_id, path, key, fingerprint, request, locked_until, created_at)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 7500)
             SELECT 'tea', '/mail', CAST(n AS TEXT), '', '', 0, 0 FROM numbers",
        ).await;
        let mut forgetting = std::pin::pin!(store.forget_old_answers());
        let mut seen = HashSet::new();
        let forgotten = loop {
            tokio::select! {
                forgotten = &mut forgetting => break forgotten.unwrap(),
                left = backends.tally("SELECT 'left', COUNT(*) FROM idempotency") => seen.insert(left["left"]),
            };
        };
        assert_eq!(forgotten, 7_500);
        assert!(seen.iter().any(|left| (1..7_500).contains(left)), "others had no turn: {seen:?}");
    }

    async fn an_endpoint_is_deleted_with_all_its_deliveries_in_steps(backends: Backends) {
        let store = open(&backends).await;
        let endpoint = NewEndpoint {
            url: "https://shop.example/hook".to_owned(),
            topics: Topics::parse(&["*"]).unwrap(),
            description: String::new(),
            enabled: true,
            secret: "whsec_x".into(),
        };
        let Registered::Now(endpoint) = store.register_endpoint(&merchant(), &endpoint).await.unwrap() else {
            panic!("too many")
        };
        backends.execute(
            "INSERT INTO events (id, merchant_id, type, body, created_at)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4500)
             SELECT CAST(n AS TEXT), 'tea', 'email.sent', '{}', 0 FROM numbers",
        ).await;
        backends.execute(
            "INSERT INTO deliveries (id, merchant_id, event_id, endpoint_id, state, created_at, due_at)
             SELECT 'd' || events.id, 'tea', events.id, endpoints.id, 'delivered', 0, 0 FROM events, endpoints",
        ).await;
        let tea = merchant();
        let mut deleting = std::pin::pin!(store.delete_endpoint(&tea, endpoint.id));
        let mut seen = HashSet::new();
        let deleted = loop {
            tokio::select! {
                deleted = &mut deleting => break deleted.unwrap(),
                left = backends.tally("SELECT 'left', COUNT(*) FROM deliveries") => seen.insert(left["left"]),
            };
        };
        assert!(deleted);
        assert!(seen.iter().any(|left| (1..4_500).contains(left)), "others had no turn: {seen:?}");
        assert!(store.endpoint(&merchant(), endpoint.id).await.unwrap().is_none());
    }

    async fn a_round_marks_a_thousand_and_no_row_twice(backends: Backends) {
        let store = open(&backends).await;
        let old = || NewMail { due_at: clock::now() - Duration::from_secs(60), ..new_mail() };
        for _ in 0..3 {
            let mails = (0..500).map(|_| old()).collect();
            store.record(Recording { mails, ..Recording::default() }).await.unwrap();
        }
        let again = Duration::from_secs(60);
        let due = async || store.mark_due_mails(MailLane::Transactional, again, &[]).await;
        let (one, other) = tokio::join!(due(), due());
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.len() <= 1_000 && other.len() <= 1_000, "{} and {}", one.len(), other.len());
        let rest = due().await.unwrap();
        let all: Vec<_> = [one, other, rest].into_iter().flatten().map(|due| due.mail).collect();
        assert_eq!(all.len(), 1_500);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1_500, "no mail is marked twice");
        assert!(due().await.unwrap().is_empty());
        assert_eq!(store.make_all_mails_due().await.unwrap(), 1_500);
    }

    async fn batches_whose_jobs_are_lost_are_due_at_once(backends: Backends) {
        let store = open(&backends).await;
        let batch = NewBatch {
            id: BatchId::new(),
            merchant: merchant(),
            brand_id: "tea".to_owned(),
            brand: "{}".to_owned(),
            template: "welcome".to_owned(),
            template_version: "v1".to_owned(),
            coupon: None,
            webhook_url: None,
            link: "http://127.0.0.1/".to_owned(),
            mails: 1,
            schedule: Schedule::default(),
            is_test: false,
        };
        assert_eq!(store.record_batch(&batch, None).await.unwrap(), BatchRecorded::Committed);
        let due = async || store.mark_due_batches(Duration::from_secs(60)).await.unwrap();
        assert_eq!(due().await, [], "the request enqueues its job");
        for _ in 0..2 {
            assert_eq!(store.make_all_batches_due().await.unwrap(), 1);
            assert_eq!(due().await, [DueBatch { batch: batch.id, merchant: merchant() }]);
            assert_eq!(due().await, [], "it is marked once");
        }
    }

    async fn a_schema_is_made_by_many_processes_at_once(backends: Backends) {
        let settings = backends.database();
        let stores = join_all((0..4).map(|_| Store::open(&settings))).await;
        let migrated = join_all(stores.iter().map(|store| store.as_ref().unwrap().migrate())).await;
        assert!(migrated.iter().all(Result::is_ok), "{migrated:?}");
        stores[0].as_ref().unwrap().check_schema().await.unwrap();
    }
}

#[tokio::test]
async fn the_database_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let backends = Backends::sqlite_memory();
    let store = open(&backends).await;
    for name in ["postroom.db", "postroom.db-wal", "postroom.db-shm"] {
        let mode = std::fs::metadata(backends.folder().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    store.close().await;
}
