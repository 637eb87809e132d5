//! For machines that watch: alive, ready, counted. Merchants see only that the process is alive.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::{
    app::App,
    smtp::{BreakerState, RouteStatus, Routes},
    telemetry::{METRICS, metrics::LaneLabels},
};

/// How long a dependency may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What everybody may ask.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(alive))
}

/// What is for operators.
pub(super) fn admin_router() -> Router<Arc<App>> {
    router().route("/readyz", get(ready)).route("/metrics", get(metrics))
}

#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "The process is alive.")))]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether postroom can work, dependency by dependency.
#[derive(Serialize)]
struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Each dependency by name.
    dependencies: Vec<Dependency>,
}

/// One thing that postroom needs.
#[derive(Serialize)]
struct Dependency {
    /// `database`, `queue` or `routes`.
    name: &'static str,
    /// Whether it answers.
    ok: bool,
    /// Whether requests cannot be taken without it.
    needed: bool,
    /// What is wrong, or to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let database = within(app.store.check_writable()).await;
    let queue = within(app.queue.generation()).await;
    let drained = tokio::time::timeout(PATIENCE, app.store.drained_routes()).await;
    let drained = drained.ok().and_then(Result::ok).unwrap_or_default();
    let routes = routes_state(&app, &drained);
    // Without the queue or a route, what is recorded waits; without the database nothing can be recorded.
    let dependencies =
        vec![dependency("database", true, database), dependency("queue", false, queue), routes];
    let is_ready = dependencies.iter().all(|dependency| dependency.ok || !dependency.needed);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { status: if is_ready { "ready" } else { "not_ready" }, dependencies };
    (status, Json(readiness)).into_response()
}

/// What there is to say about the routes.
fn routes_state(app: &App, drained: &[String]) -> Dependency {
    if app.routes.is_empty() {
        return dependency(
            "routes",
            false,
            Err("no route is configured: mails wait in the queue".to_owned()),
        );
    }
    let all = app.routes.status();
    let used: Vec<_> = all.iter().filter(|route| !drained.contains(&route.name)).cloned().collect();
    let names: Vec<_> =
        all.iter().filter(|route| drained.contains(&route.name)).map(|r| r.name.as_str()).collect();
    let mut notes = Vec::new();
    if !names.is_empty() {
        notes.push(format!("drained: `{}`", names.join("`, `")));
    }
    notes.extend(gaps(&app.routes));
    let notes = (!notes.is_empty()).then(|| notes.join("; "));
    let state = if used.is_empty() {
        Err("every route is drained: mails wait".to_owned())
    } else {
        relays_state(&used)
    };
    let mut routes = dependency("routes", false, state);
    routes.detail = match (routes.detail, notes) {
        (Some(fault), Some(notes)) => Some(format!("{fault}; {notes}")),
        (fault, notes) => fault.or(notes),
    };
    routes
}

/// Says which mails may have no route, because of what the routes are for.
fn gaps(routes: &Routes) -> Option<String> {
    let lanes: Vec<_> = routes.lanes_with_gaps().iter().map(|lane| lane.as_str()).collect();
    (!lanes.is_empty())
        .then(|| format!("no route takes all {} mails: those that none takes wait", lanes.join(" and ")))
}

/// Fails when a relay refuses us, because that needs an operator, and when every route is away; says why each is, without
/// the relays' own words.
fn relays_state(routes: &[RouteStatus]) -> Result<(), String> {
    let stops = routes.iter().filter_map(|route| {
        let fault = route.stopped.as_ref()?;
        Some(format!("`{}`: {}", route.name, fault.text))
    });
    let stops: Vec<_> = stops.collect();
    if !stops.is_empty() {
        return Err(format!("a relay refuses us: mails wait until that is mended ({})", stops.join("; ")));
    }
    if !routes.iter().all(|route| matches!(route.breaker, BreakerState::Open { .. })) {
        return Ok(());
    }
    let why = |route: &RouteStatus| {
        let fault = route.last_error.as_ref().map_or("", |fault| fault.text.as_str());
        format!("`{}`: {fault}", route.name)
    };
    let why: Vec<_> = routes.iter().map(why).collect();
    Err(format!("every route is away: mails wait for another attempt ({})", why.join("; ")))
}

async fn within<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("does not answer within {} s", PATIENCE.as_secs())),
    }
}

fn dependency(name: &'static str, needed: bool, state: Result<(), String>) -> Dependency {
    Dependency { name, ok: state.is_ok(), needed, detail: state.err() }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let _ = tokio::time::timeout(PATIENCE, measure_queue(&app)).await;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], METRICS.render()).into_response()
}

/// Notes how many jobs wait in each lane and how many are leased.
async fn measure_queue(app: &App) {
    let Ok(status) = app.queue.status().await else { return };
    for lane in status.lanes {
        let labels = LaneLabels { lane: lane.lane.as_str() };
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        METRICS.waiting.get_or_create(&labels).set(gauge(lane.waiting));
        METRICS.leased.get_or_create(&labels).set(gauge(lane.leased));
    }
}
