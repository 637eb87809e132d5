//! `/metrics`: what was counted, and what can be seen without asking the database. What it has to be asked for, the
//! sampler looks at now and then.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::App,
    smtp::BreakerState,
    telemetry::{
        METRICS,
        metrics::{LaneLabels, PoolLabels, PoolStateLabels, RouteNameLabels, RouteStateLabels},
    },
};

/// How long the queue may take to count.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers in OpenMetrics to whoever asks for that, and else in the older format that everything reads.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    measure_routes(&app);
    measure_pools(&app);
    let _ = tokio::time::timeout(COUNT_TIMEOUT, measure_queue(&app)).await;
    let accepts = headers.get(header::ACCEPT).map(|accepts| String::from_utf8_lossy(accepts.as_bytes()));
    if accepts.is_some_and(|accepts| accepts.contains("application/openmetrics-text")) {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], METRICS.open_metrics()).into_response()
    } else {
        ([(header::CONTENT_TYPE, PROMETHEUS)], METRICS.prometheus()).into_response()
    }
}

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Notes whether each route is up, and its connections. A process that sends nothing does not know.
fn measure_routes(app: &App) {
    if !app.worker.sends() {
        return;
    }
    for status in app.routes.status() {
        // One that may be tried again is not up before that has succeeded.
        let is_up = status.stopped.is_none() && status.breaker == BreakerState::Closed;
        let route = status.name;
        for (state, count) in [("busy", status.busy), ("idle", status.idle)] {
            let labels = RouteStateLabels { route: route.clone(), state };
            METRICS.route_connections.get_or_create(&labels).set(gauge(count));
        }
        let labels = RouteNameLabels { route };
        METRICS.route_up.get_or_create(&labels).set(i64::from(is_up));
        METRICS.route_connections_limit.get_or_create(&labels).set(gauge(status.connections));
    }
}

/// Notes the connections to the database.
fn measure_pools(app: &App) {
    for pool in app.store.pools() {
        for (state, count) in [("busy", pool.busy), ("idle", pool.idle)] {
            let labels = PoolStateLabels { pool: pool.name, state };
            METRICS.database_connections.get_or_create(&labels).set(gauge(count));
        }
        let labels = PoolLabels { pool: pool.name };
        METRICS.database_connections_limit.get_or_create(&labels).set(gauge(pool.most));
    }
}

/// Notes how many jobs wait in each lane and how many are leased.
async fn measure_queue(app: &App) {
    let Ok(status) = app.queue.status().await else { return };
    for lane in status.lanes {
        let labels = LaneLabels { lane: lane.lane.as_str() };
        METRICS.waiting.get_or_create(&labels).set(gauge(lane.waiting));
        METRICS.leased.get_or_create(&labels).set(gauge(lane.leased));
    }
}
