//! For tests, here and elsewhere: a database, a merchant, settled mails, endpoints, and time that passes for rows.

use std::{collections::BTreeMap, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Endpoint, EndpointSecrets, NewEndpoint, Registered, endpoints::write_secrets};
use crate::{
    clock,
    mail::{
        AttemptOutcome, BatchId, CrashPolicy, EndpointId, MailDraft, MailId, MailLane, Mailbox, MerchantId,
        NewMail, Origin, Phase, PinnedTemplate, Reply, Schedule, Verdict, WorkerId,
    },
    shop::{ResourceKind, TemplateSource},
    store::{
        Claim, DatabaseSettings, NewBatch, NewMerchant, NewTemplateVersion, Recording, Settled, Settlement,
        Store,
        row::Columns,
        sql::{Sql, lines_of_plan},
        statement::query,
    },
    webhook::Topics,
};

pub(crate) const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub(crate) fn tea() -> MerchantId {
    "tea".parse().unwrap()
}

/// An empty SQLite database, in a folder of its own.
pub(crate) async fn open() -> (Store, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("postroom.db").display());
    let store = Store::open(&DatabaseSettings { url, migrate: true, connections: 2 }).await.unwrap();
    store.migrate().await.unwrap();
    (store, folder)
}

/// A merchant with a sender and a template.
pub(crate) async fn fill(store: &Store, merchant: &MerchantId) {
    let sender = Mailbox { name: Some("Tea".to_owned()), email: "hi@tea.example".parse().unwrap() };
    let new = NewMerchant {
        id: merchant.clone(),
        name: "Tea".to_owned(),
        country: "DE".to_owned(),
        language: None,
        sender: Some(sender),
        secret: SECRET.to_owned(),
        is_test: false,
    };
    store.create_merchant(&new).await.unwrap();
    let version = NewTemplateVersion {
        id: "v1".to_owned(),
        template: "welcome".to_owned(),
        source: TemplateSource { subject: "Hi".to_owned(), html: "<p>Hi".to_owned(), text: None },
        tags: Vec::new(),
        kind: ResourceKind::Templates,
        partials: BTreeMap::new(),
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    };
    store.put_builtin_version(&version).await.unwrap();
}

/// A mail to ann, not recorded yet.
pub(crate) fn new_mail(merchant: &MerchantId, origin: Origin) -> NewMail {
    NewMail::new(MailDraft {
        merchant: merchant.clone(),
        lane: MailLane::Transactional,
        template: PinnedTemplate {
            version: "v1".to_owned(),
            name: "welcome".to_owned(),
            on_crash: CrashPolicy::Resend,
        },
        sender: Mailbox { name: None, email: "hi@tea.example".parse().unwrap() },
        reply_to: None,
        recipient: Mailbox { name: None, email: "ann@example.net".parse().unwrap() },
        values: &json!({}),
        origin,
        schedule: Schedule::default(),
        is_test: false,
    })
}

/// How the database would carry a statement out, line by line.
pub(in crate::store) async fn plan_of(store: &Store, statement: &Sql) -> Vec<String> {
    let plan = format!("{} {}", store.dialect.explain(), statement.on(store.dialect).0);
    let plan = query(sqlx::AssertSqlSafe(plan)).fetch_all(&store.readers).await.unwrap();
    lines_of_plan(store.dialect, &plan).unwrap()
}

/// A batch of one mail, not recorded yet.
pub(crate) fn new_batch(merchant: &MerchantId) -> NewBatch {
    NewBatch {
        id: BatchId::new(),
        merchant: merchant.clone(),
        brand_id: "tea".to_owned(),
        brand: "{}".to_owned(),
        template: "welcome".to_owned(),
        template_version: "v1".to_owned(),
        coupon: None,
        webhook_url: None,
        link: "https://post.example.com/results".to_owned(),
        mails: 1,
        schedule: Schedule::default(),
        is_test: false,
    }
}

/// Records a mail and settles its first attempt.
pub(crate) async fn settle_mail(
    store: &Store,
    merchant: &MerchantId,
    origin: Origin,
    outcome: AttemptOutcome,
) -> MailId {
    let (mail, now, worker) = (new_mail(merchant, origin), clock::now(), WorkerId::new());
    let id = mail.id;
    store.record(Recording { mails: vec![mail], ..Recording::default() }).await.unwrap();
    // Else a daemon beside takes the mail from a worker that it does not know.
    store.beat(worker, "here", 1).await.unwrap();
    let Claim::Granted(mail) = store.claim_mail(id, worker, MailLane::Transactional).await.unwrap() else {
        panic!("not granted")
    };
    let verdict = match outcome {
        AttemptOutcome::Accepted => Verdict::Sent,
        AttemptOutcome::Permanent => Verdict::Failed,
        _ => Verdict::Retry(now + Duration::from_secs(600)),
    };
    let reply = Reply {
        outcome,
        code: Some(250),
        provider_id: Some("4XyZ12".to_owned()),
        ..Reply::silent("main", Phase::Final, "Ok: queued as 4XyZ12", Duration::from_millis(7))
    };
    let settled = store.settle_mail(Settlement::new(&mail, worker, now, reply, verdict)).await.unwrap();
    assert!(matches!(settled, Settled::Now { .. }));
    id
}

pub(crate) async fn register(store: &Store, merchant: &MerchantId, url: &str, events: &[&str]) -> Endpoint {
    let endpoint = NewEndpoint {
        url: url.to_owned(),
        topics: Topics::parse(events).unwrap(),
        description: String::new(),
        enabled: true,
        secret: SECRET.into(),
    };
    match store.register_endpoint(merchant, &endpoint).await.unwrap() {
        Registered::Now(endpoint) => *endpoint,
        Registered::TooMany => panic!("too many"),
    }
}

impl Store {
    /// Lets the time come for which deliveries wait.
    pub(crate) async fn bring_callbacks_forward(&self) {
        let statement = "UPDATE deliveries SET due_at = $1, wake_at = $1 WHERE state = 'deferred'";
        let now = clock::now().millis();
        self.writer.execute(query(statement).bind(now), "turn a clock").await.unwrap();
    }

    /// Lets an endpoint have failed for so long, and its old secrets be that much older.
    pub(crate) async fn let_it_be(&self, endpoint: EndpointId, ago: Duration) {
        let update = query("UPDATE endpoints SET failing_since = failing_since - $2 WHERE id = $1");
        let update = update.bind(endpoint.to_string()).bind(i64::try_from(ago.as_millis()).unwrap());
        self.writer.execute(update, "turn a clock").await.unwrap();
        let find = query("SELECT * FROM endpoints WHERE id = $1").bind(endpoint.to_string());
        let row = find.fetch_optional(&self.readers).await.unwrap().unwrap();
        let mut secrets = EndpointSecrets::read(&Columns { table: "endpoints", row: &row }).unwrap();
        secrets.age(ago);
        self.writer
            .run(move |on| async move { write_secrets(on, endpoint, &secrets).await }.boxed())
            .await
            .unwrap();
    }

    /// The bodies of all events, oldest first.
    pub(crate) async fn event_bodies(&self) -> Vec<Value> {
        let rows = query("SELECT body FROM events ORDER BY id").fetch_all(&self.readers).await.unwrap();
        rows.iter().map(|row| Columns { table: "events", row }.json("body").unwrap()).collect()
    }
}
