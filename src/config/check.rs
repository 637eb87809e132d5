//! What the types of the settings cannot say: bounds, and values that do not go together.

use std::time::Duration;

use super::{layers::Layers, settings::Config};
use crate::{
    dkim::Keyring,
    limits::{MailLimits, Rate},
    queue, smtp,
    telemetry::chain,
};

/// The shortest lease of a job.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// Notes every fault of a configuration whose values have the right types.
pub(super) fn check(config: &Config, layers: &mut Layers) {
    places(config, layers);
    http(config, layers);
    work(config, layers);
    times(config, layers);
    limits(config, layers);
    routes(config, layers);
    replies(config, layers);
    keys(config, layers);
}

/// Notes each number that must not be 0 and is.
fn at_least_one<N: PartialEq + Default>(
    layers: &mut Layers,
    numbers: impl IntoIterator<Item = (&'static str, N)>,
) {
    for (key, number) in numbers {
        if number == N::default() {
            layers.note(key, "must be at least 1".to_owned());
        }
    }
}

/// Notes each time that must not be 0 and is.
fn longer_than_0s(layers: &mut Layers, times: impl IntoIterator<Item = (&'static str, Duration)>) {
    for (key, time) in times {
        if time.is_zero() {
            layers.note(key, "must be longer than 0s".to_owned());
        }
    }
}

/// The database, the queue, the log.
fn places(config: &Config, layers: &mut Layers) {
    if let Err(error) = config.database.check() {
        layers.note("database.url", chain(&error).to_string());
    }
    if let Err(error) = queue::check(&config.queue) {
        layers.note("queue.url", chain(&error).to_string());
    }
    if let Err(error) = config.log.read_filter() {
        layers.note("log.filter", chain(&*error).to_string());
    }
}

fn http(config: &Config, layers: &mut Layers) {
    let http = &config.http;
    let url = &http.public_url;
    if !matches!(url.scheme(), "http" | "https") {
        layers.note("http.public_url", "must begin with http:// or https://".to_owned());
    } else if !url.username().is_empty() || url.password().is_some() {
        layers.note(
            "http.public_url",
            "must hold no user name and no password: it is in every mail".to_owned(),
        );
    } else if url.query().is_some() || url.fragment().is_some() {
        layers.note("http.public_url", "must end before ? and #: paths are added to it".to_owned());
    }
    at_least_one(layers, [("http.max_user", http.max_user.0), ("http.max_in_flight", http.max_in_flight.0)]);
    at_least_one(
        layers,
        [
            ("http.connections", http.connections),
            ("http.connections_per_address", http.connections_per_address),
        ],
    );
    let (merchants, operators) = (http.listen, config.admin.listen);
    let any = merchants.ip().is_unspecified() || operators.ip().is_unspecified();
    if merchants.port() != 0
        && merchants.port() == operators.port()
        && (any || merchants.ip() == operators.ip())
    {
        let message =
            format!("must not be {operators}, because http.listen has port {} already", merchants.port());
        layers.note("admin.listen", message);
    }
}

/// How much is under way at once.
fn work(config: &Config, layers: &mut Layers) {
    at_least_one(
        layers,
        [
            ("worker.concurrency", config.worker.concurrency),
            ("callbacks.concurrency", config.callbacks.concurrency),
            ("callbacks.per_endpoint", config.callbacks.per_endpoint),
            ("batches.spooled_per_merchant", config.batches.spooled_per_merchant.0),
        ],
    );
    at_least_one(
        layers,
        [("batches.max_users", config.batches.max_users), ("batches.window", config.batches.window)],
    );
    at_least_one(layers, [("database.connections", config.database.connections)]);
    let render = &config.render;
    let (template_bytes, rendered_bytes) = (render.template_bytes, render.rendered_bytes);
    at_least_one(
        layers,
        [("render.template_bytes", template_bytes), ("render.rendered_bytes", rendered_bytes)],
    );
    at_least_one(layers, [("render.work", render.work)]);
    let (callbacks, mails) = (config.callbacks.concurrency, config.worker.concurrency);
    // Who only lowers worker.concurrency does not have to know of the other.
    if callbacks > mails && layers.is_given("callbacks.concurrency") {
        let message =
            format!("{callbacks} must not exceed worker.concurrency, which is {mails}: mails come first");
        layers.note("callbacks.concurrency", message);
    }
}

fn times(config: &Config, layers: &mut Layers) {
    let Config { http, retry, batches, .. } = config;
    longer_than_0s(
        layers,
        [
            ("http.timeout", http.timeout),
            ("http.header_timeout", http.header_timeout),
            ("http.idle_timeout", http.idle_timeout),
            ("batches.timeout", batches.timeout),
            ("queue.enqueue_timeout", config.queue.enqueue_timeout),
        ],
    );
    if config.queue.lease < SHORTEST_LEASE {
        layers.note("queue.lease", "must be at least 1s, because it is renewed all the time".to_owned());
    }
    if config.worker.silence < Duration::from_secs(2) {
        let message = "must be at least 2s, because heartbeats are a sixth of it apart";
        layers.note("worker.silence", message.to_owned());
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&config.callbacks.timeout) {
        layers.note("callbacks.timeout", "must be 1s to 60s".to_owned());
    }
    if retry.schedule.iter().any(Duration::is_zero) || retry.schedule.len() > 100 {
        layers.note("retry.schedule", "must be at most 100 waits, each longer than 0s".to_owned());
    }
    if retry.first > retry.longest {
        let message =
            format!("{:?} must not exceed retry.longest, which is {:?}", retry.first, retry.longest);
        layers.note("retry.first", message);
    }
}

fn limits(config: &Config, layers: &mut Layers) {
    for (key, message) in MailLimits::new(&config.limits).err().into_iter().flatten() {
        layers.note(&format!("limits.{key}"), message);
    }
}

fn routes(config: &Config, layers: &mut Layers) {
    let name = &config.smtp.hello_name;
    if !name.is_empty() && !smtp::is_hello_name(name) {
        layers.note("smtp.hello_name", format!("`{name}` is not a host name or an address literal"));
    }
    let routes = &config.smtp.routes;
    for (index, route) in routes.iter().enumerate() {
        let key = |field: &str| format!("smtp.routes.{index}.{field}");
        for (field, error) in route.faults() {
            layers.note(&key(field), chain(&error).to_string());
        }
        if let Err(error) = smtp::check_certificates(route) {
            layers.note(&key("ca_file"), chain(&error).to_string());
        }
        if routes[..index].iter().any(|other| other.name == route.name) {
            layers.note(&key("name"), format!("`{}` is the name of two routes", route.name));
        }
        if let Some(Err(error)) = route.rate.as_ref().map(|rate| rate.parse::<Rate>()) {
            layers.note(&key("rate"), error.to_string());
        }
    }
}

/// The operator's own rules for replies.
fn replies(config: &Config, layers: &mut Layers) {
    let Err(wrong) = config.smtp.reply_rules() else { return };
    let file = wrong.file.display().to_string();
    for fault in wrong.faults {
        let place = fault.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
        layers.note_in("smtp.replies_file", place, fault.message);
    }
}

/// The keys that sign mails, and their files.
fn keys(config: &Config, layers: &mut Layers) {
    for fault in Keyring::load(&config.dkim).err().into_iter().flatten() {
        layers.note(&format!("dkim.{}.{}", fault.index, fault.field), chain(&fault.error).to_string());
    }
}
