//! What a process knows of its queue and its routes, for the command line on the same machine: another process cannot reach an
//! embedded queue, and which relays are away each process knows for itself.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{error::Refusal, server::Peer, waiting::Waiting};
use crate::{
    app::App,
    clock,
    mail::{Lane, MailId, Timestamp, WaitReason},
    smtp::BreakerState,
};

/// The path on the admin listener.
pub const PATH: &str = "/queue.json";
/// The path of what a mail waits for, before its id.
pub const WAITING_PATH: &str = "/waiting.json";

pub(super) fn admin_router() -> Router<Arc<App>> {
    Router::new().route(PATH, get(show)).route(&format!("{WAITING_PATH}/{{id}}"), get(waiting))
}

/// What is in the queue, and how the routes are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QueueView {
    /// The lanes, in their order.
    pub lanes: Vec<LaneView>,
    /// What mails wait for, the longest lines first.
    pub lines: Vec<LineView>,
    /// The routes, as this process sees them.
    pub routes: Vec<RouteView>,
}

/// A lane of the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// Jobs that no worker has.
    pub waiting: u64,
    /// Those of them that wait for something other than a worker.
    pub set_aside: u64,
    /// Jobs that a worker has.
    pub leased: u64,
}

/// Mails that wait for the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineView {
    /// For what, as in `domain:gmail.com`.
    pub name: String,
    /// Why.
    pub reason: WaitReason,
    /// How many.
    pub waiting: u64,
    /// When the first of them may go.
    pub until: Option<Timestamp>,
}

/// A route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// The most connections.
    pub connections: usize,
    /// Connections that are open.
    pub open: usize,
    /// Those that a mail has.
    pub busy: usize,
    /// Until when it is left alone, because it could not be reached or refuses us.
    pub away_until: Option<Timestamp>,
    /// Why.
    pub fault: Option<String>,
}

impl QueueView {
    /// Asks the queue and the routes of this process.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    pub async fn of(app: &App) -> Result<Self, crate::queue::QueueError> {
        let status = app.queue.status().await?;
        let lane = |lane: crate::queue::LaneStatus| LaneView {
            lane: lane.lane,
            waiting: lane.waiting,
            set_aside: lane.set_aside,
            leased: lane.leased,
        };
        let line = |line: crate::queue::LineStatus| LineView {
            name: line.name,
            reason: line.reason,
            waiting: line.waiting,
            until: line.until,
        };
        Ok(Self {
            lanes: status.lanes.into_iter().map(lane).collect(),
            lines: status.lines.into_iter().map(line).collect(),
            routes: routes(app),
        })
    }
}

fn routes(app: &App) -> Vec<RouteView> {
    let statuses = app.routes.status();
    let all = app.routes.all();
    let pauses = all.iter().map(|route| route.pause());
    let view = |(status, pause): (crate::smtp::RouteStatus, Option<std::time::Duration>)| {
        let is_open = matches!(status.breaker, BreakerState::Open { .. });
        let fault = status.stopped.or(status.last_error.filter(|_| is_open || pause.is_some()));
        RouteView {
            name: status.name,
            connections: status.connections,
            open: status.open,
            busy: status.busy,
            away_until: pause.map(|pause| clock::now() + pause),
            fault: fault.map(|fault| fault.text),
        }
    };
    statuses.into_iter().zip(pauses).map(view).collect()
}

/// Tells processes on this machine: merchants' ids and domains are nobody else's matter.
async fn show(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
) -> Result<Json<QueueView>, Refusal> {
    must_be_near(peer)?;
    let asked =
        tokio::time::timeout_at(Instant::now() + super::health::ANSWER_TIMEOUT, QueueView::of(&app)).await;
    match asked {
        Ok(Ok(view)) => Ok(Json(view)),
        Ok(Err(error)) => Err(Refusal::failed("the queue could not be looked at", &error)),
        Err(_) => Err(Refusal::unavailable()),
    }
}

/// What a mail waits for, as this process knows it; null when it does not wait.
async fn waiting(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    Path(id): Path<MailId>,
) -> Result<Json<Option<Waiting>>, Refusal> {
    must_be_near(peer)?;
    let asked = async {
        let mail = app.store.mail(None, id).await?.ok_or_else(|| Refusal::not_found("Mail"))?;
        Ok(Json(Waiting::of(&app, &mail).await))
    };
    tokio::time::timeout(super::health::ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(Refusal::unavailable()))
}

fn must_be_near(peer: Option<Extension<Peer>>) -> Result<(), Refusal> {
    if peer.is_some_and(|Extension(peer)| peer.0.to_canonical().is_loopback()) {
        return Ok(());
    }
    let message = "This is for the command line on the same machine.";
    Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message))
}
