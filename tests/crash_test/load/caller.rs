//! One caller's request, asked once or until there is an answer.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::{super::ledger::Said, Load};

/// How long a caller waits for an answer; longer than `http.timeout`, shorter than a frozen process sleeps.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Between the first two tries of a caller who persists; each pause is twice as long as the one before.
const FIRST_RETRY_AFTER: Duration = Duration::from_millis(700);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(6);

impl Load {
    /// Asks once.
    pub(super) async fn ask(&self, ingress: usize, path: &str, body: &Value, key: Option<&str>) -> Said {
        self.ask_with(Method::POST, ingress, path, body, key).await
    }

    /// Asks until there is an answer, in turns each process that takes requests.
    pub(super) async fn persist(&self, ingress: usize, path: &str, body: &Value, key: Option<&str>) -> Said {
        self.persist_with(Method::POST, ingress, path, body, key).await
    }

    /// The same with another method.
    pub(super) async fn persist_with(
        &self,
        method: Method,
        ingress: usize,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Said {
        let (mut is_unknown, mut ingress, mut pause) = (false, ingress, FIRST_RETRY_AFTER);
        loop {
            match self.ask_with(method.clone(), ingress, path, body, key).await {
                Said::Unknown => is_unknown = true,
                Said::Never => {}
                answered => return answered,
            }
            if Instant::now() >= self.gives_up {
                return if is_unknown { Said::Unknown } else { Said::Never };
            }
            ingress += 1;
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn ask_with(
        &self,
        method: Method,
        ingress: usize,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Said {
        let request = self.shops[ingress % self.shops.len()].request(method, path).timeout(ANSWER_TIMEOUT);
        let request = if body.is_null() { request } else { request.json(body) };
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Said::Never,
            Err(_) => return Said::Unknown,
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { return Said::Unknown };
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        match status {
            200..300 => Said::Yes(json),
            503 if text.contains("outcome_unknown") || text.contains("not known yet") => Said::Unknown,
            503 | 429 => Said::Never,
            // The first request with this key may still be in progress, or its process died with it.
            409 if text.contains("Idempotency-Key") || text.contains("idempotency_key") => Said::Unknown,
            _ => Said::No(status, json),
        }
    }
}
