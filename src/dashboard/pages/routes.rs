//! `/routes`: the relays, how each is, and the limits; draining one.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};

use super::overview::state_of_route;
use crate::{
    clock,
    dashboard::{
        form::Act,
        layout,
        page_error::PageError,
        parts::{Badge, Button, Time},
        rates,
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    html::written,
    smtp::{RouteSettings, RouteStatus},
    store::{ActivitySpan, RouteUse},
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/routes", get(show))
        .route("/routes/drain", post(drain))
        .route("/routes/undrain", post(undrain))
}

#[derive(Template)]
#[template(path = "dashboard/routes.html")]
struct Page {
    fragments: String,
    limits: Vec<Limit>,
}

#[derive(Template)]
#[template(path = "dashboard/routes_parts.html")]
struct Parts {
    routes: Vec<RouteRow>,
}

struct RouteRow {
    name: String,
    host: String,
    state: Badge,
    /// Until when it is paused, where it is.
    pause: Option<Option<Time>>,
    fault: Option<(Time, String)>,
    connections: String,
    rate: String,
    used: Option<rates::Used>,
    preference: String,
    takes: String,
    button: Option<Button>,
}

struct Limit {
    what: String,
    rate: String,
}

async fn show(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    viewer.sees_everything()?;
    let fragments = fragments(&board, &viewer).await?;
    Ok(layout::live(&viewer, "Routes", "routes", &Page { fragments, limits: limits(&board) }))
}

pub(super) async fn fragments(board: &DashboardState, viewer: &Viewer) -> Result<String, PageError> {
    viewer.sees_everything()?;
    let (uses, sends) = (board.app.store.route_uses().await?, board.app.worker.sends());
    let all = board.app.routes.status();
    let done = Done {
        hour: board.app.store.activity(clock::now() - Duration::from_secs(60 * 60), 1).await?,
        day: board.app.store.activity(clock::now() - Duration::from_secs(24 * 60 * 60), 15).await?,
    };
    let current = board.app.current();
    let routes = current.smtp.routes.iter().map(|settings| {
        let status = all.iter().find(|status| status.name == settings.name);
        let used = done.of(settings);
        RouteRow { used, ..RouteRow::of(settings, status, (uses.of(&settings.name), sends), viewer) }
    });
    Ok(written(&Parts { routes: routes.collect() }))
}

/// What was done lately.
struct Done {
    hour: Vec<ActivitySpan>,
    day: Vec<ActivitySpan>,
}

impl Done {
    fn of(&self, settings: &RouteSettings) -> Option<rates::Used> {
        let rate = settings.rate.as_deref()?.parse().ok()?;
        Some(rates::used(&settings.name, rate, &self.hour, &self.day, clock::now()))
    }
}

impl RouteRow {
    /// `sends`: whether this process sends mails, and so knows how the relay is.
    fn of(
        settings: &RouteSettings,
        status: Option<&RouteStatus>,
        (route_use, sends): (RouteUse, bool),
        viewer: &Viewer,
    ) -> Self {
        let name = settings.name.clone();
        let fault = status.and_then(|status| status.stopped.as_ref().or(status.last_error.as_ref()));
        let button = viewer.acts_on_everything().then(|| {
            let button = match route_use {
                RouteUse::Drained => Button::new(viewer, "/routes/undrain", "Use it again").primary(),
                RouteUse::InUse | RouteUse::Paused(_) => Button::new(viewer, "/routes/drain", "Drain")
                    .danger(format!(
                        "Drain the route {name}? Nothing new goes over it; other routes take over."
                    )),
            };
            button.with("name", name.as_str())
        });
        Self {
            host: format!("{}:{}", settings.host, settings.port),
            state: status.map_or(Badge::over("not here"), |status| state_of_route(status, route_use, sends)),
            pause: match route_use {
                RouteUse::Paused(until) => Some(until.map(Time)),
                RouteUse::InUse | RouteUse::Drained => None,
            },
            fault: fault.map(|fault| (Time(fault.at), format!("{}: {}", fault.phase, fault.text))),
            connections: status.map_or_else(String::new, |status| {
                format!("{} busy, {} idle, at most {}", status.busy, status.idle, status.connections)
            }),
            rate: settings.rate.clone().unwrap_or_else(|| "no limit".to_owned()),
            used: None,
            preference: format!("priority {}, weight {}", settings.priority, settings.weight),
            takes: takes(settings),
            button,
            name,
        }
    }
}

/// Which mails a route is for.
fn takes(settings: &RouteSettings) -> String {
    let list = |words: Vec<String>| words.join(", ");
    let mut parts = Vec::new();
    if !settings.lanes.is_empty() {
        let lanes = settings.lanes.iter().map(|lane| lane.as_str().to_owned());
        parts.push(format!("lanes {}", list(lanes.collect())));
    }
    if !settings.merchants.is_empty() {
        let merchants = settings.merchants.iter().map(ToString::to_string);
        parts.push(format!("merchants {}", list(merchants.collect())));
    }
    if !settings.sender_domains.is_empty() {
        parts.push(format!("senders at {}", list(settings.sender_domains.clone())));
    }
    if parts.is_empty() { "all mails".to_owned() } else { parts.join("; ") }
}

fn limits(board: &DashboardState) -> Vec<Limit> {
    let settings = &board.app.current().limits;
    let whole = settings
        .mails
        .map(|rate| Limit { what: "The whole installation".to_owned(), rate: rate.to_string() });
    let each = settings.per_merchant.map(|rate| Limit {
        what: "Each merchant, unless it has a rate of its own".to_owned(),
        rate: rate.to_string(),
    });
    let domains = settings.domains.iter().map(|domain| Limit {
        what: format!("Recipients at {}", words::beginning(&domain.names.join(", "), 300)),
        rate: domain.rate.to_string(),
    });
    whole.into_iter().chain(each).chain(domains).collect()
}

/// The route that a form names, where this operator may act on it.
fn name_of<'a>(board: &DashboardState, act: &'a Act) -> Result<&'a str, PageError> {
    act.viewer.may_act()?;
    act.viewer.sees_everything()?;
    let name = act.fields.need("name")?;
    let is_known = board.app.current().smtp.routes.iter().any(|route| route.name == name);
    if is_known { Ok(name) } else { Err(PageError::not_found("route")) }
}

async fn drain(State(board): State<Arc<DashboardState>>, act: Act) -> Result<Response, PageError> {
    let name = name_of(&board, &act)?;
    let said = match act.viewer.store(&board.app).drain_route(name).await? {
        true => Flash::done(format!("The route {name} is drained: nothing new goes over it.")),
        false => Flash::not(format!("The route {name} was drained already.")),
    };
    Ok(back_to("/routes", said))
}

async fn undrain(State(board): State<Arc<DashboardState>>, act: Act) -> Result<Response, PageError> {
    let name = name_of(&board, &act)?;
    let said = match act.viewer.store(&board.app).undrain_route(name).await? {
        true => Flash::done(format!("The route {name} is used again.")),
        false => Flash::not(format!("The route {name} was not drained.")),
    };
    Ok(back_to("/routes", said))
}
