//! `/orders/{id}`, `/carts/{id}`, `/subscriptions/{id}`: all mails of one business object, in one timeline.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};

use crate::{
    dashboard::{
        layout,
        page_error::{PageError, encoded},
        parts::{Badge, Time, marked},
        state::DashboardState,
        viewer::Viewer,
    },
    mail::{
        Timestamp,
        search::{Condition, Key, Query},
    },
    store::MailSearch,
};

/// The most mails of one object that are shown.
const LISTED: u32 = 200;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/orders/{id}", get(order))
        .route("/carts/{id}", get(cart))
        .route("/subscriptions/{id}", get(subscription))
}

#[derive(Template)]
#[template(path = "dashboard/object.html")]
struct Page {
    kind: &'static str,
    id: String,
    events: Vec<Event>,
    has_more: bool,
    query: String,
}

/// A mail of the object, or somebody who asked for one.
struct Event {
    at: Time,
    tone: &'static str,
    text: String,
    note: String,
    mail: Option<(String, Badge)>,
}

async fn order(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    show(&board, &viewer, "order", Key::Order, Condition::Order(id.clone()), id).await
}

async fn cart(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    show(&board, &viewer, "cart", Key::Cart, Condition::Cart(id.clone()), id).await
}

async fn subscription(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    show(&board, &viewer, "subscription", Key::Subscription, Condition::Subscription(id.clone()), id).await
}

async fn show(
    board: &DashboardState,
    viewer: &Viewer,
    kind: &'static str,
    key: Key,
    condition: Condition,
    id: String,
) -> Result<Response, PageError> {
    let search = MailSearch {
        query: Query::default().and(condition),
        merchant: viewer.merchant.clone(),
        limit: LISTED,
        ..MailSearch::default()
    };
    let store = &board.app.store;
    let found = store.search_mails(&search).await?;
    let Some(merchant) = found.mails.first().map(|mail| mail.merchant.clone()) else {
        return Err(PageError::not_found(kind));
    };
    let mut events: Vec<(Timestamp, Event)> = Vec::new();
    for mail in &found.mails {
        let event = Event {
            at: Time(mail.recorded_at),
            tone: match mail.state {
                crate::mail::MailState::Sent => "good",
                crate::mail::MailState::Failed | crate::mail::MailState::Bounced => "bad",
                _ => "",
            },
            text: format!("{} to {}", mail.template, viewer.seen(&mail.recipient)),
            note: viewer.seen(&marked(mail, mail.error.as_deref().unwrap_or_default())),
            mail: Some((mail.id.to_string(), Badge::of(mail.state))),
        };
        events.push((mail.recorded_at, event));
    }
    if kind == "order" {
        let asked = store.order_audit(&merchant, &id).await?;
        events.extend(asked.into_iter().map(|entry| {
            let template = entry.template.unwrap_or_else(|| "a mail".to_owned());
            let event = Event {
                at: Time(entry.at),
                tone: "",
                text: format!(
                    "{} asked for {template}{}",
                    entry.actor,
                    if entry.forced { ", forced" } else { "" }
                ),
                note: viewer.seen(&entry.reason),
                mail: None,
            };
            (entry.at, event)
        }));
    }
    events.sort_by_key(|(at, _)| *at);
    let page = Page {
        kind,
        query: encoded(&key.spell(&id)),
        id,
        has_more: found.next.is_some(),
        events: events.into_iter().map(|(_, event)| event).collect(),
    };
    Ok(layout::page(viewer, &format!("{kind} {}", page.id), &page))
}
