//! The sample shop's receiver: takes callbacks as a merchant's own program would, and checks who signed them.
//!
//! `play.rs` waits here for the callback that it announced. Later callbacks are answered too, and forgotten when
//! nobody looks at them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::{
    callback::{Secret, Signed, verify},
    clock,
};

/// Callbacks that wait to be looked at; more are answered and forgotten.
const WAITING: usize = 100;
/// A callback that takes longer is missing.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on loopback until it is dropped.
pub(super) struct Receiver {
    /// Where callbacks are to be posted.
    pub(super) url: String,
    callbacks: mpsc::Receiver<Callback>,
    task: JoinHandle<()>,
}

/// A callback as it came.
pub(super) struct Callback {
    signed: Signed,
    body: Bytes,
}

impl Receiver {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}/postroom", listener.local_addr()?);
        let (sender, callbacks) = mpsc::channel(WAITING);
        let router = Router::new().route("/postroom", post(take)).with_state(sender);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the sample shop's receiver ended");
            }
        });
        Ok(Self { url, callbacks, task })
    }

    /// The next callback.
    ///
    /// # Errors
    /// When none comes in time.
    pub(super) async fn next(&mut self) -> anyhow::Result<Callback> {
        let next = tokio::time::timeout(CALLBACK_TIMEOUT, self.callbacks.recv()).await;
        next.ok()
            .flatten()
            .with_context(|| format!("no callback came within {} s", CALLBACK_TIMEOUT.as_secs()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Callback {
    /// What it says, if `secret` signed it just now. What is not signed is not even read.
    pub(super) fn body(&self, secret: &Secret) -> Option<Value> {
        let is_signed = verify(&self.signed, &self.body, std::slice::from_ref(secret), clock::now());
        is_signed.then(|| serde_json::from_slice(&self.body).ok())?
    }

    /// The event's name, if `secret` signed it just now.
    pub(super) fn event(&self, secret: &Secret) -> Option<String> {
        self.body(secret)?["type"].as_str().map(str::to_owned)
    }

    /// The same for every attempt to tell of one event.
    pub(super) fn id(&self) -> &str {
        &self.signed.id
    }
}

async fn take(State(sender): State<mpsc::Sender<Callback>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signed = Signed::from_headers(|name| headers.get(name)?.to_str().ok());
    // A receiver answers at once and works later, so a callback that finds no room is not the sender's fault.
    let _ = sender.try_send(Callback { signed, body });
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(secret: &Secret, body: &'static str) -> Callback {
        let signed =
            Signed::new("msg_1".to_owned(), clock::now(), body.as_bytes(), std::slice::from_ref(secret));
        Callback { signed, body: Bytes::from(body) }
    }

    #[test]
    fn a_callback_that_somebody_else_signed_or_changed_is_not_believed() {
        let secret = Secret::generate();
        let genuine = callback(&secret, r#"{"type":"reminder.sent"}"#);
        assert_eq!(genuine.event(&secret).as_deref(), Some("reminder.sent"));
        assert_eq!(genuine.event(&Secret::generate()), None);
        let changed = Callback { body: Bytes::from(r#"{"type":"email.failed"}"#), ..genuine };
        assert_eq!(changed.event(&secret), None);
    }
}
