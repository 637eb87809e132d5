//! `/batches` and `/batches/{id}`: how far each is, how fast, until when, and what limits it; pausing, resuming, cancelling.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};

use crate::{
    app::App,
    clock,
    dashboard::{
        form::{Act, Asked},
        layout,
        page_error::PageError,
        parts::{Badge, Button, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    html::written,
    http::{BatchView, cut_to_page, limit_of},
    jobs,
    mail::{BatchAction, BatchId, MailState, Timestamp},
    store::{BatchMoved, BatchRecord},
};

/// Batches on a page.
const LISTED: u32 = 50;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/batches", get(list))
        .route("/batches/{id}", get(show))
        .route("/batches/{id}/{wish}", post(act))
}

#[derive(Template)]
#[template(path = "dashboard/batches.html")]
struct ListPage {
    fragments: String,
    more: More,
}

#[derive(Template)]
#[template(path = "dashboard/batches_parts.html")]
struct ListParts<'a> {
    viewer: &'a Viewer,
    no_more: Option<NoMore>,
    batches: Vec<Row>,
}

struct Row {
    id: String,
    merchant: String,
    template: String,
    state: Badge,
    test: Option<Badge>,
    settled: u64,
    mails: u64,
    progress: String,
    requested: Time,
}

#[derive(Template)]
#[template(path = "dashboard/batch.html")]
struct Page {
    id: String,
    fragments: String,
}

#[derive(Template)]
#[template(path = "dashboard/batch_parts.html")]
struct Parts {
    id: String,
    merchant: String,
    template: String,
    state: Badge,
    test: Option<Badge>,
    settled: u64,
    mails: u64,
    progress: String,
    sentence: String,
    error: Option<String>,
    counts: Vec<Count>,
    requested: Time,
    started: Option<Time>,
    finished: Option<Time>,
    buttons: Vec<Button>,
}

/// How many mails are in a state, and the page that lists them.
struct Count {
    state: Badge,
    mails: String,
    href: String,
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let after = fields.get("after")?.map(id_of).transpose()?;
    let (fragments, next) = listed(&board, &viewer, after).await?;
    let href = next.map(|next| format!("/batches?after={next}"));
    let page = ListPage { fragments, more: More { href, label: "Older batches" } };
    let live = if after.is_none() { "batches" } else { "" };
    Ok(layout::live(&viewer, "Batches", live, &page))
}

/// The list as it is now, from the newest batch on.
pub(super) async fn fragments_of_list(board: &DashboardState, viewer: &Viewer) -> Result<String, PageError> {
    listed(board, viewer, None).await.map(|(fragments, _)| fragments)
}

async fn listed(
    board: &DashboardState,
    viewer: &Viewer,
    after: Option<BatchId>,
) -> Result<(String, Option<BatchId>), PageError> {
    let mut batches = board.app.store.batches_before(viewer.merchant.as_ref(), after, LISTED + 1).await?;
    let has_more = cut_to_page(&mut batches, LISTED);
    let next = batches.last().map(|batch| batch.id).filter(|_| has_more);
    let no_more = NoMore::when(batches.is_empty() && after.is_some(), "/batches");
    let batches = batches.iter().map(Row::of).collect();
    Ok((written(&ListParts { viewer, no_more, batches }), next))
}

impl Row {
    fn of(batch: &BatchRecord) -> Self {
        let settled = batch.settled_mails();
        Self {
            id: batch.id.to_string(),
            merchant: batch.merchant.to_string(),
            template: batch.template.clone(),
            state: Badge::of_batch(batch.state, batch.paused_at().is_some()),
            test: mark_of(batch),
            settled,
            mails: batch.mails.max(1),
            progress: format!("{} of {}", words::number(settled), words::number(batch.mails)),
            requested: Time(batch.requested_at),
        }
    }
}

/// The mark of a batch that is only tried out.
fn mark_of(batch: &BatchRecord) -> Option<Badge> {
    batch.is_test.then(|| Badge::test("batch"))
}

fn id_of(text: &str) -> Result<BatchId, PageError> {
    text.parse().map_err(|_| PageError::not_found("batch"))
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let id = id_of(&id)?;
    let fragments = fragments(&board, &viewer, id).await?;
    let page = Page { id: id.to_string(), fragments };
    Ok(layout::live(&viewer, "Batch", &format!("batch:{id}"), &page))
}

/// A batch as it is now.
pub(super) async fn fragments(
    board: &DashboardState,
    viewer: &Viewer,
    id: BatchId,
) -> Result<String, PageError> {
    let store = &board.app.store;
    let batch = store.batch(viewer.merchant.as_ref(), id).await?;
    let batch = batch.ok_or_else(|| PageError::not_found("batch"))?;
    let under_way = store.batch_under_way(id).await?;
    let merchant = store.merchant(&batch.merchant).await?;
    let limit = merchant.and_then(|merchant| limit_of(&board.app, &merchant));
    let settled = batch.settled_mails();
    let (requested, merchant) = (batch.requested_at, batch.merchant.to_string());
    let buttons = buttons(viewer, &batch);
    let state = Badge::of_batch(batch.state, batch.paused_at().is_some());
    let test = mark_of(&batch);
    let view = BatchView::of(batch, &under_way, limit.as_ref());
    let count = |state: &MailState| {
        let mails = view.counts.get(state.as_str()).copied().filter(|mails| *mails > 0)?;
        let query = format!("batch%3A{id}+state%3A{state}");
        Some(Count {
            state: Badge::of(*state),
            mails: words::number(mails),
            href: format!("/mails?q={query}"),
        })
    };
    Ok(written(&Parts {
        id: view.id.clone(),
        merchant,
        template: view.template.clone(),
        state,
        test,
        settled,
        mails: view.mails.max(1),
        progress: format!("{} of {}", words::number(settled), words::number(view.mails)),
        sentence: sentence(&view),
        error: view.error.clone(),
        counts: MailState::ALL.iter().filter_map(count).collect(),
        requested: Time(requested),
        started: view.started_at.map(Time),
        finished: view.finished_at.map(Time),
        buttons,
    }))
}

/// How fast it goes, until when, and why not faster.
fn sentence(view: &BatchView) -> String {
    if view.paused {
        return "It is paused: nothing of it is sent until it is resumed.".to_owned();
    }
    if let Some(finished) = view.finished_at {
        let took = view.started_at.map(|started| words::length(finished.since(started)));
        return took.map_or_else(|| "It is over.".to_owned(), |took| format!("It is over, after {took}."));
    }
    let rate = format!("{:.1} mails a second", view.rate);
    let until = view
        .forecast
        .ends_at
        .map(|end: Timestamp| format!("; done in about {}", words::length(end.since(clock::now()))));
    let limit = view.forecast.limited_by.as_ref().map(|limit| {
        let name = limit.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("; the limit of {}{name} allows {:.1}", limit.scope, limit.per_second)
    });
    format!("{rate}{}{}.", until.unwrap_or_default(), limit.unwrap_or_default())
}

fn buttons(viewer: &Viewer, batch: &BatchRecord) -> Vec<Button> {
    if !viewer.acts() || !batch.state.is_open() {
        return Vec::new();
    }
    let to = |wish: &str| format!("/batches/{}/{wish}", batch.id);
    let left = words::number(batch.mails.saturating_sub(batch.settled_mails()));
    let pause = match batch.paused_at() {
        Some(_) => Button::new(viewer, to("resume"), "Resume").primary(),
        None => Button::new(viewer, to("pause"), "Pause"),
    };
    let ask = format!(
        "Cancel this batch? Its {left} mails that are not settled are not sent. This cannot be undone."
    );
    vec![pause, Button::new(viewer, to("cancel"), "Cancel the batch").danger(ask)]
}

async fn act(
    State(board): State<Arc<DashboardState>>,
    Path((id, action)): Path<(String, String)>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let id = id_of(&id)?;
    let (app, merchant): (&App, _) = (&board.app, viewer.merchant.as_ref());
    let store = viewer.store(app);
    let action: BatchAction = action.parse().map_err(|_| PageError::not_found("action"))?;
    let said = match store.move_batch(merchant, id, action).await? {
        BatchMoved::Unknown => return Err(PageError::not_found("batch")),
        BatchMoved::Over(state) => Flash::not(format!("Nothing was done: the batch is {state} already.")),
        BatchMoved::Unchanged => {
            Flash::not(format!("Nothing was done: the batch was {} already.", action.participle()))
        }
        BatchMoved::Now => {
            if let Some(batch) = app.store.batch(merchant, id).await? {
                app.enqueue(jobs::fan_out_batch_job(id, batch.merchant));
            }
            Flash::done(format!("The batch is {}.", action.participle()))
        }
    };
    Ok(back_to(&format!("/batches/{id}"), said))
}
