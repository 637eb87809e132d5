//! The settings that belong to no component: the whole, the listeners, and how much is under way at once. Those of a
//! component stand beside it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{size::Size, written::Written};
use crate::{
    callback::CallbackSettings,
    dkim::DkimSettings,
    limits::{LimitSettings, Rate},
    mail::{Address, RetryPolicy},
    queue::QueueSettings,
    render::RenderLimits,
    smtp::{ReplyRules, RouteSettings, RuleFaults},
    store::{DatabaseSettings, StoredLimits},
    telemetry::LogSettings,
};

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
    /// Where operators and their monitoring look.
    pub admin: AdminSettings,
    /// Where mails go.
    pub smtp: SmtpSettings,
    /// The keys that sign mails.
    pub dkim: Vec<DkimSettings>,
    /// How fast mails may go.
    pub limits: LimitSettings,
    /// How callbacks are sent.
    pub callbacks: CallbackSettings,
    /// How large batches may be, and how much of them is in the queue.
    pub batches: BatchSettings,
    /// How long bulk actions are kept.
    pub actions: ActionSettings,
    /// How many things each merchant may have.
    pub stored: StoredLimits,
    /// How much is under way at once.
    pub worker: WorkerSettings,
    /// How long what is over is kept.
    pub keep: KeepSettings,
    /// When mails are tried again.
    pub retry: RetryPolicy,
    /// How large templates and mails may be.
    pub render: RenderLimits,
    /// What is written to the log.
    pub log: LogSettings,
    /// What all this was read from.
    #[serde(skip)]
    pub written: Written,
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

    /// Whether [`HttpSettings::no_reply`] is an address that never exists.
    pub fn has_no_reply(&self) -> bool {
        !self.no_reply().domain().ends_with(".invalid")
    }

    /// Whether a mail may go out from an address that never exists: where links lead to this machine alone, to try things
    /// out.
    pub fn is_for_trying_out(&self) -> bool {
        match self.public_url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }
}

pub(super) fn no_reply(public_url: &Url) -> Address {
    let host = public_url.host_str().unwrap_or_default();
    let address = format!("no-reply@{host}").parse();
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    address.unwrap_or_else(|_| "no-reply@postroom.invalid".parse().expect("an address"))
}

/// Where operators and their monitoring look.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// Where mails go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// Named in EHLO; empty: the machine's name.
    pub hello_name: String,
    /// The operator's rules for replies; empty: the shipped ones alone.
    pub replies_file: PathBuf,
    /// The relays, in order of preference.
    pub routes: Vec<RouteSettings>,
}

impl SmtpSettings {
    /// The rules that replies are judged by.
    ///
    /// # Errors
    /// Every fault of the operator's file.
    pub fn reply_rules(&self) -> Result<ReplyRules, RuleFaults> {
        if self.replies_file.as_os_str().is_empty() {
            return Ok(ReplyRules::shipped());
        }
        let routes: Vec<_> = self.routes.iter().map(|route| route.name.as_str()).collect();
        ReplyRules::load(&self.replies_file, &routes)
    }
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

/// How long bulk actions are kept, and how much of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSettings {
    /// How long one is kept that is over or stopped.
    #[serde(with = "crate::mail::duration")]
    pub keep: Duration,
    /// How long a draft waits for its confirmation.
    #[serde(with = "crate::mail::duration")]
    pub keep_drafts: Duration,
    /// The most results of one action.
    pub keep_results: u64,
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

/// How long what is over is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepSettings {
    /// Mails that are settled, with their attempts.
    #[serde(with = "crate::mail::duration")]
    pub mails: Duration,
    /// Callbacks that are settled, so that they can be looked at and replayed.
    #[serde(with = "crate::mail::duration")]
    pub callbacks: Duration,
    /// Entries of the audit.
    #[serde(with = "crate::mail::duration")]
    pub audit: Duration,
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

impl Role {
    /// The role as the command line names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ingress => "ingress",
            Self::Worker => "worker",
        }
    }
}
