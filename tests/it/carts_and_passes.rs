//! Carts in pages, their reminders, and passes: the same on both databases.

use std::collections::BTreeMap;

use postroom::{
    mail::{
        CrashPolicy, MailDraft, MailLane, Mailbox, MerchantId, NewMail, Origin, PinnedTemplate, Schedule,
    },
    shop::{ResourceKind, TemplateSource, cart::CartStatus, pass::PassSubject},
    store::{NewPass, NewTemplateVersion, Recording, ResourceRow, Store},
};
use serde_json::value::to_raw_value;

use super::support::Backends;

fn merchant() -> MerchantId {
    "tea".parse().unwrap()
}

fn version(id: &str, template: &str) -> NewTemplateVersion {
    NewTemplateVersion {
        id: id.to_owned(),
        template: template.to_owned(),
        source: TemplateSource { subject: "Hi".to_owned(), html: "<p>Hi</p>".to_owned(), text: None },
        tags: Vec::new(),
        kind: ResourceKind::Templates,
        partials: BTreeMap::new(),
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    }
}

async fn open(backends: &Backends) -> Store {
    let store = backends.store_of(&merchant()).await;
    store.put_builtin_version(&version("v1", "abandoned_cart_reminder")).await.unwrap();
    store
}

fn row(kind: ResourceKind, id: &str) -> ResourceRow {
    let body = to_raw_value(&serde_json::json!({})).unwrap();
    ResourceRow { kind, id: id.to_owned(), brand_id: None, status: None, version: None, body }
}

fn reminder(cart: &str, subject: &str) -> NewMail {
    let mailbox = || Mailbox { name: None, email: "ann@example.net".parse().unwrap() };
    NewMail::new(MailDraft {
        merchant: merchant(),
        lane: MailLane::Transactional,
        template: PinnedTemplate {
            version: "v1".to_owned(),
            name: "abandoned_cart_reminder".to_owned(),
            on_crash: CrashPolicy::Resend,
        },
        sender: mailbox(),
        reply_to: None,
        recipient: mailbox(),
        values: &serde_json::json!({"subject": subject}),
        origin: Origin { cart: Some(cart.to_owned()), ..Origin::default() },
        schedule: Schedule::default(),
        is_test: false,
    })
}

fn pass(id: &str, identifier: Option<&str>) -> NewPass {
    NewPass {
        id: id.to_owned(),
        merchant: merchant(),
        subject: PassSubject { coupon: Some("spring".to_owned()), storecard: None, member: "ann".to_owned() },
        identifier: identifier.map(str::to_owned),
        is_tried_out: false,
    }
}

on_both! {
    async fn carts_are_paged_and_counted_by_status_newest_first(backends: Backends) {
        let store = open(&backends).await;
        for (id, status) in
            [("a", "abandoned"), ("b", "recovered"), ("c", "abandoned"), ("d", "recovered"), ("e", "abandoned")]
        {
            let cart = ResourceRow { status: Some(status), ..row(ResourceKind::AbandonedCarts, id) };
            store.put_resource(&merchant(), cart).await.unwrap();
        }
        store.put_resource(&merchant(), row(ResourceKind::Coupons, "f")).await.unwrap();
        let page = async |status, skip, limit| {
            let page = store.carts(&merchant(), status, skip, limit).await.unwrap();
            (page.carts.into_iter().map(|cart| cart.id).collect::<String>(), page.total)
        };
        assert_eq!(page(None, 0, 20).await, ("edcba".to_owned(), 5));
        assert_eq!(page(None, 2, 2).await, ("cb".to_owned(), 5));
        assert_eq!(page(Some(CartStatus::Abandoned), 0, 2).await, ("ec".to_owned(), 3));
        assert_eq!(page(Some(CartStatus::Recovered), 1, 2).await, ("b".to_owned(), 2));
        assert_eq!(page(Some(CartStatus::Recovered), 9, 2).await, (String::new(), 2));
    }

    async fn a_cart_shows_its_latest_hundred_reminders(backends: Backends) {
        let store = open(&backends).await;
        let mails = (0..103).map(|n| reminder("a", &format!("{n}"))).chain([reminder("b", "\"ü\"")]);
        store.record(Recording { mails: mails.collect(), ..Recording::default() }).await.unwrap();
        let reminders = store.reminders(&merchant(), ["a", "b", "c"].into_iter()).await.unwrap();
        let subjects: Vec<_> = reminders["a"].iter().map(|reminder| &*reminder.subject).collect();
        assert_eq!((subjects.len(), subjects[0], subjects[99]), (100, "3", "102"));
        assert_eq!((reminders["b"].len(), &*reminders["b"][0].subject), (1, "\"ü\""));
        assert!(!reminders.contains_key("c"));
        assert!(store.reminders(&"other".parse().unwrap(), ["a"].into_iter()).await.unwrap().is_empty());
    }

    async fn a_pass_is_there_once_and_keeps_its_last_identifier(backends: Backends) {
        let store = open(&backends).await;
        let record = async |passes| {
            store.record(Recording { passes, ..Recording::default() }).await.unwrap();
            let found = store.pass("p").await.unwrap().unwrap();
            assert_eq!(found.subject, pass("p", None).subject);
            found.identifier
        };
        assert_eq!(record(vec![pass("p", None)]).await, None);
        assert_eq!(record(vec![pass("p", Some("1")), pass("p", Some("2")), pass("p", None)]).await.as_deref(), Some("2"));
        assert_eq!(record(vec![pass("p", None), pass("q", None)]).await.as_deref(), Some("2"));
        assert_eq!(record(vec![pass("p", Some("3"))]).await.as_deref(), Some("3"));
        let tried_out = |id, identifier| NewPass { is_tried_out: true, ..pass(id, Some(identifier)) };
        assert_eq!(record(vec![tried_out("p", "4"), tried_out("r", "4"), tried_out("r", "5")]).await.as_deref(), Some("3"));
        assert_eq!(store.pass("r").await.unwrap().unwrap().identifier.as_deref(), Some("5"));
        assert_eq!(store.pass("none").await.unwrap(), None);
    }

    async fn the_template_named_first_goes_before_the_second(backends: Backends) {
        let store = open(&backends).await;
        let newest = async || {
            let look_ups = store.look_ups(&merchant(), "cart link");
            look_ups.newest_version_of(&["cart_link.de", "cart_link"]).await.unwrap()
        };
        let put = async |id: &str, version_id: &str| {
            let row = ResourceRow { version: Some(version(version_id, id)), ..row(ResourceKind::Templates, id) };
            store.put_resource(&merchant(), row).await.unwrap();
        };
        assert_eq!(newest().await, None);
        put("cart_link.es", "v2").await;
        assert_eq!(newest().await, None);
        put("cart_link", "v3").await;
        assert_eq!(newest().await.as_deref(), Some("v3"));
        put("cart_link.de", "v4").await;
        assert_eq!(newest().await.as_deref(), Some("v4"));
    }
}
