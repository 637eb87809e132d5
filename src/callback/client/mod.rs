//! The POST: judged, signed, bounded in time and in what is read. It always comes back with a reply.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect, retry,
};
use rustls::ClientConfig;

use super::{AddressPolicy, CallbackError, CallbackSettings, EndpointLimiter, Secret, Signed, trust};
use crate::{
    clock,
    mail::Timestamp,
    webhook::{CallbackOutcome, CallbackReply},
};

/// The most of an answer that is read and kept, in bytes.
const KEPT: usize = 4_096;
/// How long a connection waits for the next callback.
const IDLE: Duration = Duration::from_secs(30);
/// The longest reason in our own words, in characters.
const LONGEST_REASON: usize = 300;

/// One callback to post.
#[derive(Debug)]
pub struct WebhookRequest<'a> {
    /// `webhook-id`.
    pub id: String,
    /// Where to.
    pub url: &'a str,
    /// The JSON body.
    pub body: String,
    /// What signs it.
    pub secrets: &'a [Secret],
    /// `traceparent`: the trace of the request that it came of.
    pub trace_parent: Option<&'a str>,
}

/// Posts callbacks.
pub struct Callbacks {
    /// How many are under way, and to whom.
    pub limiter: EndpointLimiter,
    policy: AddressPolicy,
    client: Client,
    allow_http: bool,
    timeout: Duration,
}

/// Looks a host's name up.
pub(super) trait LookUp: Send + Sync + 'static {
    fn look_up(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
}

/// Asks the system.
struct System;

impl LookUp for System {
    fn look_up(&self, name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Gives a connection only those addresses of a name that it may be opened to.
struct Judged<L> {
    policy: AddressPolicy,
    names: Arc<L>,
}

/// Every address of a name is one that must not be reached.
#[derive(Debug, thiserror::Error)]
#[error("the host's name leads to a private, local or otherwise special address")]
struct NothingAllowed;

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the host's name could not be resolved")]
struct NoAddress(#[source] Option<io::Error>);

impl<L: LookUp> Resolve for Judged<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, names) = (self.policy.clone(), Arc::clone(&self.names));
        Box::pin(async move {
            let found = names
                .look_up(name.as_str().to_owned())
                .await
                .map_err(|error| Box::new(NoAddress(Some(error))) as Box<dyn Error + Send + Sync>)?;
            if found.is_empty() {
                return Err(NoAddress(None).into());
            }
            let allowed: Vec<_> = found.into_iter().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NothingAllowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Callbacks {
    /// Sets up TLS and the client. Nothing is connected yet.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names a file that cannot be used.
    pub fn new(settings: &CallbackSettings) -> Result<Self, CallbackError> {
        Self::with(settings, System, trust::tls()?)
    }

    pub(super) fn with(
        settings: &CallbackSettings,
        names: impl LookUp,
        tls: ClientConfig,
    ) -> Result<Self, CallbackError> {
        let policy = AddressPolicy::new(settings.allow_networks.clone());
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Judged { policy: policy.clone(), names: Arc::new(names) })
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .http1_only()
            .referer(false)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.per_endpoint)
            .user_agent(concat!("postroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(CallbackError::Client)?;
        Ok(Self {
            limiter: EndpointLimiter::new(settings.concurrency, settings.per_endpoint),
            policy,
            client,
            allow_http: settings.allow_http,
            timeout: settings.timeout,
        })
    }

    /// Judges URLs as a POST will.
    pub fn address_policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// Signs and posts a callback.
    pub async fn post(&self, webhook: WebhookRequest<'_>) -> CallbackReply {
        let started = Instant::now();
        let reply = match tokio::time::timeout(self.timeout, self.send(webhook, started)).await {
            Ok(reply) => reply,
            Err(_elapsed) => {
                let text = format!("no answer within {:?}", self.timeout);
                CallbackReply::silent(CallbackOutcome::TimedOut, text, Duration::ZERO)
            }
        };
        CallbackReply { took: started.elapsed(), ..reply }
    }

    async fn send(&self, webhook: WebhookRequest<'_>, started: Instant) -> CallbackReply {
        let forbidden = |why: &str| CallbackReply::silent(CallbackOutcome::Forbidden, why, Duration::ZERO);
        let url = match self.policy.judge_url(webhook.url) {
            Ok(url) if url.scheme() == "https" || self.allow_http => url,
            Ok(_) => return forbidden("the URL must begin with https:// on this installation"),
            Err(fault) => return forbidden(&format!("the URL {fault}")),
        };
        let signed = Signed::new(webhook.id, clock::now(), webhook.body.as_bytes(), webhook.secrets);
        let mut request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", signed.id)
            .header("webhook-timestamp", signed.timestamp)
            .header("webhook-signature", signed.signature)
            .body(webhook.body);
        if let Some(trace_parent) = webhook.trace_parent {
            request = request.header("traceparent", trace_parent);
        }
        match request.send().await {
            Ok(response) => read(response, self.timeout.saturating_sub(started.elapsed())).await,
            Err(error) => silence(&error),
        }
    }
}

/// Reads the beginning of an answer. The status is what counts: a body that breaks off or drags on changes nothing.
async fn read(mut response: Response, patience: Duration) -> CallbackReply {
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| wait_of(text, clock::now()));
    let status = response.status().as_u16();
    let mut body = Vec::with_capacity(KEPT);
    // A little less than the caller's patience, so that the status is not lost to the time-out.
    let _ = tokio::time::timeout(patience.mul_f64(0.9), async {
        while body.len() < KEPT
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(KEPT - body.len())]);
        }
    })
    .await;
    CallbackReply {
        outcome: CallbackOutcome::Answered,
        status: Some(status),
        retry_after,
        text: readable(&body),
        took: Duration::ZERO,
    }
}

/// Text that a database and a page can hold: what is not UTF-8, and NUL, become U+FFFD.
fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds or a date.
fn wait_of(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    Timestamp::parse_http_date(text).map(|at| at.since(now))
}

/// Why there was no answer.
fn silence(error: &reqwest::Error) -> CallbackReply {
    let mut outcome = if error.is_connect() { CallbackOutcome::Unreachable } else { CallbackOutcome::HungUp };
    let mut reason = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<NothingAllowed>() {
            outcome = CallbackOutcome::Forbidden;
        } else if cause.is::<NoAddress>() {
            outcome = CallbackOutcome::Unresolved;
        } else if is_about_tls(cause) {
            outcome = CallbackOutcome::Untrusted;
        }
        reason = cause.to_string();
        next = match cause.downcast_ref::<NoAddress>() {
            Some(_) => None, // the resolver's own words say nothing to a merchant
            None => cause.source(),
        };
    }
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    CallbackReply::silent(outcome, reason, Duration::ZERO)
}

/// An I/O error hides what it wraps from `source`, and may wrap another one.
fn is_about_tls(cause: &(dyn Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_about_tls(wrapped))
}

#[cfg(test)]
mod tests;
