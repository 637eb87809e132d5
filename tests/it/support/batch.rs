//! Batches: their members, their requests, and what becomes of them.

use std::{collections::HashMap, time::Duration};

use postroom::demo::catcher::Catcher;
use serde_json::{Value, json};

use super::{Shop, within};

/// How long a batch of a few thousand may take on a loaded machine.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Addresses that begin with a word of the catcher.
pub fn addresses(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{word}-{number}@example.net")).collect()
}

/// A request for a `welcome` to all of them.
pub fn welcome_all(users: &[String]) -> Value {
    let users: Vec<_> = users.iter().map(|user| json!({"identifier": user})).collect();
    json!({"brand_id": "tea", "template_id": "welcome", "users": users})
}

/// How often each recipient's mail came.
pub fn times_caught(sink: &Catcher) -> HashMap<String, usize> {
    let mut caught = HashMap::new();
    for mail in sink.mails() {
        *caught.entry(mail.recipient.clone()).or_default() += 1;
    }
    caught
}

impl Shop {
    /// Tells postroom about members of `tea`, whose ids are the addresses.
    pub async fn enrol_all(&self, addresses: &[String]) {
        let lines: Vec<_> = addresses
            .iter()
            .map(|address| {
                json!({"kind": "members", "id": address, "brand_id": "tea", "email": address, "first_name": "Ann",
                    "last_name": "Lee"})
                .to_string()
            })
            .collect();
        let answer = self.post_text("/api/v1/import", "application/x-ndjson", lines.join("\n")).await;
        assert_eq!(answer.expect(200).json()["refused"], 0);
    }

    /// Asks for a batch and returns its id.
    pub async fn send_batch(&self, body: &Value) -> String {
        let answer = self.post("/mails", body).await.expect(200).json();
        answer["data"]["batch_id"].as_str().unwrap().to_owned()
    }

    /// Asks for a batch of a `welcome` to all of them and returns its id.
    pub async fn send_all(&self, users: &[String]) -> String {
        let answer = self.post("/mails", &welcome_all(users)).await.expect(200).json();
        assert_eq!(answer["data"]["queued"], json!(users));
        answer["data"]["batch_id"].as_str().unwrap().to_owned()
    }

    /// How far a batch is.
    pub async fn batch(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/batches/{id}")).await.expect(200).json()
    }

    /// Waits until a batch is in a state and returns how far it is.
    pub async fn until_batch(&self, id: &str, state: &str) -> Value {
        let mut last = Value::Null;
        within(BATCH_TIMEOUT, &format!("batch {id} is {state}"), async || {
            last = self.batch(id).await;
            last["state"] == state
        })
        .await;
        last
    }

    /// What became of each mail of a batch.
    pub async fn results(&self, id: &str) -> Value {
        self.get(&format!("/webhooks/mails/{id}")).await.expect(200).json()["data"].clone()
    }
}
