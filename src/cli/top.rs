//! `postroom top`: a live view of what goes, what waits and why. In a pipe, and with `--once`, it is shown once.
//!
//! What waits is in the database. How fast mails go, and how the relays are, the daemon on this machine tells over its admin
//! listener; without one these parts are left out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    context::Context,
    daemon_status,
    metrics_text::{Counters, rates},
    output::{print, write_out},
    queue::{away, queue_of},
    screen::Screen,
    table::{Cell, Table, Tone, cut, row},
    times::{age, parse_duration},
};
use crate::{
    app::App,
    clock,
    http::{LaneView, QueueView, RouteView},
    mail::Lane,
    store::{Backlog, PauseRecord},
};

/// Between the two looks of a view that is shown once: rates need two.
const SHORT: Duration = Duration::from_secs(1);
/// How many merchants are shown.
const MERCHANTS: u32 = 5;
/// How many lines of what mails wait for.
const LINES: usize = 10;

/// How it is shown.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Between two looks.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    every: Duration,
    /// Show it once.
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let screen = Screen::of_standard_output();
    let (is_once, json_wanted) = (arguments.once || !screen.redraws || context.json, context.json);
    let app = context.app().await?;
    let mut before = Sample::take(&app).await;
    if is_once {
        sleep(SHORT).await;
        let view = View::of(&app, &before, &Sample::take(&app).await).await?;
        app.store.close().await;
        return match json_wanted {
            true => print(true, "", &view.programs()),
            false => write_out(&view.text(screen)),
        };
    }
    write_out("\x1b[?25l\x1b[2J")?;
    let shown = tokio::select! {
        shown = redraw(&app, &mut before, arguments.every.max(Duration::from_millis(200))) => shown,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    write_out("\x1b[?25h\n")?;
    shown
}

async fn redraw(app: &App, before: &mut Sample, every: Duration) -> anyhow::Result<()> {
    loop {
        let now = Sample::take(app).await;
        let text = View::of(app, before, &now).await?.text(Screen::of_standard_output());
        *before = now;
        let screen = Screen::of_standard_output();
        let mut frame = "\x1b[H".to_owned();
        for line in text.lines().take(screen.height.saturating_sub(1)) {
            frame.push_str(line);
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        write_out(&frame)?;
        sleep(every).await;
    }
}

/// The daemon's counters at a moment.
struct Sample {
    at: Instant,
    counters: Option<Counters>,
}

impl Sample {
    async fn take(app: &App) -> Self {
        let counters = daemon_status::metrics(&app.config).await.map(|text| Counters::read(&text));
        Self { at: Instant::now(), counters }
    }
}

/// What is shown.
struct View {
    backlog: Backlog,
    pauses: Vec<PauseRecord>,
    drained: Vec<String>,
    queue: Option<QueueView>,
    routes: Vec<String>,
    /// Mails recorded in a second, where the daemon tells.
    recorded: Option<f64>,
    /// Attempts in a second, by route and outcome.
    attempts: BTreeMap<(String, String), f64>,
    /// Failed attempts in a second, by class.
    classes: BTreeMap<String, f64>,
}

impl View {
    async fn of(app: &App, before: &Sample, now: &Sample) -> anyhow::Result<Self> {
        let (mut attempts, mut classes, mut recorded) = (BTreeMap::new(), BTreeMap::new(), None);
        if let (Some(first), Some(second)) = (&before.counters, &now.counters) {
            let took = now.at.duration_since(before.at);
            let sum: f64 =
                rates(first, second, took, "postroom_mails_recorded_total").map(|(_, rate)| rate).sum();
            recorded = Some(sum);
            for (labels, rate) in rates(first, second, took, "postroom_attempts_total") {
                let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
                let outcome = label("outcome");
                if outcome != "accepted" {
                    *classes.entry(label("class")).or_default() += rate;
                }
                *attempts.entry((label("route"), outcome)).or_default() += rate;
            }
        }
        Ok(Self {
            backlog: app.store.backlog(MERCHANTS).await?,
            pauses: app.store.pauses().await?,
            drained: app.store.drained_routes().await?,
            queue: queue_of(app).await,
            routes: app.current().smtp.routes.iter().map(|route| route.name.clone()).collect(),
            recorded,
            attempts,
            classes,
        })
    }

    fn attempts(&self, route: Option<&str>, outcome: &str) -> f64 {
        let is_it = |((each, came_to), _): &(&(String, String), &f64)| {
            came_to == outcome && route.is_none_or(|route| each == route)
        };
        self.attempts.iter().filter(is_it).fold(0.0, |sum, (_, rate)| sum + rate)
    }

    fn summary(&self) -> String {
        match self.recorded {
            Some(recorded) => format!(
                "recorded {recorded:.1}/s  sent {:.1}/s  deferred {:.1}/s  refused {:.1}/s",
                self.attempts(None, "accepted"),
                self.attempts(None, "transient"),
                self.attempts(None, "permanent"),
            ),
            None => "no daemon answers at admin.listen: rates and relays are not known".to_owned(),
        }
    }

    fn text(&self, screen: Screen) -> String {
        let title = format!("postroom  {}", clock::now());
        let mut text = format!("{}\n{}\n", cut(&title, screen.width), cut(&self.summary(), screen.width));
        for table in [self.lanes(), self.merchants(), self.routes(), self.lines(), self.failures()] {
            if !table.is_empty() {
                text.push('\n');
                text.push_str(&table.on(screen));
            }
        }
        text
    }

    fn pause_of(&self, kind: &str, name: &str) -> Option<Cell> {
        let pause =
            self.pauses.iter().find(|pause| pause.scope.kind() == kind && pause.scope.name() == name)?;
        let until = pause.ends_at.map(|until| format!(" until {until}")).unwrap_or_default();
        Some(Cell::of(format!("paused{until}: {}", pause.reason), Tone::Warning))
    }

    /// What the queue says of a lane.
    fn queued(&self, lane: Lane) -> Option<&LaneView> {
        self.queue.iter().flat_map(|queue| &queue.lanes).find(|each| each.lane == lane)
    }

    /// What the daemon says of a route.
    fn known(&self, route: &str) -> Option<&RouteView> {
        self.queue.iter().flat_map(|queue| &queue.routes).find(|each| each.name == route)
    }

    fn lanes(&self) -> Table {
        let mut table = Table::new(&["LANE", "DUE", "LATER", "OLDEST", "ASIDE", "RUNNING", "STATE"]);
        for (lane, depth) in &self.backlog.lanes {
            let queued = self.queued(*lane);
            let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
            let oldest = depth.oldest_due.map(age).unwrap_or_default();
            let state = self.pause_of("lane", lane.as_str()).unwrap_or_default();
            let (aside, leased) =
                (number(queued.map(|lane| lane.set_aside)), number(queued.map(|lane| lane.leased)));
            table.add(row![lane, depth.due, depth.later, oldest, aside, leased, state]);
        }
        table
    }

    fn merchants(&self) -> Table {
        let mut table = Table::new(&["MERCHANT", "DUE", "LATER", "OLDEST", "STATE"]);
        for (merchant, depth) in self.backlog.merchants.iter().filter(|(_, depth)| depth.due > 0) {
            let oldest = depth.oldest_due.map(age).unwrap_or_default();
            let state = self.pause_of("merchant", merchant.as_str()).unwrap_or_default();
            table.add(row![merchant, depth.due, depth.later, oldest, state]);
        }
        table
    }

    fn routes(&self) -> Table {
        let mut table = Table::new(&["ROUTE", "SENT/s", "DEFERRED/s", "REFUSED/s", "OPEN", "STATE"]);
        for name in &self.routes {
            let known = self.known(name);
            let rate = |outcome: &str| match self.recorded {
                Some(_) => format!("{:.1}", self.attempts(Some(name), outcome)),
                None => String::new(),
            };
            let state = match (self.pause_of("route", name), known.and_then(away)) {
                (Some(paused), _) => paused,
                (None, _) if self.drained.contains(name) => Cell::of("drained", Tone::Warning),
                (None, Some(away)) => Cell::of(away, Tone::Bad),
                (None, None) => Cell::default(),
            };
            let open = known.map(|route| format!("{}/{}", route.open, route.connections)).unwrap_or_default();
            table.add(row![name, rate("accepted"), rate("transient"), rate("permanent"), open, state]);
        }
        table
    }

    fn lines(&self) -> Table {
        let mut table = Table::new(&["WAITING FOR", "REASON", "MAILS", "UNTIL"]);
        for line in self.queue.iter().flat_map(|queue| &queue.lines).take(LINES) {
            let until = line.until.map(|until| until.to_string()).unwrap_or_default();
            table.add(row![&line.name, line.reason, line.waiting, until]);
        }
        table
    }

    fn failures(&self) -> Table {
        let mut table = Table::new(&["FAILED ATTEMPTS", "PER SECOND"]);
        for (class, rate) in self.classes.iter().filter(|(_, rate)| **rate > 0.0) {
            table.add(row![Cell::of(class, Tone::Bad), format!("{rate:.1}")]);
        }
        table
    }

    /// A route for programs. How many connections it has, and whether it is away, is null where no daemon tells.
    fn route(&self, name: &str) -> Value {
        let known = self.known(name);
        json!({
            "name": name,
            "sent": self.attempts(Some(name), "accepted"),
            "deferred": self.attempts(Some(name), "transient"),
            "refused": self.attempts(Some(name), "permanent"),
            "open": known.map(|route| route.open),
            "busy": known.map(|route| route.busy),
            "connections": known.map(|route| route.connections),
            "paused": self.pause_of("route", name).is_some(),
            "drained": self.drained.iter().any(|drained| drained == name),
            "away": known.and_then(away),
        })
    }

    fn programs(&self) -> Value {
        let lanes: Vec<_> = self
            .backlog
            .lanes
            .iter()
            .map(|(lane, depth)| {
                let (paused, queued) = (self.pause_of("lane", lane.as_str()).is_some(), self.queued(*lane));
                json!({
                    "lane": lane,
                    "due": depth.due,
                    "later": depth.later,
                    "oldest_due_at": depth.oldest_due,
                    "set_aside": queued.map(|lane| lane.set_aside),
                    "leased": queued.map(|lane| lane.leased),
                    "paused": paused,
                })
            })
            .collect();
        let merchants: Vec<_> = self.backlog.merchants.iter().map(|(merchant, depth)| {
            let paused = self.pause_of("merchant", merchant.as_str()).is_some();
            json!({"merchant": merchant, "due": depth.due, "later": depth.later, "oldest_due_at": depth.oldest_due, "paused": paused})
        }).collect();
        let routes: Vec<_> = self.routes.iter().map(|name| self.route(name)).collect();
        let rates = self.recorded.map(|recorded| {
            json!({
                "recorded": recorded,
                "sent": self.attempts(None, "accepted"),
                "deferred": self.attempts(None, "transient"),
                "refused": self.attempts(None, "permanent"),
            })
        });
        json!({
            "at": clock::now(),
            "rates": rates,
            "lanes": lanes,
            "merchants": merchants,
            "routes": routes,
            "waiting_for": self.queue.iter().flat_map(|queue| &queue.lines).collect::<Vec<_>>(),
            "failed_attempts": self.classes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(queue: Option<QueueView>) -> View {
        View {
            backlog: Backlog { lanes: Vec::new(), merchants: Vec::new(), domains: Vec::new() },
            pauses: Vec::new(),
            drained: Vec::new(),
            queue,
            routes: vec!["main".to_owned()],
            recorded: None,
            attempts: BTreeMap::new(),
            classes: BTreeMap::new(),
        }
    }

    #[test]
    fn programs_are_told_of_a_route_what_people_are() {
        let until = clock::now();
        let route = RouteView {
            name: "main".to_owned(),
            connections: 8,
            open: 3,
            busy: 2,
            away_until: Some(until),
            fault: Some("connect: refused".to_owned()),
        };
        let queue = QueueView { routes: vec![route], ..QueueView::default() };
        let told = view(Some(queue)).programs()["routes"][0].take();
        assert_eq!((&told["open"], &told["busy"], &told["connections"]), (&json!(3), &json!(2), &json!(8)));
        assert_eq!(told["away"], format!("away until {until} connect: refused"));
        let told = view(None).programs()["routes"][0].take();
        assert!(
            told["connections"].is_null() && told["away"].is_null() && told["drained"] == false,
            "{told}"
        );
    }
}
