//! The merchant's system: takes webhooks, checks who signed them, and keeps a record of each.
//!
//! Now and then it answers 500 or not in time, always to the first attempt of a webhook only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use postroom::{
    callback::{Secret, Signed, verify},
    mail::Timestamp,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// Of so many webhooks one is refused the first time.
const REFUSES_ONE_OF: u32 = 40;

/// A receiver. Dropping it ends it.
pub struct Receiver {
    /// Where it takes webhooks.
    pub url: String,
    kept: Arc<Kept>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    secrets: Mutex<Vec<Secret>>,
    webhooks: Mutex<HashMap<String, Webhook>>,
    forged: Mutex<Vec<String>>,
}

/// A webhook as it came.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// What it says.
    pub body: Value,
    /// How often it was posted.
    pub posted: usize,
    /// How often it was answered with success.
    pub taken: usize,
    /// Whether it said the same each time.
    pub is_constant: bool,
}

impl Receiver {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let kept = Arc::new(Kept::default());
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&kept));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, kept, server }
    }

    /// Believes what one of these secrets signed.
    pub fn trust(&self, secrets: &[String]) {
        *self.kept.secrets.lock().unwrap() =
            secrets.iter().map(|secret| Secret::parse(secret).unwrap()).collect();
    }

    /// All that came, by `webhook-id`.
    pub fn webhooks(&self) -> HashMap<String, Webhook> {
        self.kept.webhooks.lock().unwrap().clone()
    }

    /// What came and was signed by nobody whom it trusts.
    pub fn forged(&self) -> Vec<String> {
        self.kept.forged.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: String) -> StatusCode {
    let signed = Signed::from_headers(|name| headers.get(name)?.to_str().ok());
    // The senders' clocks are turned, so it is compared with their own time.
    let at = Timestamp(signed.timestamp.parse::<i64>().unwrap_or_default() * 1_000);
    if !verify(&signed, body.as_bytes(), &kept.secrets.lock().unwrap(), at) {
        kept.forged.lock().unwrap().push(body);
        return StatusCode::UNAUTHORIZED;
    }
    let id: u32 = signed.id.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut webhooks = kept.webhooks.lock().unwrap();
    let fresh = Webhook { body: body.clone(), posted: 0, taken: 0, is_constant: true };
    let webhook = webhooks.entry(signed.id).or_insert(fresh);
    webhook.posted += 1;
    webhook.is_constant &= webhook.body == body;
    if webhook.posted == 1 && id.is_multiple_of(REFUSES_ONE_OF) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    webhook.taken += 1;
    StatusCode::NO_CONTENT
}
