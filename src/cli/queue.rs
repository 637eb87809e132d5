//! `postroom queue list|pause|resume`: shows what waits and for what, and holds lanes, merchants, routes and domains back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    context::{Context, WrongUsage, print},
    daemon_status,
    output::print_list,
    table::{Cell, Table, Tone, row},
    times::{age, parse_duration},
};
use crate::{
    admission::{Begun, NewPause},
    app::App,
    http::{LineView, QueueView, RouteView},
    mail::{Lane, MerchantId, PauseScope},
    store::{Backlog, Depth, PauseRecord},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show what waits in lanes, of merchants, for routes and to domains, and what is paused.
    List {
        /// How many merchants and domains, those with most waiting first.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Send nothing of a lane, merchant, route or domain. What is in progress is finished.
    Pause {
        #[command(flatten)]
        scope: Scope,
        /// Why, for those who look later.
        #[arg(long)]
        reason: String,
        /// When the pause ends by itself, such as 2h; default: when it is resumed.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        length: Option<Duration>,
    },
    /// End a pause.
    Resume {
        #[command(flatten)]
        scope: Scope,
    },
}

/// What is paused or resumed.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Scope {
    /// A lane: transactional, callback, batch or bulk.
    #[arg(long)]
    lane: Option<Lane>,
    /// The mails of a merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// The mails over a route, by its name in the configuration.
    #[arg(long)]
    route: Option<String>,
    /// The mails to a domain, such as gmail.com.
    #[arg(long)]
    domain: Option<String>,
}

impl Scope {
    fn parsed(self) -> Result<PauseScope, WrongUsage> {
        let Self { lane, merchant, route, domain } = self;
        let lane = lane.map(PauseScope::Lane).or_else(|| merchant.map(PauseScope::Merchant));
        match (lane, route, domain) {
            (Some(scope), _, _) => Ok(scope),
            (None, Some(route), _) => Ok(PauseScope::Route(route)),
            (None, None, Some(domain)) => PauseScope::parse("domain", &domain)
                .map_err(|_| WrongUsage(format!("--domain: `{domain}` is no domain, as in gmail.com"))),
            (None, None, None) => Err(WrongUsage("name a lane, a merchant, a route or a domain".to_owned())),
        }
    }
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { limit } => list(context, limit).await,
        Command::Pause { scope, reason, length } => pause(&context, scope.parsed()?, &reason, length).await,
        Command::Resume { scope } => resume(&context, &scope.parsed()?).await,
    }
}

async fn pause(
    context: &Context,
    scope: PauseScope,
    reason: &str,
    length: Option<Duration>,
) -> anyhow::Result<()> {
    let pause = NewPause::new(scope.clone(), Some(reason), length);
    let pause = pause.map_err(|error| WrongUsage(error.to_string()))?;
    let store = context.store().await?;
    let Begun { until, is_news } = pause.begin(&store, &context.config.smtp.routes).await?;
    store.close().await;
    anyhow::ensure!(is_news, "{scope} is paused already, with this reason and this end");
    let people = match until {
        Some(until) => format!("paused {scope} until {until}"),
        None => format!("paused {scope} until it is resumed"),
    };
    print(
        context.json,
        people,
        &json!({"scope": scope.kind(), "name": scope.name(), "paused": true, "reason": reason, "until": until}),
    )
}

async fn resume(context: &Context, scope: &PauseScope) -> anyhow::Result<()> {
    let store = context.store().await?;
    let is_resumed = store.resume(scope).await?;
    store.close().await;
    anyhow::ensure!(is_resumed, "{scope} is not paused");
    print(
        context.json,
        format!("resumed {scope}"),
        &json!({"scope": scope.kind(), "name": scope.name(), "paused": false}),
    )
}

async fn list(context: Context, limit: u32) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let (backlog, pauses) = (app.store.backlog(limit).await?, app.store.pauses().await?);
    let drained = app.store.drained_routes().await?;
    let queue = queue_of(&app).await;
    app.store.close().await;
    let seen = Seen { backlog, pauses, drained, queue };
    let current = app.current();
    let names = current.smtp.routes.iter().map(|route| route.name.clone());
    let rows = seen.rows(names.collect());
    let mut table = Table::new(&["SCOPE", "NAME", "DUE", "LATER", "OLDEST", "ASIDE", "STATE"]);
    for row in &rows {
        let oldest = row.depth.and_then(|depth| depth.oldest_due).map(age).unwrap_or_default();
        let number = |of: fn(Depth) -> u64| row.depth.map(|depth| of(depth).to_string()).unwrap_or_default();
        let aside = row.aside.as_ref().map(|line| line.waiting.to_string()).unwrap_or_default();
        let (due, later) = (number(|depth| depth.due), number(|depth| depth.later));
        table.add(row![row.scope, &row.name, due, later, oldest, aside, row.state()]);
    }
    let mut programs = json!({"lanes": [], "merchants": [], "routes": [], "domains": [], "queue_answers": seen.queue.is_some()});
    for row in &rows {
        if let Some(Value::Array(list)) = programs.get_mut(format!("{}s", row.scope)) {
            list.push(row.view());
        }
    }
    print_list(json_wanted, &table, "there is nothing to show", &programs)
}

/// What is in the queue: Redis tells everybody, an embedded one only its daemon.
pub(super) async fn queue_of(app: &App) -> Option<QueueView> {
    let daemon = daemon_status::ask(&app.config).await;
    if app.config.queue.url.starts_with("memory:") {
        return daemon;
    }
    let mut view = QueueView::of(app).await.ok()?;
    // This process has spoken to no relay.
    view.routes = daemon.map(|daemon| daemon.routes).unwrap_or_default();
    Some(view)
}

/// Until when a route is away and why, where it is.
pub(super) fn away(route: &RouteView) -> Option<String> {
    let (until, fault) = (route.away_until?, route.fault.as_deref().unwrap_or_default());
    Some(format!("away until {until} {fault}").trim_end().to_owned())
}

/// All that is known.
struct Seen {
    backlog: Backlog,
    pauses: Vec<PauseRecord>,
    drained: Vec<String>,
    queue: Option<QueueView>,
}

/// One lane, merchant, route or domain.
struct Row {
    scope: &'static str,
    name: String,
    depth: Option<Depth>,
    aside: Option<LineView>,
    pauses: Vec<PauseRecord>,
    is_drained: bool,
    away: Option<String>,
}

impl Seen {
    fn rows(&self, routes: Vec<String>) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (lane, depth) in &self.backlog.lanes {
            rows.push(self.row("lane", lane.to_string(), Some(*depth)));
        }
        for (merchant, depth) in &self.backlog.merchants {
            rows.push(self.row("merchant", merchant.to_string(), Some(*depth)));
        }
        for name in routes {
            rows.push(self.row("route", name, None));
        }
        for (domain, depth) in &self.backlog.domains {
            rows.push(self.row("domain", domain.clone(), Some(*depth)));
        }
        // What is paused or set aside is shown also where little of it waits.
        for pause in &self.pauses {
            self.add_missing(&mut rows, pause.scope.kind(), pause.scope.name());
        }
        for line in self.queue.iter().flat_map(|queue| &queue.lines) {
            if let Some((kind, name)) = line.name.split_once(':') {
                let kinds = ["lane", "merchant", "route", "domain"];
                if let Some(kind) = kinds.into_iter().find(|each| *each == kind) {
                    self.add_missing(&mut rows, kind, name);
                }
            }
        }
        let order = ["lane", "merchant", "route", "domain"];
        rows.sort_by_key(|row| order.iter().position(|each| *each == row.scope));
        rows
    }

    fn add_missing(&self, rows: &mut Vec<Row>, scope: &'static str, name: &str) {
        if !rows.iter().any(|row| row.scope == scope && row.name == name) {
            rows.push(self.row(scope, name.to_owned(), None));
        }
    }

    fn row(&self, scope: &'static str, name: String, depth: Option<Depth>) -> Row {
        let lines = self.queue.iter().flat_map(|queue| &queue.lines);
        let is_it = |pause: &&PauseRecord| pause.scope.kind() == scope && pause.scope.name() == name;
        let is_route = scope == "route";
        let mut routes = self.queue.iter().flat_map(|queue| &queue.routes);
        let away = routes.find(|route| is_route && route.name == name).and_then(away);
        Row {
            depth,
            aside: lines.clone().find(|line| line.name == format!("{scope}:{name}")).cloned(),
            pauses: self.pauses.iter().filter(is_it).cloned().collect(),
            is_drained: is_route && self.drained.contains(&name),
            away,
            scope,
            name,
        }
    }
}

impl Row {
    fn state(&self) -> Cell {
        if let Some(pause) = self.pauses.first() {
            let until = pause.ends_at.map(|until| format!(" until {until}")).unwrap_or_default();
            let by = Some(&pause.actor).filter(|actor| !actor.is_empty());
            let by = by.map(|actor| format!(" ({actor})")).unwrap_or_default();
            let word = if pause.is_suspension { "suspended" } else { "paused" };
            let reason = if pause.is_suspension { String::new() } else { format!(": {}", pause.reason) };
            return Cell::of(format!("{word}{until}{reason}{by}"), Tone::Warning);
        }
        if self.is_drained {
            return Cell::of("drained", Tone::Warning);
        }
        if let Some(away) = &self.away {
            return Cell::of(away, Tone::Bad);
        }
        match &self.aside {
            Some(line) => {
                let until = line.until.map(|until| format!(" until {until}")).unwrap_or_default();
                Cell::of(format!("waits: {}{until}", line.reason), Tone::Faint)
            }
            None => Cell::default(),
        }
    }

    fn view(&self) -> Value {
        let pause = |pause: &PauseRecord| {
            json!({
                "reason": pause.reason,
                "by": pause.actor,
                "at": pause.at,
                "until": pause.ends_at,
                "suspended": pause.is_suspension,
            })
        };
        json!({
            "name": self.name,
            "due": self.depth.map(|depth| depth.due),
            "later": self.depth.map(|depth| depth.later),
            "oldest_due_at": self.depth.and_then(|depth| depth.oldest_due),
            "set_aside": self.aside.as_ref().map(|line| json!({
                "waiting": line.waiting, "reason": line.reason, "until": line.until,
            })),
            "paused": !self.pauses.is_empty(),
            "pauses": self.pauses.iter().map(pause).collect::<Vec<_>>(),
            "drained": self.is_drained,
            "away": self.away,
        })
    }
}
