//! `/audit`: who changed what, and from where.

use std::{str::FromStr, sync::Arc};

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use crate::{
    audit::Action,
    dashboard::{
        form::Asked,
        layout,
        page_error::{PageError, encoded},
        parts::{More, NoMore, Time},
        state::DashboardState,
        viewer::Viewer,
        words,
    },
    http::cut_to_page,
    mail::{MerchantId, Timestamp},
    store::{AuditFilter, AuditRecord},
};

/// Entries on a page.
const LISTED: u32 = 100;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/audit", get(show))
}

#[derive(Template)]
#[template(path = "dashboard/audit.html")]
struct Page {
    actor: String,
    action: String,
    merchant: String,
    actions: Vec<&'static str>,
    for_all: bool,
    no_more: Option<NoMore>,
    entries: Vec<Row>,
    more: More,
}

struct Row {
    at: Time,
    actor: String,
    action: String,
    target: String,
    number: String,
    origin: String,
    details: String,
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let text = |name: &str| fields.get(name).map(|text| text.map(str::to_owned));
    let (actor, action, merchant) = (text("actor")?, text("action")?, text("merchant")?);
    let until = text("until")?.map(|until| until.parse().map(Timestamp)).transpose();
    let filter = AuditFilter {
        merchant: match &viewer.merchant {
            Some(own) => Some(own.clone()),
            None => parsed::<MerchantId>("merchant", merchant.as_deref())?,
        },
        actor: actor.clone(),
        action: parsed::<Action>("kind", action.as_deref())?,
        since: None,
        until: until.map_err(|_| PageError::bad("`until` must be a time in milliseconds."))?,
        limit: LISTED + 1,
    };
    let mut entries = board.app.store.audit(&filter).await?;
    let has_more = cut_to_page(&mut entries, LISTED);
    let (actor, action) = (actor.unwrap_or_default(), action.unwrap_or_default());
    let merchant = merchant.unwrap_or_default();
    let [of_actor, of_action, of_merchant] = [&actor, &action, &merchant].map(|text| encoded(text));
    let first = format!("/audit?actor={of_actor}&action={of_action}&merchant={of_merchant}");
    let next = entries.last().filter(|_| has_more).map(|last| format!("{first}&until={}", last.at.millis()));
    let page = Page {
        actor,
        action,
        merchant,
        actions: Action::ALL.iter().map(|action| action.as_str()).collect(),
        for_all: viewer.merchant.is_none(),
        no_more: NoMore::when(entries.is_empty() && filter.until.is_some(), first),
        entries: entries.into_iter().map(|entry| Row::of(entry, &viewer)).collect(),
        more: More { href: next, label: "Older entries" },
    };
    Ok(layout::page(&viewer, "Audit", &page))
}

fn parsed<T: FromStr>(what: &str, text: Option<&str>) -> Result<Option<T>, PageError> {
    let unread = |_| PageError::bad(format!("There is no such {what}."));
    text.map(|text| text.parse().map_err(unread)).transpose()
}

impl Row {
    fn of(entry: AuditRecord, viewer: &Viewer) -> Self {
        let details = entry.details.as_object().map(|details| {
            let parts = details.iter().filter(|(_, value)| !value.is_null());
            let parts = parts.map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{name}: {value}")
            });
            parts.collect::<Vec<_>>().join(", ")
        });
        Self {
            at: Time(entry.at),
            actor: entry.actor,
            action: entry.action.to_string(),
            target: viewer.seen(&entry.target),
            number: words::number(entry.number),
            origin: entry.origin.unwrap_or_default(),
            details: viewer.seen(&words::beginning(&details.unwrap_or_default(), 300)),
        }
    }
}
