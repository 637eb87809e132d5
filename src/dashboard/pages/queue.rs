//! `/queue`: what waits and for what; pausing and resuming lanes, merchants, routes and domains.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};

use crate::{
    admission::NewPause,
    dashboard::{
        form::Act,
        layout,
        page_error::PageError,
        parts::{Ago, Badge, Button, Time},
        state::DashboardState,
        status_snapshot::{LaneSnapshot, StatusSnapshot},
        viewer::{Flash, Viewer, back_to},
        words,
    },
    html::written,
    mail::{Lane, PauseScope, duration},
    queue::{self, LineStatus},
    store::PauseRecord,
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/queue", get(show))
        .route("/queue/pause", post(pause))
        .route("/queue/resume", post(resume))
}

#[derive(Template)]
#[template(path = "dashboard/queue.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    fragments: String,
}

#[derive(Template)]
#[template(path = "dashboard/queue_parts.html")]
struct Parts<'a> {
    viewer: &'a Viewer,
    fault: Option<String>,
    lanes: Vec<LaneRow>,
    pauses: Vec<PauseRow>,
    lines: Vec<LineRow>,
    oldest: String,
}

struct LaneRow {
    name: &'static str,
    about: &'static str,
    state: Badge,
    mails: String,
    waiting: String,
    aside: String,
    leased: String,
    button: Option<Button>,
}

struct PauseRow {
    kind: &'static str,
    name: String,
    reason: String,
    by: String,
    since: Ago,
    until: Option<Time>,
    is_suspension: bool,
}

struct LineRow {
    name: String,
    reason: String,
    waiting: String,
    until: Option<Time>,
}

async fn show(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    let fragments = fragments(&board, &viewer).await?;
    Ok(layout::live(&viewer, "Queue", "queue", &Page { viewer: &viewer, fragments }))
}

pub(super) async fn fragments(board: &DashboardState, viewer: &Viewer) -> Result<String, PageError> {
    let snapshot = StatusSnapshot::of(board, viewer.merchant.as_ref()).await;
    let lines = snapshot.queue.as_ref().map(|queue| queue.lines.as_slice()).unwrap_or_default();
    let own = |scope: &str| is_seen(viewer, scope);
    let pauses = snapshot.facts.pauses.iter().filter(|pause| own(&pause.scope.to_string()));
    let lines = lines.iter().filter(|line| queue::parts(&line.name).all(own));
    let facts = &snapshot.facts;
    let lanes = snapshot.lanes.iter().filter(|_| viewer.merchant.is_none());
    let parts = Parts {
        viewer,
        fault: facts.queue.clone(),
        oldest: match (facts.waiting, facts.oldest) {
            (Some(waiting), Some(Some(oldest))) => {
                format!("{} on their way, the oldest for {}.", words::counted(waiting), words::length(oldest))
            }
            (Some(_), Some(None)) => "Nothing waits.".to_owned(),
            (_, None) | (None, _) => "The database does not answer how many mails wait.".to_owned(),
        },
        lanes: lanes.map(|lane| LaneRow::of(lane, viewer)).collect(),
        pauses: pauses.map(PauseRow::of).collect(),
        lines: lines.map(LineRow::of).collect(),
    };
    Ok(written(&parts))
}

/// Whether an operator may know what this scope waits for: `lane:bulk`, or the own merchant.
fn is_seen(viewer: &Viewer, scope: &str) -> bool {
    let Some(own) = &viewer.merchant else { return true };
    scope.starts_with("lane:") || scope.strip_prefix("merchant:") == Some(own.as_str())
}

impl LaneRow {
    fn of(lane: &LaneSnapshot, viewer: &Viewer) -> Self {
        let count = |read: fn(&queue::LaneStatus) -> u64| {
            lane.queued.as_ref().map_or_else(|| "?".to_owned(), |queued| words::number(read(queued)))
        };
        let is_paused = lane.pause.is_some() || lane.queued.as_ref().is_some_and(|queued| queued.paused);
        let name = lane.lane.as_str();
        let about = match lane.lane {
            Lane::Transactional => "single mails",
            Lane::Bulk => "mails of batches",
            Lane::Callback => "callbacks to merchants",
            Lane::Batch => "batches that are made into mails",
        };
        let button = viewer.acts_on_everything().then(|| {
            let button = match is_paused {
                true => Button::new(viewer, "/queue/resume", "Resume").primary(),
                false => Button::new(viewer, "/queue/pause", "Pause")
                    .danger(format!("Pause the lane {name}? Nothing of it is sent until it is resumed.")),
            };
            button.with("kind", "lane").with("name", name)
        });
        Self {
            name,
            about,
            state: if is_paused { Badge::warns("paused") } else { Badge::good("flows") },
            mails: lane.mails.map_or_else(|| "–".to_owned(), words::counted),
            waiting: count(|queued| queued.waiting),
            aside: count(|queued| queued.set_aside),
            leased: count(|queued| queued.leased),
            button,
        }
    }
}

impl PauseRow {
    fn of(pause: &PauseRecord) -> Self {
        Self {
            kind: pause.scope.kind(),
            name: pause.scope.name().to_owned(),
            reason: pause.reason.clone(),
            by: pause.actor.clone(),
            since: Ago(pause.at),
            until: pause.ends_at.map(Time),
            is_suspension: pause.is_suspension,
        }
    }
}

impl LineRow {
    fn of(line: &LineStatus) -> Self {
        Self {
            name: queue::parts(&line.name)
                .map(|part| part.replacen(':', " ", 1))
                .collect::<Vec<_>>()
                .join(" and "),
            reason: line.reason.to_string().replace('_', " "),
            waiting: words::number(line.waiting),
            until: line.until.map(Time),
        }
    }
}

/// What a form is about, where this operator may act on it.
fn scope_of(act: &Act) -> Result<PauseScope, PageError> {
    act.viewer.may_act()?;
    let fields = &act.fields;
    let scope = PauseScope::parse(fields.need("kind")?, fields.need("name")?);
    let scope = scope.map_err(|error| PageError::bad(format!("{error}.")))?;
    match (&scope, &act.viewer.merchant) {
        (_, None) => Ok(scope),
        (PauseScope::Merchant(merchant), Some(own)) if merchant == own => Ok(scope),
        _ => Err(PageError::forbidden("You may pause your own merchant alone.")),
    }
}

async fn pause(State(board): State<Arc<DashboardState>>, act: Act) -> Result<Response, PageError> {
    let scope = scope_of(&act)?;
    let length = act.fields.get("for")?.map(length).transpose()?;
    let said = Flash::done(format!("The {} {} is paused.", scope.kind(), scope.name()));
    let pause = NewPause::new(scope, act.fields.get("reason")?, length)?;
    pause.begin(&act.viewer.store(&board.app), &board.app.current().smtp.routes).await?;
    Ok(back_to("/queue", said))
}

fn length(text: &str) -> Result<Duration, PageError> {
    duration::parse(text).ok_or_else(|| PageError::bad("How long is a duration such as 30m, 2h or 1d."))
}

async fn resume(State(board): State<Arc<DashboardState>>, act: Act) -> Result<Response, PageError> {
    let scope = scope_of(&act)?;
    let said = match act.viewer.store(&board.app).resume(&scope).await? {
        true => Flash::done(format!("The {} {} goes on.", scope.kind(), scope.name())),
        false => Flash::not(format!("The {} {} was not paused.", scope.kind(), scope.name())),
    };
    Ok(back_to("/queue", said))
}
