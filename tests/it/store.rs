//! The rows, asked directly: record, claim, settle, and what a group commit, a precondition and a dead worker do to them.

use std::{collections::HashSet, task::Poll, time::Duration};

use futures_util::future::join_all;
use postroom::{
    clock,
    mail::{
        Address, AttemptOutcome, CrashPolicy, Lane, Mail, MailDraft, MailEvent, MailId, MailState, Mailbox,
        MerchantId, NewMail, Origin, Phase, PinnedTemplate, Reply, RetryPolicy, Verdict, WorkerId,
    },
    shop::{ResourceKind, TemplateClass, TemplateSource, event::Topics},
    store::{
        Answer, Claim, DueMail, GivenBack, KeyHolder, NewEndpoint, NewMerchant, NewTemplateVersion,
        Precondition, Recorded, Recording, Registered, Replacement, Reservation, ResourceRow, Settled,
        Settlement, Store, WriteProgress, WriteWatch,
    },
};
use serde_json::value::RawValue;

use super::support::Backends;

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
    let store = Store::open(&backends.database()).await.unwrap();
    store.migrate().await.unwrap();
    let merchant = NewMerchant {
        id: merchant(),
        name: "Tea".to_owned(),
        country: "DE".to_owned(),
        language: None,
        sender: None,
        secret: "whsec_x".to_owned(),
    };
    store.create_merchant(&merchant).await.unwrap();
    let version = NewTemplateVersion {
        id: "v1".to_owned(),
        template: "welcome".to_owned(),
        source: TemplateSource { subject: "Hi".to_owned(), html: "<p>Hi</p>".to_owned(), text: None },
        tags: Vec::new(),
        sender: None,
        class: TemplateClass::Transactional,
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
        lane: Lane::Transactional,
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
    })
}

pub(super) async fn record(store: &Store, mail: NewMail) -> MailId {
    let id = mail.id;
    let recorded = store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
    assert_eq!(recorded, Recorded::Committed);
    id
}

/// A worker that is alive.
async fn worker(store: &Store) -> WorkerId {
    let worker = WorkerId::new();
    store.beat(worker, "here", 1).await.unwrap();
    worker
}

async fn claim(store: &Store, mail: MailId, worker: WorkerId) -> Mail {
    match store.claim_mail(mail, worker).await.unwrap() {
        Claim::Granted(mail) => *mail,
        Claim::NotYours(state) => panic!("not granted: {state:?}"),
    }
}

fn accepted(mail: &Mail, worker: WorkerId) -> Settlement {
    let reply = Reply {
        outcome: AttemptOutcome::Accepted,
        code: Some(250),
        ..Reply::silent("main", Phase::Final, "2.0.0 Ok", Duration::ZERO)
    };
    Settlement::new(mail, worker, clock::now(), reply, Verdict::Sent)
}

/// Takes mails from dead workers, as a process does that works on none itself.
async fn take_from_dead_workers(store: &Store, silence: Duration) -> Vec<DueMail> {
    store.take_lost_mails(silence, WorkerId::new(), &POLICY, |_| false).await.unwrap()
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
    async fn a_caller_that_leaves_at_any_await_takes_nothing_of_others_with_it(backends: Backends) {
        let store = open(&backends).await;
        let (mut recorded, mut stored) = (Vec::new(), Vec::new());
        for polls in 1..40 {
            let mail = new_mail();
            let (left, stays) = (mail.id, new_mail());
            let stayed = stays.id;
            let id = format!("left-{polls}");
            let tea = merchant();
            let alone = |mail| Recording { mails: vec![mail], ..Recording::default() };
            let (_, _, _, answered, put) = tokio::join!(
                leave_after(polls, store.record(alone(mail))),
                leave_after(polls, store.put_resource(&tea, subscription(&id, "{}"))),
                leave_after(polls, store.reserve_key(holder(&id), "f".to_owned())),
                store.record(alone(stays)),
                store.put_resource(&tea, subscription(&format!("stays-{polls}"), "{}")),
            );
            assert_eq!(answered.unwrap(), Recorded::Committed);
            assert!(put.unwrap());
            recorded.push((left, stayed));
            stored.push(format!("stays-{polls}"));
        }
        // Another connection sees what was answered.
        let other = Store::open(&backends.database()).await.unwrap();
        for (_, stayed) in &recorded {
            assert!(other.mail(None, *stayed).await.unwrap().is_some());
        }
        for id in &stored {
            assert!(other.resource(&merchant(), ResourceKind::Subscriptions, id).await.unwrap().is_some());
        }
        if backends.database().url.starts_with("postgres") {
            let open = "SELECT 'open', COUNT(*) FROM pg_stat_activity
                WHERE state LIKE 'idle in transaction%' AND datname = current_database()";
            assert_eq!(backends.tally(open).await["open"], 0);
        }
        store.close().await;
    }

    async fn a_caller_that_left_before_the_commit_recorded_nothing(backends: Backends) {
        let store = open(&backends).await;
        let mut prevented = 0;
        for _ in 0..50 {
            let mail = new_mail();
            let id = mail.id;
            let watch = WriteWatch::default();
            let record = store.record(Recording { mails: vec![mail], ..Recording::default() });
            drop(watch.scope(leave_after(1, record)).await);
            // On a busy machine the group may have come first.
            let is_prevented = watch.progress() == WriteProgress::Nothing;
            let witness = Recording { mails: vec![new_mail()], ..Recording::default() };
            assert_eq!(store.record(witness).await.unwrap(), Recorded::Committed);
            assert!(!is_prevented || store.mail(None, id).await.unwrap().is_none());
            prevented += usize::from(is_prevented);
        }
        assert!(prevented > 0, "nobody left in time");
    }

    async fn a_mail_over_which_something_breaks_again_and_again_is_held_without_an_attempt(backends: Backends) {
        let store = open(&backends).await;
        let mail = new_mail();
        let id = mail.id;
        store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
        let worker = WorkerId::new();
        for (number, is_broken) in [true, true, false, true].into_iter().enumerate() {
            claim(&store, id, worker).await;
            let back = GivenBack { mail: id, pause: Duration::ZERO, is_broken };
            assert_eq!(store.give_back_mails(worker, &[back], 2).await.unwrap(), 1);
            let expected = if number == 3 { MailState::Held } else { MailState::Queued };
            assert_eq!(state(&store, id).await, expected, "{number}");
        }
        let held = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(held.attempt, 0);
        assert!(held.error.unwrap().contains("retry.rescues"));
    }

    async fn whoever_lost_its_key_to_another_request_records_nothing(backends: Backends) {
        let store = open(&backends).await;
        let (first, second) = (holder("k"), holder("k"));
        let granted = store.reserve_key(first.clone(), "f".to_owned()).await.unwrap();
        assert!(matches!(granted, Reservation::Granted));
        backends.execute("UPDATE idempotency SET locked_until = 0").await;
        let granted = store.reserve_key(second.clone(), "f".to_owned()).await.unwrap();
        assert!(matches!(granted, Reservation::Granted));

        let recording = |holder: &KeyHolder| Recording {
            mails: vec![new_mail()],
            answer: Some((holder.clone(), Answer { status: 200, body: "{}".to_owned() })),
            ..Recording::default()
        };
        assert_eq!(store.record(recording(&first)).await.unwrap(), Recorded::KeyLost);
        assert_eq!(store.record(recording(&second)).await.unwrap(), Recorded::Committed);
        assert_eq!(backends.tally("SELECT 'mails', COUNT(*) FROM mails").await["mails"], 1);
    }

    async fn an_answer_is_not_kept_for_what_a_precondition_refused(backends: Backends) {
        let store = open(&backends).await;
        store.put_resource(&merchant(), subscription("sub", "{}")).await.unwrap();
        let held = holder("k");
        store.reserve_key(held.clone(), "f".to_owned()).await.unwrap();
        let precondition = Precondition::Replace(Box::new(Replacement {
            merchant: merchant(),
            kind: ResourceKind::Subscriptions,
            id: "sub".to_owned(),
            was: "{\"something\": \"else\"}".to_owned(),
            becomes: "{}".to_owned(),
        }));
        let recording = |precondition| Recording {
            precondition,
            answer: Some((held.clone(), Answer { status: 200, body: "{}".to_owned() })),
            ..Recording::default()
        };
        assert_eq!(store.record(recording(Some(precondition))).await.unwrap(), Recorded::Outdated);
        assert_eq!(store.record(recording(None)).await.unwrap(), Recorded::Committed, "the key is still held");
    }

    async fn a_mail_is_recorded_claimed_and_settled(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);

        let mail = claim(&store, id, worker).await;
        assert_eq!((mail.attempt, state(&store, id).await), (1, MailState::Sending));
        let settled = store.settle_mail(accepted(&mail, worker)).await.unwrap();
        assert_eq!(settled, Settled::Now(MailState::Sent));
        let attempts = store.attempts(id).await.unwrap();
        assert_eq!((attempts.len(), attempts[0].code, attempts[0].number), (1, Some(250), 1));
        assert!(store.mails_under_way().await.unwrap().is_empty());
    }

    async fn a_job_that_comes_twice_sends_once(backends: Backends) {
        let store = open(&backends).await;
        let worker = worker(&store).await;
        for _ in 0..20 {
            let id = record(&store, new_mail()).await;
            let claims = join_all((0..4).map(|_| store.claim_mail(id, worker))).await;
            let granted = claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Granted(_)))).count();
            assert_eq!(granted, 1);
        }
    }

    async fn a_mail_that_is_not_due_is_nobodys(backends: Backends) {
        let store = open(&backends).await;
        let later = NewMail { due_at: clock::now() + Duration::from_secs(60), ..new_mail() };
        let id = record(&store, later).await;
        let answer = store.claim_mail(id, worker(&store).await).await.unwrap();
        assert!(matches!(answer, Claim::NotYours(Some(MailState::Queued))), "{answer:?}");
        let unknown = store.claim_mail(MailId::new(), WorkerId::new()).await.unwrap();
        assert!(matches!(unknown, Claim::NotYours(None)), "{unknown:?}");
    }

    async fn a_late_worker_cannot_settle(backends: Backends) {
        let store = open(&backends).await;
        for (policy, then) in [(CrashPolicy::Resend, MailState::Queued), (CrashPolicy::Hold, MailState::Held)] {
            let id = record(&store, NewMail { on_crash: policy, ..new_mail() }).await;
            let worker = worker(&store).await;
            let mail = claim(&store, id, worker).await;
            assert!(take_from_dead_workers(&store, SILENCE).await.is_empty(), "it is alive");

            // Silent for no time at all is silent for too long.
            let rescued = take_from_dead_workers(&store, Duration::ZERO).await;
            assert_eq!(rescued.len(), usize::from(policy == CrashPolicy::Resend));
            assert_eq!(state(&store, id).await, then);
            assert_eq!(store.settle_mail(accepted(&mail, worker)).await.unwrap(), Settled::TooLate);
            assert_eq!(state(&store, id).await, then);
            let attempts = store.attempts(id).await.unwrap();
            assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "unknown"));
            assert_eq!(attempts[0].phase, None);
        }
    }

    async fn a_late_worker_cannot_settle_the_attempt_of_another(backends: Backends) {
        let store = open(&backends).await;
        let (id, slow) = (record(&store, new_mail()).await, worker(&store).await);
        let first = claim(&store, id, slow).await;
        take_from_dead_workers(&store, Duration::ZERO).await;
        let second = claim(&store, id, slow).await;
        assert_eq!(second.attempt, 2);
        assert_eq!(store.settle_mail(accepted(&first, slow)).await.unwrap(), Settled::TooLate);
        assert_eq!(store.settle_mail(accepted(&second, slow)).await.unwrap(), Settled::Now(MailState::Sent));
    }

    async fn a_worker_that_signed_off_holds_nothing(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
        claim(&store, id, worker).await;
        store.sign_off(worker).await.unwrap();
        assert_eq!(take_from_dead_workers(&store, SILENCE).await.len(), 1);
    }

    async fn a_mail_that_its_living_worker_forgot_is_freed(backends: Backends) {
        let store = open(&backends).await;
        let (forgetful, other) = (worker(&store).await, worker(&store).await);
        let (at_work, forgotten) = (record(&store, new_mail()).await, record(&store, new_mail()).await);
        for mail in [at_work, forgotten] {
            claim(&store, mail, forgetful).await;
        }
        let taken = async |by| store.take_lost_mails(SILENCE, by, &POLICY, move |mail| mail == at_work).await.unwrap();
        assert!(taken(other).await.is_empty(), "only the worker itself knows what it works on");
        let freed: Vec<_> = taken(forgetful).await.into_iter().map(|due| due.mail).collect();
        assert_eq!(freed, [forgotten]);
        assert_eq!(state(&store, at_work).await, MailState::Sending);
        assert_eq!(claim(&store, forgotten, other).await.attempt, 2);
    }

    async fn a_mail_is_rescued_so_many_times_and_then_held_with_the_reason(backends: Backends) {
        let store = open(&backends).await;
        let (id, worker) = (record(&store, new_mail()).await, worker(&store).await);
        for attempt in 1..=2 {
            assert_eq!(claim(&store, id, worker).await.attempt, attempt);
            assert_eq!(take_from_dead_workers(&store, Duration::ZERO).await.len(), 1);
        }
        claim(&store, id, worker).await;
        assert!(take_from_dead_workers(&store, Duration::ZERO).await.is_empty());
        let mail = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(mail.state, MailState::Held);
        let why = mail.error.unwrap();
        assert!(why.contains("queued again 2 times already, the most that `retry.rescues` allows"), "{why}");
        assert_eq!(store.attempts(id).await.unwrap().len(), 3);

        // A person who asks for another try gets all of it.
        store.move_mail(None, id, MailEvent::Retried).await.unwrap();
        claim(&store, id, worker).await;
        assert_eq!(take_from_dead_workers(&store, Duration::ZERO).await.len(), 1);
    }

    async fn a_mail_that_is_too_old_is_not_rescued(backends: Backends) {
        let store = open(&backends).await;
        let old = NewMail { recorded_at: clock::now() - Duration::from_secs(86_401), ..new_mail() };
        let (id, worker) = (record(&store, old).await, worker(&store).await);
        claim(&store, id, worker).await;
        assert!(take_from_dead_workers(&store, Duration::ZERO).await.is_empty());
        let mail = store.mail(None, id).await.unwrap().unwrap();
        assert_eq!(mail.state, MailState::Held);
        assert!(mail.error.unwrap().ends_with("it is older than `retry.max_age`"));
    }

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

    async fn one_bad_row_of_a_group_spoils_only_itself(backends: Backends) {
        let store = open(&backends).await;
        let taken = record(&store, new_mail()).await;
        let mut recordings: Vec<_> = (0..30).map(|_| new_mail()).collect();
        recordings[7].id = taken;
        recordings[11].lane = Lane::Callback;
        let ids: Vec<_> = recordings.iter().map(|mail| mail.id).collect();

        let outcomes = join_all(
            recordings.into_iter().map(|mail| store.record(Recording { mails: vec![mail], ..Recording::default() })),
        );
        for (index, outcome) in outcomes.await.into_iter().enumerate() {
            let is_bad = [7, 11].contains(&index);
            assert_eq!(outcome.is_err(), is_bad, "{index}: {outcome:?}");
            let is_there = store.mail(None, ids[index]).await.unwrap().is_some();
            assert_eq!(is_there, index != 11, "{index}");
        }
    }

    async fn a_document_that_changed_since_the_rules_were_asked_records_nothing(backends: Backends) {
        let store = open(&backends).await;
        let was = r#"{"state":"draft"}"#.to_owned();
        store.put_resource(&merchant(), subscription("sub_1", &was)).await.unwrap();

        let recording = || replacing("sub_1", &was, r#"{"state":"sent"}"#);
        let outcomes = join_all((0..10).map(|_| store.record(recording()))).await;
        let committed = outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(Recorded::Committed))).count();
        assert_eq!(committed, 1, "ten at once");
        assert_eq!(store.mails_under_way().await.unwrap(), [(MailState::Queued, 1)]);
        let stored = store.resource(&merchant(), ResourceKind::Subscriptions, "sub_1").await.unwrap().unwrap();
        assert_eq!(stored.body, r#"{"state":"sent"}"#);
    }

    async fn a_group_replaces_documents_as_if_one_came_after_the_other(backends: Backends) {
        let store = open(&backends).await;
        let [draft, sent, active] = ["draft", "sent", "active"].map(|state| format!(r#"{{"state":"{state}"}}"#));
        let ids: Vec<_> = (0..20).map(|number| format!("sub_{number}")).collect();
        let rows: Vec<_> = ids.iter().map(|id| subscription(id, &draft)).collect();
        store.put_resources(&merchant(), rows).await.unwrap();

        let recordings = ids.iter().flat_map(|id| {
            [(&draft, &sent), (&draft, &active), (&sent, &active)].map(|(was, becomes)| replacing(id, was, becomes))
        });
        let outcomes = join_all(recordings.map(|recording| store.record(recording))).await;
        for outcomes in outcomes.chunks(3) {
            let outcomes: Vec<_> = outcomes.iter().map(|outcome| *outcome.as_ref().unwrap()).collect();
            assert_eq!(outcomes, [Recorded::Committed, Recorded::Outdated, Recorded::Committed]);
        }
        assert_eq!(store.mails_under_way().await.unwrap(), [(MailState::Queued, 40)]);
        for id in &ids {
            let stored = store.resource(&merchant(), ResourceKind::Subscriptions, id).await.unwrap().unwrap();
            assert_eq!(stored.body, active);
        }
    }

    async fn a_round_marks_a_thousand_and_no_row_twice(backends: Backends) {
        let store = open(&backends).await;
        let old = || NewMail { due_at: clock::now() - Duration::from_secs(60), ..new_mail() };
        for _ in 0..3 {
            let mails = (0..500).map(|_| old()).collect();
            store.record(Recording { mails, ..Recording::default() }).await.unwrap();
        }
        let again = Duration::from_secs(60);
        let due = async || store.mark_due_mails(Lane::Transactional, again).await;
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
