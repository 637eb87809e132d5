//! Settings: `config.toml`, compiled in as the defaults, overlaid by a file and by the environment.
//!
//! Every fault is reported at once, by the key, with where the value came from and what is allowed.

mod faults;
mod layers;
mod size;

use std::{net::SocketAddr, path::Path, time::Duration};

use serde::Deserialize;
use url::Url;

pub use faults::{ConfigFaults, Fault};
pub use size::Size;

use crate::{
    callback::CallbackSettings,
    limits::{LimitSettings, MailLimits, Rate},
    mail::{Address, RetryPolicy},
    queue::QueueSettings,
    render::RenderLimits,
    smtp::RouteSettings,
    store::{DatabaseSettings, StoredLimits},
    telemetry::LogSettings,
};

/// The defaults and the manual.
const DEFAULTS: &str = include_str!("../../config.toml");

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the rows are.
    pub database: DatabaseSettings,
    /// Where the jobs are.
    pub queue: QueueSettings,
    /// Where merchants' systems reach postroom.
    pub http: HttpSettings,
    /// Where operators look.
    pub dashboard: DashboardSettings,
    /// Where mails go.
    pub smtp: SmtpSettings,
    /// How fast mails may go.
    pub limits: LimitSettings,
    /// How callbacks are sent.
    pub callbacks: CallbackSettings,
    /// How large batches may be, and how much of them is in the queue.
    pub batches: BatchSettings,
    /// How many things each merchant may have.
    pub stored: StoredLimits,
    /// How much is under way at once.
    pub worker: WorkerSettings,
    /// When mails are tried again.
    pub retry: RetryPolicy,
    /// How large templates and mails may be.
    pub render: RenderLimits,
    /// What is written to the log.
    pub log: LogSettings,
}

/// Where merchants' systems reach postroom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Begins the links in mails and webhooks.
    pub public_url: Url,
    /// The largest body.
    pub max_body: Size,
    /// The largest body of all requests but batches: those are read into memory.
    pub max_small_body: Size,
    /// The largest user object: the values that a caller gives for one mail, as JSON. The same for a member's document.
    pub max_user: Size,
    /// The most memory that bodies take which are read and not yet answered.
    pub max_in_flight: Size,
    /// The longest request.
    #[serde(with = "crate::mail::duration")]
    pub timeout: Duration,
    /// The most requests of one merchant.
    pub rate: Rate,
    /// The most connections at once.
    pub connections: usize,
    /// The most from one address that is not this machine's.
    pub connections_per_address: usize,
    /// The longest that a request's head takes, and that a body or an answer's reader is too slow.
    #[serde(with = "crate::mail::duration")]
    pub header_timeout: Duration,
    /// The longest that nothing happens on a connection.
    #[serde(with = "crate::mail::duration")]
    pub idle_timeout: Duration,
}

impl HttpSettings {
    /// A link to this installation, as in `passes/<id>`.
    pub fn link_to(&self, path: &str) -> String {
        format!("{}/{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// An address of this installation that nobody reads: `no-reply` at the host that links lead to. Where that is no
    /// domain name, it is at one that never exists (RFC 2606, section 2), so that no stranger gets what comes back.
    pub fn no_reply(&self) -> Address {
        no_reply(&self.public_url)
    }
}

fn no_reply(public_url: &Url) -> Address {
    let host = public_url.host_str().unwrap_or_default();
    let address = format!("no-reply@{host}").parse();
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    address.unwrap_or_else(|_| "no-reply@postroom.invalid".parse().expect("an address"))
}

/// Where operators look.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashboardSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
}

/// Where mails go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// Named in EHLO; empty: the machine's name.
    pub hello_name: String,
    /// The relays, in order of preference.
    pub routes: Vec<RouteSettings>,
}

/// How large batches may be, and how much of them is in the queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// The most users of one batch.
    pub max_users: u64,
    /// What the bodies of one merchant's requests take on the disk at once, in one process.
    pub spooled_per_merchant: Size,
    /// The longest request for one.
    #[serde(with = "crate::mail::duration")]
    pub timeout: Duration,
    /// The most mails of one batch that wait in the queue for the first time.
    pub window: u64,
}

/// How much is under way at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Jobs under way in one process.
    pub concurrency: usize,
    /// How long a stop waits for them.
    #[serde(with = "crate::mail::duration")]
    pub drain: Duration,
    /// After so much silence a worker is taken for dead.
    #[serde(with = "crate::mail::duration")]
    pub silence: Duration,
}

/// What one process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Takes requests.
    Ingress,
    /// Works on what was recorded.
    Worker,
}

impl Config {
    /// Reads the defaults, the file, and those of `environment` that begin with `POSTROOM_`.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let mut layers = layers::Layers::of_defaults(DEFAULTS);
        if let Some(file) = file {
            layers.add_file(file)?;
        }
        layers.add_environment(environment);
        layers.read_secrets();
        let config: Self = layers.parse()?;
        config.check()?;
        Ok(config)
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), ConfigFaults> {
        let mut faults = Vec::new();
        let mut fault =
            |key: &str, message: String| faults.push(Fault { key: key.to_owned(), from: None, message });
        if !matches!(self.http.public_url.scheme(), "http" | "https") {
            fault("http.public_url", "must begin with http:// or https://".to_owned());
        }
        for (key, size) in
            [("http.max_user", self.http.max_user), ("http.max_in_flight", self.http.max_in_flight)]
        {
            if size.0 == 0 {
                fault(key, "must be at least 1".to_owned());
            }
        }
        if self.worker.concurrency == 0 {
            fault("worker.concurrency", "must be at least 1".to_owned());
        }
        if self.worker.silence < Duration::from_secs(2) {
            fault(
                "worker.silence",
                "must be at least 2s, because heartbeats are a sixth of it apart".to_owned(),
            );
        }
        for (key, most) in [
            ("callbacks.concurrency", self.callbacks.concurrency),
            ("callbacks.per_endpoint", self.callbacks.per_endpoint),
            ("http.connections", self.http.connections),
            ("http.connections_per_address", self.http.connections_per_address),
            ("batches.spooled_per_merchant", self.batches.spooled_per_merchant.0),
        ] {
            if most == 0 {
                fault(key, "must be at least 1".to_owned());
            }
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.callbacks.timeout) {
            fault("callbacks.timeout", "must be 1s to 60s".to_owned());
        }
        for (key, time) in
            [("http.header_timeout", self.http.header_timeout), ("http.idle_timeout", self.http.idle_timeout)]
        {
            if time.is_zero() {
                fault(key, "must be longer than 0s".to_owned());
            }
        }
        for (key, most) in
            [("batches.max_users", self.batches.max_users), ("batches.window", self.batches.window)]
        {
            if most == 0 {
                fault(key, "must be at least 1".to_owned());
            }
        }
        if self.database.connections == 0 {
            fault("database.connections", "must be at least 1".to_owned());
        }
        for (key, message) in MailLimits::new(&self.limits).err().into_iter().flatten() {
            fault(&format!("limits.{key}"), message);
        }
        for (index, route) in self.smtp.routes.iter().enumerate() {
            if let Some(Err(error)) = route.rate.as_ref().map(|rate| rate.parse::<Rate>()) {
                fault(&format!("smtp.routes.{index}.rate"), error.to_string());
            }
            if self.smtp.routes[..index].iter().any(|other| other.name == route.name) {
                fault(
                    &format!("smtp.routes.{index}.name"),
                    format!("`{}` is the name of two routes", route.name),
                );
            }
        }
        ConfigFaults::none_of(faults)
    }

    /// Checks that this configuration can serve `role`.
    ///
    /// # Errors
    /// When the queue lives in this process and another process would have to reach it.
    pub fn check_role(&self, role: Role) -> Result<(), ConfigFaults> {
        let embedded = self.queue.url.starts_with("memory:");
        if role == Role::All || !embedded {
            return Ok(());
        }
        ConfigFaults::none_of(vec![Fault {
            key: "queue.url".to_owned(),
            from: None,
            message: "`memory:` is inside one process and serves only --role all; separate roles need redis://, rediss:// or unix://".to_owned(),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postroom.toml");
        std::fs::write(&file, text).unwrap();
        let environment = environment.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Config::load(Some(&file), environment).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.http.listen.port(), 8025);
        assert!(config.smtp.routes.is_empty());
    }

    #[test]
    fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
        let text = "[database]\nurl = \"sqlite:a.db\"\n[worker]\nconcurrency = 3\n";
        let config = load(text, &[("POSTROOM_WORKER__CONCURRENCY", "5"), ("OTHER", "x")]).unwrap();
        assert_eq!((config.database.url.as_str(), config.worker.concurrency), ("sqlite:a.db", 5));
    }

    #[test]
    fn a_route_can_be_given_in_the_environment() {
        let environment = [
            ("POSTROOM_SMTP__ROUTES__0__NAME", "main"),
            ("POSTROOM_SMTP__ROUTES__0__HOST", "127.0.0.1"),
            ("POSTROOM_SMTP__ROUTES__0__PORT", "2525"),
            ("POSTROOM_SMTP__ROUTES__0__TLS", "none"),
        ];
        let config = load("", &environment).unwrap();
        assert_eq!((config.smtp.routes.len(), config.smtp.routes[0].port), (1, 2525));
    }

    #[test]
    fn every_fault_is_named_at_once_with_its_key_and_its_source() {
        let text = "[database]\nurl = 5\n[http]\nlisten = \"here\"\nmaxbody = 1\n[nonsense]\nx = 1\n";
        let faults = load(text, &[("POSTROOM_WORKER__CONCURRENCY", "many")]).unwrap_err();
        for expected in [
            "database.url",
            "http.listen",
            "http.maxbody",
            "nonsense",
            "POSTROOM_WORKER__CONCURRENCY",
            "postroom.toml",
        ] {
            assert!(faults.contains(expected), "{expected} is missing in:\n{faults}");
        }
    }

    #[test]
    fn a_rate_that_is_none_is_refused_with_its_key_and_what_is_allowed() {
        let text = "[limits]\nmails = \"fast\"\nper_merchant = \"0/s\"\n[http]\nrate = \"1e30/s\"
            [[limits.domains]]\nnames = [\"a.example\"]\nrate = \"5/fortnight\"";
        let faults = load(text, &[]).unwrap_err();
        for (key, wrong) in [
            ("limits.mails", "`fast` is not a rate"),
            ("limits.per_merchant", "`0` is not a count"),
            ("limits.domains.0.rate", "`fortnight` is not a unit of time"),
            ("http.rate", "`1e30` is not a count"),
        ] {
            assert!(faults.contains(&format!("{key}: {wrong}")), "{key} is missing in:\n{faults}");
        }
        assert_eq!(faults.matches("in \"50/s\" or \"3000/h burst 100\"").count(), 4, "{faults}");
        let text = "[[smtp.routes]]\nname = \"m\"\nhost = \"h\"\nport = 1\ntls = \"none\"\nrate = \"-1/s\"
            [[limits.domains]]\nnames = [\"a.example\"]\nrate = \"1/s\"
            [[limits.domains]]\nnames = [\"A.example\"]\nrate = \"2/s\"";
        let faults = load(text, &[]).unwrap_err();
        assert!(faults.contains("smtp.routes.0.rate: `-1` is not a count"), "{faults}");
        assert!(faults.contains("limits.domains.1.names.0: `a.example` has a limit already"), "{faults}");
    }

    #[test]
    fn limits_can_be_given_in_the_environment() {
        let config = load("", &[("POSTROOM_LIMITS__MAILS", "3000/h burst 100")]).unwrap();
        assert_eq!(config.limits.mails.map(|rate| rate.to_string()).as_deref(), Some("3000/h burst 100"));
        assert!(config.limits.per_merchant.is_none() && config.limits.domains.is_empty());
    }

    #[test]
    fn a_secret_can_live_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("relay-password");
        std::fs::write(&secret, "s3cret\n").unwrap();
        let text = format!(
            "[[smtp.routes]]\nname = \"main\"\nhost = \"relay.example\"\nport = 587\ntls = \"starttls\"\nusername = \"u\"\npassword_file = {secret:?}\n"
        );
        let config = load(&text, &[]).unwrap();
        let password = config.smtp.routes[0].password.as_ref().unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(password), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn a_merchant_without_a_sender_writes_from_where_its_links_lead() {
        for (public_url, expected) in [
            ("https://post.example.com/x", "no-reply@post.example.com"),
            ("http://bücher.example:8025", "no-reply@xn--bcher-kva.example"),
            ("http://127.0.0.1:8025", "no-reply@postroom.invalid"),
            ("http://[::1]:8025", "no-reply@postroom.invalid"),
            ("http://localhost", "no-reply@postroom.invalid"),
        ] {
            assert_eq!(no_reply(&public_url.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn an_embedded_queue_serves_no_separate_role() {
        let config = load("", &[]).unwrap();
        assert!(config.check_role(Role::All).is_ok());
        assert!(config.check_role(Role::Worker).unwrap_err().to_string().contains("queue.url"));
    }
}
