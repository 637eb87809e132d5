//! `/`: whether mail flows, and if not, why not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use crate::{
    clock,
    dashboard::{
        alarms::{Alarm, alarms},
        causes::meaning_of,
        charts::{Chart, Series, Span},
        layout,
        page_error::PageError,
        parts::{Ago, Badge},
        rates,
        state::DashboardState,
        status_snapshot::{LaneSnapshot, StatusSnapshot},
        viewer::Viewer,
        words,
    },
    html::written,
    mail::{Lane, ReplyClass, Timestamp},
    smtp::{BreakerState, RouteStatus},
    store::{ActivitySpan, RouteUse, WorkerRecord},
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/", get(show))
}

#[derive(Template)]
#[template(path = "dashboard/overview.html")]
struct Page {
    fragments: String,
}

#[derive(Template)]
#[template(path = "dashboard/overview_parts.html")]
struct Parts<'a> {
    viewer: &'a Viewer,
    alarms: Vec<Alarm>,
    tiles: Vec<Tile>,
    lanes: Vec<LaneRow>,
    routes: Vec<RouteRow>,
    failures: Vec<ClassRow>,
    workers: Vec<WorkerRow>,
    charts: Vec<Chart>,
}

/// A figure that is read from afar.
struct Tile {
    name: &'static str,
    figure: String,
    note: String,
    href: Option<&'static str>,
}

struct LaneRow {
    name: &'static str,
    state: Badge,
    mails: String,
    waiting: String,
    aside: String,
    leased: String,
}

struct RouteRow {
    name: String,
    state: Badge,
    busy: String,
    rate: String,
    note: String,
}

struct ClassRow {
    class: String,
    meaning: &'static str,
    hour: String,
    day: String,
    href: String,
}

struct WorkerRow {
    host: String,
    pid: u32,
    state: Badge,
    seen: Ago,
}

async fn show(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    let fragments = fragments(&board, &viewer).await?;
    Ok(layout::live(&viewer, "Overview", "overview", &Page { fragments }))
}

pub(super) async fn fragments(board: &DashboardState, viewer: &Viewer) -> Result<String, PageError> {
    let snapshot = StatusSnapshot::of(board, viewer.merchant.as_ref()).await;
    let for_all = viewer.merchant.is_none();
    let lanes = snapshot.lanes.iter().filter(|lane| for_all && lane.lane != Lane::Batch).map(LaneRow::of);
    let routes = snapshot.facts.routes.iter().filter(|_| for_all);
    let (uses, sends) = (snapshot.facts.route_uses(), snapshot.facts.sends);
    let silence = board.app.config.worker.silence;
    Ok(written(&Parts {
        viewer,
        alarms: alarms(&snapshot.facts, viewer.merchant.as_ref()),
        tiles: tiles(&snapshot),
        lanes: lanes.collect(),
        routes: routes
            .map(|route| {
                let state = state_of_route(route, uses.of(&route.name), sends);
                RouteRow::of(route, state, rate_used(board, &snapshot, &route.name))
            })
            .collect(),
        failures: if for_all { failures(&snapshot) } else { Vec::new() },
        workers: snapshot
            .workers
            .iter()
            .filter(|_| for_all)
            .map(|worker| WorkerRow::of(worker, silence))
            .collect(),
        charts: if for_all { charts(&snapshot) } else { Vec::new() },
    }))
}

fn tiles(snapshot: &StatusSnapshot) -> Vec<Tile> {
    let facts = &snapshot.facts;
    let mut tiles = Vec::new();
    if let Some((sent, failed)) = facts.last_hour {
        let total = (sent + failed).max(1);
        let recorded =
            snapshot.hour.iter().filter(|span| span.what == "recorded").map(|span| span.number).sum();
        tiles.push(Tile {
            name: "Sent, last hour",
            figure: words::number(sent),
            note: format!("{:.1} a second on average", sent as f64 / 3_600.0),
            href: None,
        });
        tiles.push(Tile {
            name: "Failed, last hour",
            figure: words::number(failed),
            note: format!("{:.1} % of what was settled", failed as f64 / total as f64 * 100.0),
            href: Some("/dead-letters"),
        });
        tiles.push(Tile {
            name: "Recorded, last hour",
            figure: words::number(recorded),
            note: "by requests and of batches".to_owned(),
            href: None,
        });
    }
    tiles.push(Tile {
        name: "On their way",
        figure: facts.waiting.map_or_else(unanswered, words::counted),
        note: "queued, sending or deferred".to_owned(),
        href: Some("/mails?q=state%3Aqueued"),
    });
    tiles.push(Tile {
        name: "Oldest waits",
        figure: match facts.oldest {
            Some(Some(oldest)) => words::length(oldest),
            Some(None) => "–".to_owned(),
            None => unanswered(),
        },
        note: match facts.oldest {
            Some(None) => "nothing waits",
            Some(Some(_)) | None => "since it was recorded",
        }
        .to_owned(),
        href: None,
    });
    tiles.push(Tile {
        name: "Dead letters",
        figure: snapshot.failed.map_or_else(unanswered, words::counted),
        note: "failed for good".to_owned(),
        href: Some("/dead-letters"),
    });
    tiles
}

/// The figure of what was asked for and not answered.
fn unanswered() -> String {
    "?".to_owned()
}

impl LaneRow {
    fn of(lane: &LaneSnapshot) -> Self {
        let of = |read: fn(&crate::queue::LaneStatus) -> u64| {
            lane.queued.as_ref().map_or_else(|| "?".to_owned(), |queued| words::number(read(queued)))
        };
        let is_paused = lane.pause.is_some() || lane.queued.as_ref().is_some_and(|queued| queued.paused);
        let state = match (is_paused, &lane.queued) {
            (true, _) => Badge::warns("paused"),
            (_, None) => Badge::bad("no answer"),
            (_, Some(_)) => Badge::good("flows"),
        };
        Self {
            name: lane.lane.as_str(),
            state,
            mails: lane.mails.map_or_else(|| "–".to_owned(), words::counted),
            waiting: of(|queued| queued.waiting),
            aside: of(|queued| queued.set_aside),
            leased: of(|queued| queued.leased),
        }
    }
}

/// How a route is, in a word. A process that sends nothing does not know whether its relay works.
pub(super) fn state_of_route(route: &RouteStatus, route_use: RouteUse, is_known: bool) -> Badge {
    match route_use {
        RouteUse::Drained => return Badge::warns("drained"),
        RouteUse::Paused(_) => return Badge::warns("paused"),
        RouteUse::InUse if !is_known => return Badge::over("known to workers"),
        RouteUse::InUse => {}
    }
    match route.breaker {
        _ if route.stopped.is_some() => Badge::bad("refuses us"),
        BreakerState::Closed => Badge::good("works"),
        BreakerState::Open { .. } => Badge::bad("away"),
        BreakerState::HalfOpen => Badge::warns("being tried"),
    }
}

/// How much of its rate a route used.
fn rate_used(board: &DashboardState, snapshot: &StatusSnapshot, name: &str) -> String {
    let current = board.app.current();
    let settings = current.smtp.routes.iter().find(|route| route.name == name);
    let rate = settings.and_then(|route| route.rate.as_deref());
    let Some(rate) = rate.and_then(|rate| rate.parse().ok()) else { return "no limit".to_owned() };
    format!("{} %", rates::used(name, rate, &snapshot.hour, &snapshot.day, clock::now()).percent)
}

impl RouteRow {
    fn of(route: &RouteStatus, state: Badge, rate: String) -> Self {
        let fault = route.stopped.as_ref().or(route.last_error.as_ref());
        Self {
            name: route.name.clone(),
            state,
            busy: format!("{} of {}", route.busy, route.connections),
            rate,
            note: fault.map(|fault| format!("{}: {}", words::time(fault.at), fault.text)).unwrap_or_default(),
        }
    }
}

impl WorkerRow {
    fn of(worker: &WorkerRecord, silence: Duration) -> Self {
        Self {
            host: name_of(worker),
            pid: worker.pid,
            state: state_of_worker(worker, silence),
            seen: Ago(worker.heartbeat_at),
        }
    }
}

/// The machine of a worker, where it has a name.
pub(super) fn name_of(worker: &WorkerRecord) -> String {
    if worker.host.is_empty() { "unnamed machine".to_owned() } else { worker.host.clone() }
}

/// How a worker is, in a word.
pub(super) fn state_of_worker(worker: &WorkerRecord, silence: Duration) -> Badge {
    match worker.heartbeat_at {
        Timestamp(0) => Badge::over("signed off"),
        at if clock::now().since(at) < silence => Badge::good("alive"),
        _ => Badge::bad("silent"),
    }
}

/// What attempts that did not succeed meant, the most frequent first.
fn failures(snapshot: &StatusSnapshot) -> Vec<ClassRow> {
    let count = |spans: &[ActivitySpan]| {
        let mut classes = BTreeMap::<String, u64>::new();
        for span in spans.iter().filter(|span| span.what == "attempt") {
            *classes.entry(span.detail.clone()).or_default() += span.number;
        }
        classes
    };
    let (hour, day) = (count(&snapshot.hour), count(&snapshot.day));
    let mut classes: Vec<_> =
        day.iter().filter(|(class, _)| *class != ReplyClass::Accepted.as_str()).collect();
    classes.sort_by_key(|(class, number)| (std::cmp::Reverse(hour.get(*class)), std::cmp::Reverse(**number)));
    let rows = classes.into_iter().map(|(class, number)| ClassRow {
        meaning: class.parse().map_or("", meaning_of),
        hour: words::number(hour.get(class).copied().unwrap_or(0)),
        day: words::number(*number),
        href: format!("/mails?q=class%3A{class}"),
        class: class.clone(),
    });
    rows.collect()
}

const SERIES: [Series; 4] = [
    Series { name: "sent", tone: "good" },
    Series { name: "put off", tone: "warn" },
    Series { name: "failed", tone: "bad" },
    Series { name: "cancelled, expired or held", tone: "over" },
];

fn charts(snapshot: &StatusSnapshot) -> Vec<Chart> {
    let now = clock::now().millis();
    let spans = |rows: &[ActivitySpan], minutes: i64, number: i64| {
        let length = minutes * 60_000;
        let last = now / length * length;
        let empty =
            |place: i64| Span { from: Timestamp(last - place * length), values: vec![0; SERIES.len()] };
        let mut spans: Vec<_> = (0..number).rev().map(empty).collect();
        for row in rows {
            let series = match (row.what.as_str(), row.detail.as_str()) {
                ("settled", "sent") => 0,
                ("settled", "deferred") => 1,
                ("settled", "failed" | "bounced") => 2,
                ("settled", _) => 3,
                _ => continue,
            };
            if let Some(span) = spans.iter_mut().find(|span| span.from == row.from) {
                span.values[series] += row.number;
            }
        }
        spans
    };
    vec![
        Chart::of("hour", "The last hour, minute by minute", &SERIES, &spans(&snapshot.hour, 1, 60)),
        Chart::of("day", "The last day, in quarters of an hour", &SERIES, &spans(&snapshot.day, 15, 96)),
    ]
}
