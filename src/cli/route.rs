//! `postroom route list|drain|undrain`: shows the routes, and keeps mails from one of them in all processes.

use serde_json::{Value, json};

use crate::{mail::Timestamp, store::RouteUse};

use super::{
    context::{Context, author, print},
    output::print_list,
    table::{Cell, Table, Tone, row},
};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the routes in the order in which they are preferred.
    List,
    /// Send no more mails over a route. What is in progress is finished, within a second in all processes.
    Drain {
        /// The route's name in the configuration.
        name: String,
    },
    /// Use a drained route again.
    Undrain {
        /// The route's name.
        name: String,
    },
}

pub(super) async fn run(context: Context, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List => list(context).await,
        Command::Drain { name } => drain(context, &name).await,
        Command::Undrain { name } => undrain(context, &name).await,
    }
}

async fn list(context: Context) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let mut routes = context.config.smtp.routes.clone();
    routes.sort_by_key(|route| route.priority);
    let app = context.app().await?;
    let uses = app.store.route_uses().await?;
    app.store.close().await;
    let rows: Vec<Value> = routes
        .iter()
        .map(|route| {
            json!({
                "name": route.name,
                "host": route.host,
                "port": route.port,
                "priority": route.priority,
                "weight": route.weight,
                "connections": route.connections,
                "rate": route.rate,
                "merchants": route.merchants,
                "sender_domains": route.sender_domains,
                "lanes": route.lanes,
                "drained": uses.of(&route.name) == RouteUse::Drained,
                "paused": matches!(uses.of(&route.name), RouteUse::Paused(_)),
            })
        })
        .collect();
    let mut table = Table::new(&["NAME", "RELAY", "PRIORITY", "WEIGHT", "RATE", "STATE"]);
    for route in &routes {
        let relay = format!("{}:{}", route.host, route.port);
        let state = match uses.of(&route.name) {
            RouteUse::Drained => Cell::of("drained", Tone::Warning),
            RouteUse::Paused(until) => Cell::of(paused(until), Tone::Warning),
            RouteUse::InUse => Cell::of("in use", Tone::Good),
        };
        let rate = route.rate.clone().unwrap_or_default();
        table.add(row![&route.name, relay, route.priority, route.weight, rate, state]);
    }
    print_list(json_wanted, &table, "there is no route", &json!({"routes": rows}))
}

/// That a route is paused, and until when.
fn paused(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "paused".to_owned(), |until| format!("paused until {until}"))
}

async fn drain(context: Context, name: &str) -> anyhow::Result<()> {
    let json_wanted = context.json;
    if !context.config.smtp.routes.iter().any(|route| route.name == name) {
        anyhow::bail!("there is no route `{name}`");
    }
    let app = context.app().await?;
    let is_changed = app.store.acting_for(author()).drain_route(name).await?;
    app.store.close().await;
    if !is_changed {
        anyhow::bail!("the route `{name}` is drained already");
    }
    print(json_wanted, format!("the route `{name}` is drained"), &json!({"name": name, "drained": true}))
}

async fn undrain(context: Context, name: &str) -> anyhow::Result<()> {
    let json_wanted = context.json;
    let app = context.app().await?;
    let is_changed = app.store.acting_for(author()).undrain_route(name).await?;
    app.store.close().await;
    if !is_changed {
        anyhow::bail!("the route `{name}` is not drained");
    }
    print(json_wanted, format!("the route `{name}` is used again"), &json!({"name": name, "drained": false}))
}
