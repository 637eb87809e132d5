//! Stores templates that have partials in them, and partials with all templates that have them.
//!
//! The partials are read, the template is checked with them, and all is stored in one transaction, if they are still what was
//! read: else it is done again. So a template's newest version always has the newest partials in it. A partial that would
//! break a template is refused, and the template is named.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, value::RawValue};

use super::{
    documents::{self, DocumentLimits, Loaded},
    error::{FieldError, Refusal, fault},
};
use crate::{
    app::App,
    cpu_pool::Share,
    mail::MerchantId,
    render::{Part, partials_in},
    shop::{Partial, ResourceKind},
    store::{Composed, Composition, ResourceRow, Seen, Store, StoreError, Stored},
};

/// How often it is done when partials change meanwhile.
const TRIES: usize = 4;
/// The most partials that one template has in it, however deep.
const MOST_PARTIALS: usize = 64;
/// The most templates that have one partial in them.
const MOST_TEMPLATES: usize = 200;
/// The bytes of the templates that a change of a partial makes anew.
const MOST_REMADE_BYTES: usize = 16 << 20;

/// Why a document was not stored.
pub(super) enum NotStored {
    /// It is wrong.
    Faults(Vec<FieldError>),
    /// Too much of this merchant waits to be checked.
    Busy,
    /// Others changed what belongs to it again and again.
    Unsettled,
    /// The database did not take it.
    Store(StoreError),
}

impl From<StoreError> for NotStored {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<NotStored> for Refusal {
    fn from(why: NotStored) -> Self {
        match why {
            NotStored::Faults(faults) => Self::invalid(faults),
            NotStored::Busy => Self::busy(),
            NotStored::Unsettled => Self::unavailable(),
            NotStored::Store(error) => error.into(),
        }
    }
}

/// A document that was stored.
pub(super) struct Put {
    pub(super) is_new: bool,
    /// As it is shown.
    pub(super) body: Box<RawValue>,
}

/// Whether a document must be stored with what belongs to it.
pub(super) fn is_composed(kind: ResourceKind, given: &Map<String, Value>) -> bool {
    kind == ResourceKind::Partials || (kind == ResourceKind::Templates && !called_by(given).is_empty())
}

/// Stores a template or a partial. The store acts for whoever asked for it.
///
/// # Errors
/// See [`NotStored`].
pub(super) async fn put(
    app: &App,
    store: &Store,
    merchant: &MerchantId,
    (kind, id): (ResourceKind, &str),
    given: &Map<String, Value>,
) -> Result<Put, NotStored> {
    for _ in 0..TRIES {
        let mut loaded = load(app, merchant, called_by(given)).await?;
        let document = check(app, merchant, (kind, id), given, &loaded).await?;
        let mut seen: BTreeSet<_> = seen_in(&document).collect();
        let mut remade = Vec::new();
        if kind == ResourceKind::Partials {
            if let Some(before) = app.store.resource(merchant, kind, id).await?
                && let Some(version) = before.version
            {
                seen.insert(Seen { kind, id: id.to_owned(), version });
            }
            put_in(&mut loaded, &document)?;
            remade = remake(app, merchant, id, &loaded, &mut seen).await?;
        }
        let body = document.body.clone();
        let seen = seen.into_iter().collect();
        match store.put_composition(merchant, Composition { document, remade, seen }).await? {
            Composed::Outdated => {}
            done => return Ok(Put { is_new: done == Composed::New, body }),
        }
    }
    Err(NotStored::Unsettled)
}

/// The templates that have this partial in them, made anew with it.
async fn remake(
    app: &App,
    merchant: &MerchantId,
    partial: &str,
    new: &Loaded,
    seen: &mut BTreeSet<Seen>,
) -> Result<Vec<ResourceRow>, NotStored> {
    let kind = ResourceKind::Templates;
    let templates = app
        .store
        .templates_with(merchant, partial, u32::try_from(MOST_TEMPLATES).unwrap_or(u32::MAX))
        .await?;
    let (mut remade, mut bytes) = (Vec::with_capacity(templates.len()), 0);
    for Stored { id, version, body, .. } in templates {
        let given: Map<String, Value> = serde_json::from_str(&body).map_err(|error| {
            tracing::error!(line = error.line(), column = error.column(), "a stored template cannot be read");
            NotStored::Unsettled
        })?;
        let mut loaded = load_over(app, merchant, called_by(&given), new, partial).await?;
        loaded.partials.extend(new.partials.get(partial).map(|it| (partial.to_owned(), it.clone())));
        loaded.versions.extend(new.versions.get(partial).map(|it| (partial.to_owned(), it.clone())));
        let row = check(app, merchant, (kind, &id), &given, &loaded).await.map_err(|why| match why {
            NotStored::Faults(faults) => {
                let path = format!("templates.{id}");
                let faults =
                    faults.into_iter().map(|it| fault(&path, &format!("{}: {}", it.path, it.message)));
                NotStored::Faults(faults.collect())
            }
            other => other,
        })?;
        bytes += row.version.as_ref().map_or(0, |version| {
            version.source.html.len() + version.source.text.as_ref().map_or(0, String::len)
        });
        if bytes > MOST_REMADE_BYTES {
            let message = format!("is in templates of more than {MOST_REMADE_BYTES} bytes together");
            return Err(NotStored::Faults(vec![fault("html", &message)]));
        }
        seen.extend(seen_in(&row).filter(|seen| seen.id != partial));
        seen.extend(version.map(|version| Seen { kind, id, version }));
        remade.push(row);
    }
    Ok(remade)
}

/// Checks a document on the CPU pool: a hostile template takes long.
async fn check(
    app: &App,
    merchant: &MerchantId,
    (kind, id): (ResourceKind, &str),
    given: &Map<String, Value>,
    loaded: &Loaded,
) -> Result<ResourceRow, NotStored> {
    let (id, given, limits) = (id.to_owned(), given.clone(), DocumentLimits::of(app));
    let loaded = loaded.clone();
    let check = move || documents::check(kind, &id, given, &limits, &loaded);
    let checked = app.cpu.run(Share::Request(merchant.clone()), check).await;
    checked.map_err(|_busy| NotStored::Busy)?.map_err(NotStored::Faults)
}

/// What a document was made from.
fn seen_in(row: &ResourceRow) -> impl Iterator<Item = Seen> {
    let partials = row.version.iter().flat_map(|version| &version.partials);
    partials.map(|(id, version)| Seen {
        kind: ResourceKind::Partials,
        id: id.clone(),
        version: version.clone(),
    })
}

/// Takes a partial as it is about to be stored among those that are.
fn put_in(loaded: &mut Loaded, document: &ResourceRow) -> Result<(), NotStored> {
    let partial: Partial = serde_json::from_str(document.body.get()).map_err(|_| NotStored::Unsettled)?;
    loaded.partials.insert(document.id.clone(), partial);
    let version = document.version.as_ref().map(|version| version.id.clone()).unwrap_or_default();
    loaded.versions.insert(document.id.clone(), version);
    Ok(())
}

/// The partials that a document calls itself.
fn called_by(given: &Map<String, Value>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (field, part) in [("html", Part::Html), ("text", Part::Text)] {
        if let Some(Value::String(text)) = given.get(field) {
            names.extend(partials_in(part, text));
        }
    }
    names.into_iter().collect()
}

/// The partials of these names, and those that they call.
async fn load(app: &App, merchant: &MerchantId, names: Vec<String>) -> Result<Loaded, NotStored> {
    load_over(app, merchant, names, &Loaded::default(), "").await
}

/// The same where one partial is not what is stored: what it calls is loaded, not itself.
async fn load_over(
    app: &App,
    merchant: &MerchantId,
    names: Vec<String>,
    over: &Loaded,
    changed: &str,
) -> Result<Loaded, NotStored> {
    let mut loaded = Loaded::default();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let mut next = names;
    while !next.is_empty() {
        asked.extend(next.iter().cloned());
        if asked.len() > MOST_PARTIALS {
            let message = format!("has more than {MOST_PARTIALS} partials in it");
            return Err(NotStored::Faults(vec![fault("html", &message)]));
        }
        let mut found: Vec<(String, Option<String>, Partial)> = Vec::new();
        next.retain(|name| name != changed);
        for stored in app.store.partials(merchant, &next).await? {
            let partial = serde_json::from_str(&stored.body).map_err(|error| {
                tracing::error!(
                    line = error.line(),
                    column = error.column(),
                    "a stored partial cannot be read"
                );
                NotStored::Unsettled
            })?;
            found.push((stored.id, stored.version, partial));
        }
        let changed_now = over.partials.get(changed).filter(|_| asked.contains(changed));
        if let Some(changed_now) = changed_now.filter(|_| !loaded.partials.contains_key(changed)) {
            found.push((changed.to_owned(), over.versions.get(changed).cloned(), changed_now.clone()));
        }
        next = Vec::new();
        for (name, version, partial) in found {
            for (part, text) in [(Part::Html, Some(&partial.html)), (Part::Text, partial.text.as_ref())] {
                let calls = text.map(|text| partials_in(part, text)).unwrap_or_default();
                next.extend(calls.into_iter().filter(|name| !asked.contains(name)));
            }
            loaded.versions.insert(name.clone(), version.unwrap_or_default());
            loaded.partials.insert(name, partial);
        }
        next.sort();
        next.dedup();
    }
    Ok(loaded)
}

/// Whether a partial may be in one more template.
///
/// # Errors
/// 422 naming the partial that is in too many.
pub(super) async fn check_uses(
    app: &App,
    merchant: &MerchantId,
    id: &str,
    given: &Map<String, Value>,
) -> Result<(), Refusal> {
    for name in called_by(given) {
        let most = u32::try_from(MOST_TEMPLATES + 1).unwrap_or(u32::MAX);
        let users = app.store.users_of_partial(merchant, &name, most).await?;
        let own = format!("templates/{id}");
        if users.iter().filter(|user| **user != own).count() >= MOST_TEMPLATES {
            let message = format!("the partial `{name}` is in {MOST_TEMPLATES} templates already");
            return Err(Refusal::field("html", message));
        }
    }
    Ok(())
}

/// Names what uses a partial, for whoever wants to delete it.
///
/// # Errors
/// 409 where anything does.
pub(super) async fn refuse_used(app: &Arc<App>, merchant: &MerchantId, id: &str) -> Result<(), Refusal> {
    let users = app.store.users_of_partial(merchant, id, 11).await?;
    if users.is_empty() {
        return Ok(());
    }
    let more = if users.len() > 10 { " and others" } else { "" };
    let named = users.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("The partial is used by {named}{more}. Change these first.");
    Err(Refusal::new(axum::http::StatusCode::CONFLICT, "in_use", message))
}

#[cfg(test)]
mod tests;
