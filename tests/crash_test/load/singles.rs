//! Requests for one mail, of all four families, and what is done to single mails later.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{
        ledger::{Ends, Promise, Said},
        plan::Step,
    },
    Load, address, in_seconds, mail_to,
};

impl Load {
    /// Asks as the step says, with a key if the caller persists.
    async fn ask_as(&self, number: usize, step: &Step, path: &str, body: &Value) -> Said {
        if step.persists {
            self.persist(step.ingress, path, body, Some(&format!("key-{number}"))).await
        } else {
            self.ask(step.ingress, path, body, None).await
        }
    }

    pub(super) async fn mail(&self, number: usize, step: Step, word: &str, holds: bool) {
        let mut body = mail_to(&format!("m{number}"));
        if holds {
            body["template_id"] = json!("holding");
        }
        let said = self.ask_as(number, &step, "/mail", &body).await;
        let ends = match word {
            "reject" => Ends::Failed,
            _ if holds => Ends::SentOrHeld,
            _ => Ends::Sent,
        };
        let mut promise = Promise::new(address(number, step.task), said, ends);
        promise.is_delayed = word != "ok";
        self.promise(promise);
    }

    pub(super) async fn reminder(&self, number: usize, step: Step) {
        let details = json!({"subject": "Your tea", "message": "It waits for you."});
        let body = json!({"type": "email", "alert_details": details});
        let said = self.ask_as(number, &step, &format!("/abandoned-carts/m{number}/reminder"), &body).await;
        let mut promise = Promise::new(address(number, step.task), said, Ends::Sent);
        promise.also = Some("reminder.sent");
        self.promise(promise);
    }

    pub(super) async fn cart_link(&self, number: usize, step: Step) {
        let path = format!("/api/public/v1/subscriptions/m{number}/send_email");
        let said = self.ask_as(number, &step, &path, &Value::Null).await;
        self.promise(Promise::new(address(number, step.task), said, Ends::Sent));
    }

    pub(super) async fn order(&self, number: usize, step: Step) {
        let path = format!("/ordersv2/m{number}/email/send");
        let said = self.ask_as(number, &step, &path, &json!({"template": "ORDERCONFIRMATION"})).await;
        let mut promise = Promise::new(address(number, step.task), said, Ends::Sent);
        (promise.order, promise.also) = (Some(format!("m{number}")), Some("order.email.completed"));
        self.promise(promise);
    }

    pub(super) async fn scheduled(&self, number: usize, step: Step) {
        let at = in_seconds(5 + number as u64 % 20);
        let said = self.schedule(number, &step, at.to_string()).await;
        let mut promise = Promise::new(address(number, step.task), said, Ends::Sent);
        promise.not_before = Some(at).filter(|_| !self.moves_clocks);
        self.promise(promise);
    }

    async fn schedule(&self, number: usize, step: &Step, at: String) -> Said {
        let mut body = mail_to(&format!("m{number}"));
        body["send_at"] = json!(at);
        self.persist(step.ingress, "/mail", &body, Some(&format!("key-{number}"))).await
    }

    pub(super) async fn cancelled(&self, number: usize, step: Step) {
        let said = self.schedule(number, &step, in_seconds(20).to_string()).await;
        let mut ends = Ends::Either;
        if let Said::Yes(answer) = &said {
            tokio::time::sleep(Duration::from_secs(1 + number as u64 % 8)).await;
            let id = answer["data"][format!("m{number}")]["transaction_id"].as_str().unwrap_or_default();
            let cancelled =
                self.persist(step.ingress, &format!("/api/v1/mails/{id}/cancel"), &Value::Null, None).await;
            if let Said::Yes(_) = cancelled {
                ends = Ends::Cancelled;
            }
        }
        self.promise(Promise::new(address(number, step.task), said, ends));
    }

    pub(super) async fn suppressed(&self, number: usize, step: Step) {
        let (at, recipient) = (in_seconds(20), address(number, step.task));
        let said = self.schedule(number, &step, at.to_string()).await;
        let path = format!("/api/v1/suppressions/{recipient}");
        let done = self.persist_with(Method::PUT, step.ingress, &path, &json!({}), None).await;
        let is_in_time = matches!(done, Said::Yes(_)) && in_seconds(2) < at && !self.moves_clocks;
        let ends = if is_in_time { Ends::Suppressed } else { Ends::Either };
        self.promise(Promise::new(recipient, said, ends));
    }
}
