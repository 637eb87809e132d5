//! A merchant's system that takes webhooks.

use std::{sync::Arc, time::Duration};

use axum::{Router, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use super::{Backends, Shop};

const CALLBACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A receiver that answers each webhook with 200. Dropping it ends it.
pub struct Hook {
    /// Where it takes webhooks.
    pub url: String,
    received: mpsc::UnboundedReceiver<(HeaderMap, String)>,
    answers: Arc<Semaphore>,
    server: JoinHandle<()>,
}

impl Hook {
    /// Starts a receiver that answers at once.
    pub async fn listen() -> Self {
        let hook = Self::listen_in_silence().await;
        hook.speak();
        hook
    }

    /// Starts a receiver that answers nothing until it is told to.
    pub async fn listen_in_silence() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, received) = mpsc::unbounded_channel();
        let answers = Arc::new(Semaphore::new(0));
        let may_answer = Arc::clone(&answers);
        let take = async move |headers: HeaderMap, body: String| {
            let _ = sender.send((headers, body));
            drop(may_answer.acquire().await);
            "ok"
        };
        let router = Router::new().route("/hook", post(take));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, received, answers, server }
    }

    /// Lets it answer all that came and all that comes.
    pub fn speak(&self) {
        self.answers.add_permits(1_000);
    }

    /// The next webhook, whose signature nobody has checked.
    pub async fn next_unchecked(&mut self) -> (HeaderMap, String) {
        tokio::time::timeout(CALLBACK_TIMEOUT, self.received.recv()).await.unwrap().unwrap()
    }

    /// The next webhook, whose signature the merchant has checked.
    pub async fn next(&mut self, shop: &Shop) -> Value {
        let (headers, body) = self.next_unchecked().await;
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let claim = json!({"id": header("webhook-id"), "timestamp": header("webhook-timestamp"),
            "signature": header("webhook-signature"), "payload": body});
        let valid = shop.post("/webhooks/verify-signature", &claim).await.expect(200).json();
        assert_eq!(valid["data"]["valid"], true);
        serde_json::from_str(&body).unwrap()
    }

    /// Whether all that came was looked at.
    pub fn is_quiet(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Backends {
    /// The same, where webhooks may go to receivers of the test.
    pub fn allowing_hooks(self) -> Self {
        self.with("callbacks.allow_networks", vec!["127.0.0.0/8".to_owned()])
            .with("callbacks.allow_http", true)
    }
}
