//! Batches and bulk actions: many mails from one request, or one request about many mails.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{
        ledger::{Ends, Promise, PromisedBatch, Said},
        plan::{BatchEnd, Step},
    },
    Load, address_in_group, in_seconds, mail_to, size_of_group,
};

/// How long a bulk action may take, however late it was confirmed.
const ACTION_TIMEOUT: Duration = Duration::from_secs(60);

impl Load {
    pub(super) async fn batch(&self, number: usize, step: Step, end: BatchEnd) {
        let places = 0..size_of_group(number, step.task);
        let users: Vec<_> =
            places.clone().map(|place| json!({"identifier": format!("m{number}-{place}")})).collect();
        let body =
            json!({"brand_id": "tea", "template_id": "welcome", "users": users, "webhook_url": self.hook});
        let said = self.persist(step.ingress, "/mails", &body, Some(&format!("key-{number}"))).await;
        let id = match &said {
            Said::Yes(answer) => answer["data"]["batch_id"].as_str().map(str::to_owned),
            _ => None,
        };
        let recipients = places.map(|place| address_in_group(number, place)).collect();
        let may_be_cancelled = end == BatchEnd::Cancels;
        let batch = PromisedBatch { id: id.clone(), said, recipients, may_be_cancelled };
        self.ledger.batches().push(batch);
        let Some(id) = id else { return };
        let path = format!("/api/v1/batches/{id}");
        match end {
            BatchEnd::Runs => {}
            BatchEnd::Pauses => {
                self.persist(step.ingress, &format!("{path}/pause"), &Value::Null, None).await;
                tokio::time::sleep(Duration::from_secs(4)).await;
                self.persist(step.ingress, &format!("{path}/resume"), &Value::Null, None).await;
            }
            BatchEnd::Cancels => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.persist(step.ingress, &format!("{path}/cancel"), &Value::Null, None).await;
            }
        }
    }

    /// Asks for mails with one tag, and cancels them with a bulk action.
    pub(super) async fn bulk_cancel(&self, number: usize, step: Step) {
        let tag = format!("bulk-{number}");
        let mut told = Vec::new();
        for place in 0..size_of_group(number, step.task) {
            let mut body = mail_to(&format!("m{number}-{place}"));
            (body["send_at"], body["tags"]) = (json!(in_seconds(1_200).to_string()), json!([tag]));
            let key = format!("key-{number}-{place}");
            told.push((place, self.persist(step.ingress, "/mail", &body, Some(&key)).await));
        }
        let draft = json!({"kind": "cancel", "q": format!("tag:{tag}")});
        let drafted = self.persist(step.ingress, "/api/v1/actions", &draft, None).await;
        let is_done = match &drafted {
            Said::Yes(action) => self.confirm(&step, action["id"].as_str().unwrap_or_default()).await,
            _ => false,
        };
        if !is_done && !self.moves_clocks {
            self.ledger.oddities().push(format!("bulk action {number} was not carried out"));
        }
        let ends = if self.moves_clocks { Ends::Either } else { Ends::Cancelled };
        for (place, said) in told {
            self.promise(Promise::new(address_in_group(number, place), said, ends));
        }
    }

    /// Confirms an action and waits until it is done.
    async fn confirm(&self, step: &Step, id: &str) -> bool {
        let path = format!("/api/v1/actions/{id}");
        // 409: an earlier confirmation was carried out, and its answer got lost.
        self.persist(step.ingress, &format!("{path}/confirm"), &Value::Null, None).await;
        let until = self.gives_up.max(Instant::now() + ACTION_TIMEOUT);
        while Instant::now() < until {
            let shown = self.persist_with(Method::GET, step.ingress, &path, &Value::Null, None).await;
            if matches!(&shown, Said::Yes(action) if action["state"] == "done") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }
}
