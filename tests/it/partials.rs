//! Partials and the templates that have them in them, on both databases: stored together, or not at all.

use std::collections::BTreeMap;

use postroom::{
    mail::{CrashPolicy, MerchantId},
    shop::{ResourceKind, TemplateSource},
    store::{Composed, Composition, NewTemplateVersion, ResourceRow, Seen},
};
use serde_json::{json, value::to_raw_value};

use super::support::Backends;

fn merchant() -> MerchantId {
    "tea".parse().unwrap()
}

/// A document whose version has these partials in it.
fn row(kind: ResourceKind, id: &str, version: &str, partials: &[(&str, &str)]) -> ResourceRow {
    let partials: BTreeMap<_, _> =
        partials.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
    let version = NewTemplateVersion {
        id: version.to_owned(),
        kind,
        template: id.to_owned(),
        source: TemplateSource { subject: String::new(), html: version.to_owned(), text: None },
        partials,
        tags: Vec::new(),
        sender: None,
        class: None,
        on_crash: CrashPolicy::Resend,
        language: None,
    };
    let body = to_raw_value(&json!({"html": version.source.html})).unwrap();
    ResourceRow { kind, id: id.to_owned(), brand_id: None, status: None, version: Some(version), body }
}

fn seen(kind: ResourceKind, id: &str, version: &str) -> Seen {
    Seen { kind, id: id.to_owned(), version: version.to_owned() }
}

on_both! {
    async fn a_partial_and_its_templates_are_stored_together_or_not_at_all(backends: Backends) {
        use ResourceKind::{Partials, Templates};
        let store = backends.store_of(&merchant()).await;
        let put = async |document, remade, seen| {
            store.put_composition(&merchant(), Composition { document, remade, seen }).await.unwrap()
        };
        let current = async |kind, id: &str| {
            store.resource(&merchant(), kind, id).await.unwrap().unwrap().version.unwrap()
        };
        assert_eq!(put(row(Partials, "footer", "f1", &[]), Vec::new(), Vec::new()).await, Composed::New);
        let hello = || row(Templates, "hello", "h1", &[("footer", "f1")]);
        // The footer is not what was seen.
        assert_eq!(put(hello(), Vec::new(), vec![seen(Partials, "footer", "f0")]).await, Composed::Outdated);
        assert!(store.resource(&merchant(), Templates, "hello").await.unwrap().is_none());
        assert_eq!(put(hello(), Vec::new(), vec![seen(Partials, "footer", "f1")]).await, Composed::New);
        // A template that has it in it is not among those that were made anew.
        let footer = || row(Partials, "footer", "f2", &[]);
        assert_eq!(put(footer(), Vec::new(), vec![seen(Partials, "footer", "f1")]).await, Composed::Outdated);
        assert_eq!((current(Partials, "footer").await, current(Templates, "hello").await), ("f1".to_owned(), "h1".to_owned()));
        let remade = || vec![row(Templates, "hello", "h2", &[("footer", "f2")])];
        let all = vec![seen(Templates, "hello", "h1"), seen(Partials, "footer", "f1")];
        assert_eq!(put(footer(), remade(), all).await, Composed::Replaced);
        assert_eq!((current(Partials, "footer").await, current(Templates, "hello").await), ("f2".to_owned(), "h2".to_owned()));

        let users = async || store.users_of_partial(&merchant(), "footer", 10).await.unwrap();
        assert_eq!(users().await, ["templates/hello"]);
        assert!(!store.delete_resource(&merchant(), Partials, "footer").await.unwrap());
        assert!(store.delete_resource(&merchant(), Templates, "hello").await.unwrap());
        assert!(users().await.is_empty());
        assert!(store.delete_resource(&merchant(), Partials, "footer").await.unwrap());
        let written = store.written_version(&merchant(), Templates, "hello", "h2").await.unwrap().unwrap();
        assert_eq!(written.document.as_deref(), Some("{\"html\":\"h2\"}"));
        assert_eq!(written.partials, BTreeMap::from([("footer".to_owned(), "f2".to_owned())]));
        let versions = async |kind| store.versions_of_template(&merchant(), kind, "footer", None, 10).await.unwrap().len();
        assert_eq!((versions(Templates).await, versions(Partials).await), (0, 2));
    }
}
