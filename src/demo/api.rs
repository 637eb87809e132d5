//! The public API as the shop's programs see it: requests over HTTP and the few fields of the answers that are shown.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{
    scene::{Body, Credential, Request},
    shop,
    stage::Addresses,
};
use crate::mail::{AttemptOutcome, BatchState, MailState, Timestamp};

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The most mails that are asked for at once.
pub(super) const PAGE: usize = 1_000;

/// A client of the daemon's ingress with the merchant's token and account.
pub(super) struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
    test_token: String,
    password: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Null where the body is not JSON.
    pub(super) body: Value,
    /// Whether this is the kept answer to an earlier request.
    pub(super) replayed: bool,
}

/// A mail and what happened to it, from `GET /api/v1/mails/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Story {
    pub(super) id: String,
    pub(super) state: MailState,
    pub(super) template: String,
    pub(super) recipient: String,
    pub(super) message_id: String,
    pub(super) recorded_at: Timestamp,
    pub(super) due_at: Option<Timestamp>,
    pub(super) settled_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) test: bool,
    pub(super) attempts: Vec<Attempt>,
}

/// One try to hand a mail to the relay.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) at: Timestamp,
    pub(super) phase: Option<String>,
    pub(super) outcome: AttemptOutcome,
    pub(super) code: Option<u16>,
    pub(super) enhanced_code: Option<String>,
    pub(super) reply: String,
    pub(super) millis: u64,
}

/// How far a batch is, from `GET /api/v1/batches/{id}`.
#[derive(Debug, Deserialize)]
pub(super) struct BatchStory {
    pub(super) state: BatchState,
    pub(super) counts: BTreeMap<MailState, u64>,
}

impl BatchStory {
    pub(super) fn in_state(&self, state: MailState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    /// How many of its mails came to their end.
    pub(super) fn settled(&self) -> u64 {
        self.counts.iter().filter(|(state, _)| state.is_settled()).map(|(_, mails)| mails).sum()
    }
}

/// A mail in a list.
#[derive(Debug, Deserialize)]
pub(super) struct ListedMail {
    pub(super) id: String,
    pub(super) recorded_at: Timestamp,
}

#[derive(Deserialize)]
struct List {
    data: Vec<ListedMail>,
}

impl Api {
    pub(super) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        // Plain HTTP to loopback: no proxy, and a TLS configuration that trusts nobody, because the client wants one.
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self {
            client,
            base: addresses.api.clone(),
            token: addresses.token.clone(),
            test_token: addresses.test_token.clone(),
            password: addresses.password.clone(),
        })
    }

    /// Sends a request of the shop.
    pub(super) async fn send(&self, request: &Request) -> anyhow::Result<Answer> {
        let sent = self.client.request(request.method.clone(), self.url(&request.path));
        let mut sent = match request.by {
            Credential::Token => sent.bearer_auth(&self.token),
            Credential::TestToken => sent.bearer_auth(&self.test_token),
            Credential::Account => sent.basic_auth(shop::USERNAME, Some(&self.password)),
        };
        if let Some(key) = request.key {
            sent = sent.header("Idempotency-Key", key);
        }
        sent = match &request.body {
            Some(Body::Json(body)) => sent.json(body),
            Some(Body::Lines(lines)) => {
                let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
                sent.header("Content-Type", "application/x-ndjson").body(lines)
            }
            None => sent,
        };
        let answer = sent.send().await.with_context(|| format!("{} got no answer", request.path))?;
        let replayed = answer.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
        let status = answer.status();
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        Ok(Answer { status, body, replayed })
    }

    /// What happened to a mail so far.
    pub(super) async fn story(&self, id: &str) -> anyhow::Result<Story> {
        self.get(&format!("/api/v1/mails/{id}")).await
    }

    /// How far a batch is.
    pub(super) async fn batch(&self, id: &str) -> anyhow::Result<BatchStory> {
        self.get(&format!("/api/v1/batches/{id}")).await
    }

    /// The path to which a link of the daemon's leads; `None` when it leads elsewhere.
    pub(super) fn path_of<'a>(&self, link: &'a str) -> Option<&'a str> {
        link.strip_prefix(&self.base).filter(|path| path.starts_with('/'))
    }

    /// Mails that a query finds, oldest first, at most [`PAGE`].
    pub(super) async fn mails(&self, query: &str) -> anyhow::Result<Vec<ListedMail>> {
        let list: List = self.get(&format!("/api/v1/mails?limit={PAGE}&{query}")).await?;
        Ok(list.data)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let failed = || format!("GET {path} failed");
        let sent = self.client.get(self.url(path)).bearer_auth(&self.token).send().await;
        let answer = sent.and_then(reqwest::Response::error_for_status).with_context(failed)?;
        serde_json::from_slice(&answer.bytes().await?).with_context(failed)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
