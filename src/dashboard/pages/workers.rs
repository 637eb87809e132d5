//! `/workers`: the processes, and whether they are heard of.

use std::sync::Arc;

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use super::overview::{name_of, state_of_worker};
use crate::{
    dashboard::{
        layout,
        page_error::PageError,
        parts::{Ago, Badge},
        state::DashboardState,
        viewer::Viewer,
        words,
    },
    html::written,
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/workers", get(show))
}

#[derive(Template)]
#[template(path = "dashboard/workers.html")]
struct Page {
    fragments: String,
    silence: String,
    concurrency: usize,
}

#[derive(Template)]
#[template(path = "dashboard/workers_parts.html")]
struct Parts {
    workers: Vec<Row>,
}

struct Row {
    id: String,
    host: String,
    pid: u32,
    state: Badge,
    started: Ago,
    heard: Ago,
    is_this: bool,
}

async fn show(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    let fragments = fragments(&board, &viewer).await?;
    let settings = &board.app.config.worker;
    let page =
        Page { fragments, silence: words::length(settings.silence), concurrency: settings.concurrency };
    Ok(layout::live(&viewer, "Workers", "workers", &page))
}

pub(super) async fn fragments(board: &DashboardState, viewer: &Viewer) -> Result<String, PageError> {
    viewer.sees_everything()?;
    let silence = board.app.config.worker.silence;
    let workers = board.app.store.workers().await?;
    let rows = workers.iter().rev().take(200).map(|worker| Row {
        id: worker.id.to_string(),
        host: name_of(worker),
        pid: worker.pid,
        state: state_of_worker(worker, silence),
        started: Ago(worker.started_at),
        heard: Ago(worker.heartbeat_at),
        is_this: worker.id == board.app.worker.id,
    });
    Ok(written(&Parts { workers: rows.collect() }))
}
