//! Posts a recorded callback to its receiver and records what the receiver said.
//!
//! Comes after the scheduler, a replay or another callback that made room. Running twice is harmless: whoever cannot claim
//! the delivery leaves it alone, and every attempt carries the same `webhook-id`.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::job::{Job, Outcome, until_recorded};
use crate::{
    app::App,
    callback::{self, Permit, Secret, Turn, WebhookRequest},
    clock,
    mail::{DeliveryId, Lane, MerchantId},
    queue::QueuedJob,
    store::{Callback, CallbackClaim, CallbackSettled, CallbackSettlement},
    telemetry::{METRICS, metrics::CallbackLabels},
    webhook::{self, CallbackOutcome, CallbackReply},
};

/// Sends one callback, once.
pub struct SendCallback {
    /// Which.
    pub delivery: DeliveryId,
}

/// The job that sends a callback.
pub fn send_callback_job(delivery: DeliveryId, merchant: MerchantId) -> QueuedJob {
    QueuedJob::new(format!("{}:{delivery}", SendCallback::NAME), Lane::Callback, merchant)
}

#[async_trait]
impl Job for SendCallback {
    const NAME: &'static str = "send_callback";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        if !app.worker.is_heard() {
            return Ok(Outcome::Postponed);
        }
        let Some(_at_work) = app.worker.begin(self.delivery.0) else {
            return Ok(Outcome::NothingToDo);
        };
        let Some(to) = app.store.due_destination(self.delivery).await? else {
            return Ok(Outcome::NothingToDo);
        };
        match app.callbacks.limiter.acquire(&to.name, (self.delivery, to.merchant), Instant::now()) {
            Turn::Now(permit) => self.deliver(app, permit).await,
            // It is enqueued again when a permit is released.
            Turn::Full => Ok(Outcome::Postponed),
            Turn::Later(pause) => {
                app.store.put_off_deliveries(self.delivery, to.endpoint, clock::now() + pause).await?;
                Ok(Outcome::Postponed)
            }
        }
    }
}

impl SendCallback {
    async fn deliver(&self, app: &App, permit: Permit<'_>) -> anyhow::Result<Outcome> {
        let callback = match app.store.claim_callback(self.delivery, app.worker.id).await? {
            CallbackClaim::Granted(callback) => callback,
            CallbackClaim::NotYours => {
                ring_for(app, permit.unused());
                return Ok(Outcome::NothingToDo);
            }
        };
        let started_at = clock::now();
        let reply = post(app, &callback).await;
        let next = match reply.outcome {
            CallbackOutcome::Disabled => permit.unused(),
            _ => permit.used(reply.is_away(), Instant::now()),
        };
        ring_for(app, next);
        let verdict = webhook::judge(&reply, callback.attempt_of_schedule, clock::now(), rand::random());
        note_attempt(&callback, &reply);
        let settlement = CallbackSettlement::new(&callback, app.worker.id, started_at, reply, verdict);
        let settled = until_recorded(
            || app.store.settle_callback(settlement.clone()),
            |error| tracing::warn!(delivery = %callback.id, error, "an attempt could not be recorded, trying again"),
        )
        .await?;
        if settled == CallbackSettled::TooLate {
            METRICS.settled_too_late.inc();
            tracing::warn!(delivery = %callback.id, attempt = callback.attempt, "settled too late, the claim was gone");
        }
        Ok(Outcome::Done)
    }
}

async fn post(app: &App, callback: &Callback) -> CallbackReply {
    if !callback.enabled {
        let text = "nothing was sent, the endpoint is disabled";
        return CallbackReply::silent(CallbackOutcome::Disabled, text, Duration::ZERO);
    }
    let secrets: Vec<_> =
        callback.secrets.iter().filter_map(|secret| Secret::parse(secret.expose_secret())).collect();
    let webhook = WebhookRequest {
        id: callback.webhook_id.clone(),
        url: &callback.url,
        body: callback.body.clone(),
        secrets: &secrets,
    };
    app.callbacks.post(webhook).await
}

/// Wakes those who waited for room.
fn ring_for(app: &App, waiting: Vec<callback::Waiting>) {
    for (delivery, merchant) in waiting {
        app.enqueue(send_callback_job(delivery, merchant));
    }
}

fn note_attempt(callback: &Callback, reply: &CallbackReply) {
    let outcome = if reply.is_taken() { "taken" } else { reply.outcome.as_str() };
    METRICS.callbacks.get_or_create(&CallbackLabels { outcome }).inc();
    METRICS.callback_seconds.observe(reply.took.as_secs_f64());
    tracing::info!(
        delivery = %callback.id,
        merchant = %callback.merchant,
        attempt = callback.attempt,
        outcome = %reply.outcome,
        status = reply.status,
        millis = reply.took.as_millis(),
        "callback"
    );
}

#[cfg(test)]
mod tests;
