//! `/callbacks` and `/callbacks/{merchant}/{endpoint}`: where merchants are told what happened, and whether they were; replay.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};

use crate::{
    clock,
    dashboard::{
        form::{Act, Asked},
        layout,
        page_error::PageError,
        parts::{Ago, Badge, Button, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    http::cut_to_page,
    jobs,
    mail::{DeliveryId, EndpointId, MerchantId},
    store::{DeliveryRecord, Endpoint, Replayed},
    webhook::DeliveryState,
};

/// Endpoints and deliveries on a page.
const LISTED: u32 = 100;
/// How far back failed deliveries are sent again by the button.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/callbacks", get(list))
        .route("/callbacks/{merchant}/{endpoint}", get(show))
        .route("/callbacks/{merchant}/{endpoint}/replay-failed", post(replay_failed))
        .route("/callbacks/{merchant}/{endpoint}/{delivery}/replay", post(replay))
}

#[derive(Template)]
#[template(path = "dashboard/callbacks.html")]
struct ListPage {
    for_all: bool,
    no_more: Option<NoMore>,
    endpoints: Vec<Row>,
    more: More,
}

struct Row {
    merchant: String,
    id: String,
    url: String,
    state: Badge,
    failing: Option<Ago>,
}

#[derive(Template)]
#[template(path = "dashboard/endpoint.html")]
struct Page {
    merchant: String,
    url: String,
    description: String,
    state: Badge,
    topics: String,
    created: Time,
    buttons: Vec<Button>,
    no_more: Option<NoMore>,
    deliveries: Vec<DeliveryRow>,
    more: More,
}

struct DeliveryRow {
    id: String,
    kind: String,
    state: Badge,
    attempt: u32,
    created: Time,
    answer: String,
    button: Option<Button>,
}

fn state_of(endpoint: &Endpoint) -> Badge {
    match (endpoint.enabled, endpoint.disabled_reason.as_deref()) {
        (true, _) if endpoint.failing_since.is_some() => Badge::warns("failing"),
        (true, _) => Badge::good("enabled"),
        (false, Some(reason)) => Badge::bad(format!("disabled: {reason}")),
        (false, None) => Badge::over("disabled"),
    }
}

/// How a delivery is, in a word.
pub(super) fn state_of_delivery(state: DeliveryState) -> Badge {
    let word = state.as_str();
    match state {
        DeliveryState::Queued => Badge::waits(word),
        DeliveryState::Sending => Badge::works(word),
        DeliveryState::Deferred => Badge::warns(word),
        DeliveryState::Delivered => Badge::good(word),
        DeliveryState::Failed => Badge::bad(word),
    }
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let asked = fields.get("merchant")?.map(str::parse::<MerchantId>).transpose();
    let asked = asked.map_err(|_| PageError::not_found("merchant"))?;
    let merchant = viewer.merchant.clone().or(asked);
    let after = fields.get("after")?.unwrap_or_default();
    let mut endpoints = board.app.store.endpoints_of(merchant.as_ref(), after, LISTED + 1).await?;
    let has_more = cut_to_page(&mut endpoints, LISTED);
    let of_whom = merchant.as_ref().map(MerchantId::as_str).unwrap_or_default();
    let next = endpoints
        .last()
        .filter(|_| has_more)
        .map(|(_, last)| format!("/callbacks?merchant={of_whom}&after={}", last.id));
    let first =
        merchant.as_ref().map_or_else(|| "/callbacks".to_owned(), |own| format!("/callbacks?merchant={own}"));
    let no_more = NoMore::when(endpoints.is_empty() && !after.is_empty(), first);
    let rows = endpoints.into_iter().map(|(merchant, endpoint)| Row {
        merchant: merchant.to_string(),
        id: endpoint.id.to_string(),
        state: state_of(&endpoint),
        failing: endpoint.failing_since.map(Ago),
        url: endpoint.url,
    });
    let page = ListPage {
        for_all: viewer.merchant.is_none(),
        no_more,
        endpoints: rows.collect(),
        more: More { href: next, label: "Next page" },
    };
    Ok(layout::page(&viewer, "Callbacks", &page))
}

/// The endpoint that a path names, where this operator may see it.
fn ids_of(viewer: &Viewer, merchant: &str, endpoint: &str) -> Result<(MerchantId, EndpointId), PageError> {
    let missing = || PageError::not_found("endpoint");
    let merchant: MerchantId = merchant.parse().map_err(|_| missing())?;
    let is_seen = viewer.merchant.as_ref().is_none_or(|own| *own == merchant);
    let endpoint = endpoint.parse().map_err(|_| missing())?;
    is_seen.then_some((merchant, endpoint)).ok_or_else(missing)
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path((merchant, endpoint)): Path<(String, String)>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let (merchant, id) = ids_of(&viewer, &merchant, &endpoint)?;
    let before = fields.get("before")?.map(str::parse::<DeliveryId>).transpose();
    let before = before.map_err(|_| PageError::bad("`before` must be a delivery's id."))?;
    let store = &board.app.store;
    let endpoint = store.endpoint(&merchant, id).await?.ok_or_else(|| PageError::not_found("endpoint"))?;
    let mut deliveries = store.deliveries_before(id, before, LISTED + 1).await?;
    let has_more = cut_to_page(&mut deliveries, LISTED);
    let here = format!("/callbacks/{merchant}/{id}");
    let next = deliveries.last().filter(|_| has_more).map(|last| format!("{here}?before={}", last.id));
    let again = Button::new(&viewer, format!("{here}/replay-failed"), "Replay what failed in the last day");
    let page = Page {
        state: state_of(&endpoint),
        topics: endpoint.topics.to_json(),
        created: Time(endpoint.created_at),
        buttons: Some(again).filter(|_| viewer.acts() && endpoint.enabled).into_iter().collect(),
        no_more: NoMore::when(deliveries.is_empty() && before.is_some(), here.as_str()),
        deliveries: deliveries
            .into_iter()
            .map(|delivery| {
                DeliveryRow::of(delivery, &viewer, Some(here.as_str()).filter(|_| endpoint.enabled))
            })
            .collect(),
        more: More { href: next, label: "Older deliveries" },
        merchant: merchant.to_string(),
        url: endpoint.url,
        description: endpoint.description,
    };
    Ok(layout::page(&viewer, "Endpoint", &page))
}

impl DeliveryRow {
    /// A delivery; with a button where it can be sent again to the endpoint of this page.
    fn of(delivery: DeliveryRecord, viewer: &Viewer, endpoint: Option<&str>) -> Self {
        let is_over = matches!(delivery.state, DeliveryState::Delivered | DeliveryState::Failed);
        let button = endpoint
            .filter(|_| viewer.acts() && is_over)
            .map(|endpoint| Button::new(viewer, format!("{endpoint}/{}/replay", delivery.id), "Replay"));
        Self {
            id: delivery.id.to_string(),
            state: state_of_delivery(delivery.state),
            attempt: delivery.attempt,
            created: Time(delivery.created_at),
            answer: answer_of(&delivery, viewer),
            kind: delivery.kind.unwrap_or_else(|| "batch webhook".to_owned()),
            button,
        }
    }
}

/// What a receiver said last.
pub(super) fn answer_of(delivery: &DeliveryRecord, viewer: &Viewer) -> String {
    let status = delivery.status.map(|status| status.to_string());
    let words = delivery.answer.as_deref().map(|answer| viewer.seen(&words::beginning(answer, 160)));
    let parts = [delivery.outcome.clone(), status, words].into_iter().flatten();
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

async fn replay(
    State(board): State<Arc<DashboardState>>,
    Path((merchant, endpoint, delivery)): Path<(String, String, String)>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let (merchant, endpoint) = ids_of(&viewer, &merchant, &endpoint)?;
    let id: DeliveryId = delivery.parse().map_err(|_| PageError::not_found("delivery"))?;
    let said = match viewer.store(&board.app).replay_delivery(&merchant, endpoint, id).await? {
        Replayed::Unknown => return Err(PageError::not_found("delivery")),
        Replayed::Disabled => Flash::not("The endpoint is disabled; its merchant has to enable it."),
        Replayed::UnderWay(state) => Flash::not(format!("Nothing was done: the delivery is {state}.")),
        Replayed::Now => {
            board.app.enqueue(jobs::send_callback_job(id, merchant.clone()));
            Flash::done("It is sent again.")
        }
    };
    Ok(back_to(&format!("/callbacks/{merchant}/{endpoint}"), said))
}

async fn replay_failed(
    State(board): State<Arc<DashboardState>>,
    Path((merchant, endpoint)): Path<(String, String)>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let (merchant, endpoint) = ids_of(&viewer, &merchant, &endpoint)?;
    let since = clock::now() - DAY;
    let replayed = viewer.store(&board.app).replay_failed(&merchant, endpoint, since).await?;
    let deliveries = words::several(replayed, "delivery is", "deliveries are");
    let said = Flash::done(format!("{deliveries} sent again."));
    Ok(back_to(&format!("/callbacks/{merchant}/{endpoint}"), said))
}
