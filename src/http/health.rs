//! For machines that watch: alive, ready, counted. Merchants see only that the process is alive.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::metrics::metrics;
use crate::{
    app::App,
    smtp::{BreakerState, RouteStatus, Routes},
    store::{RouteUse, RouteUses},
    telemetry::chain,
};

/// How long a dependency may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// `database`, `queue`, `routes` or `workers`.
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
    let database = within(async {
        app.store.check_writable().await?;
        app.store.check_mails_readable().await
    });
    let database = database.await;
    let queue = within(app.queue.generation()).await;
    let warnings = tokio::time::timeout(ANSWER_TIMEOUT, app.queue.config_warnings()).await;
    let warnings = warnings.ok().and_then(Result::ok).unwrap_or_default();
    let uses = tokio::time::timeout(ANSWER_TIMEOUT, app.store.route_uses()).await;
    let uses = uses.ok().and_then(Result::ok).unwrap_or_default();
    let routes = routes_state(&app, &uses);
    let workers = workers_state(&app).await;
    // Without the queue, a route or a worker, what is recorded waits; without the database nothing can be recorded.
    let dependencies = vec![
        dependency("database", true, database),
        Dependency { detail: detail_of(queue.as_ref().err(), warnings), ..dependency("queue", false, queue) },
        routes,
        dependency("workers", false, workers),
    ];
    let is_ready = dependencies.iter().all(|dependency| dependency.ok || !dependency.needed);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let readiness = Readiness { status: if is_ready { "ready" } else { "not_ready" }, dependencies };
    (status, Json(readiness)).into_response()
}

/// What is wrong, and else what is to be known.
fn detail_of(fault: Option<&String>, warnings: Vec<String>) -> Option<String> {
    fault.cloned().or_else(|| (!warnings.is_empty()).then(|| warnings.join("; ")))
}

/// Fails when no worker was heard, in whichever process: nothing is sent then.
async fn workers_state(app: &App) -> Result<(), String> {
    let live = app.store.live_workers(app.config.worker.silence);
    match tokio::time::timeout(ANSWER_TIMEOUT, live).await {
        Ok(Ok(0)) => Err("no worker was heard: mails wait until one runs".to_owned()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err("whether a worker runs is not known without the database".to_owned()),
    }
}

/// What there is to say about the routes.
fn routes_state(app: &App, uses: &RouteUses) -> Dependency {
    if app.routes.is_empty() {
        return dependency(
            "routes",
            false,
            Err("no route is configured: mails wait in the queue".to_owned()),
        );
    }
    let (mut used, mut drained, mut paused) = (Vec::new(), Vec::new(), Vec::new());
    for route in app.routes.status() {
        match uses.of(&route.name) {
            RouteUse::InUse => used.push(route),
            RouteUse::Drained => drained.push(route.name),
            RouteUse::Paused(_) => paused.push(route.name),
        }
    }
    let mut notes = Vec::new();
    for (what, names) in [("drained", &drained), ("paused", &paused)] {
        if !names.is_empty() {
            notes.push(format!("{what}: `{}`", names.join("`, `")));
        }
    }
    notes.extend(gaps(&app.routes));
    if !app.worker.sends() {
        notes.push("this process sends nothing: the workers know how their relays are".to_owned());
    }
    let notes = (!notes.is_empty()).then(|| notes.join("; "));
    let state = match used.is_empty() {
        true if paused.is_empty() => Err("every route is drained: mails wait".to_owned()),
        true => Err("every route is drained or paused: mails wait".to_owned()),
        false => relays_state(&used),
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

async fn within<T, E: Error + 'static>(asked: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(chain(&error).to_string()),
        Err(_) => Err(format!("does not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn dependency(name: &'static str, needed: bool, state: Result<(), String>) -> Dependency {
    Dependency { name, ok: state.is_ok(), needed, detail: state.err() }
}
