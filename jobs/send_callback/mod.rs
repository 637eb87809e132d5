//! Posts a recorded callback to its receiver and records what the receiver said.
//!
//! Comes after the scheduler, a replay or another callback that made room. Running twice is harmless: whoever cannot claim
//! the delivery leaves it alone, and every attempt carries the same `webhook-id`.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::job::{Job, Outcome, Row, job_id, until_recorded};
use crate::{
    app::App,
    callback::{self, CallbackAdmission, CallbackPermit, Secret, WebhookRequest},
    clock,
    mail::{DeliveryId, Lane, MailLane, MerchantId, TraceParent},
    queue::QueuedJob,
    store::{Callback, CallbackClaim, CallbackSettled, CallbackSettlement},
    telemetry::{METRICS, Outages, metrics::CallbackLabels, whole_millis},
    webhook::{self, CallbackOutcome, CallbackReply},
};

/// Receivers that take nothing.
static AWAY: LazyLock<Outages> = LazyLock::new(Outages::default);

/// Sends one callback, once.
pub struct SendCallback {
    /// Which.
    pub delivery: DeliveryId,
}

/// The job that sends a callback.
pub fn send_callback_job(delivery: DeliveryId, merchant: MerchantId) -> QueuedJob {
    QueuedJob::new(job_id::<SendCallback>(delivery), Lane::Callback, merchant)
}

#[async_trait]
impl Job for SendCallback {
    const NAME: &'static str = "send_callback";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        if !app.worker.is_heard() {
            return Ok(Outcome::Waits);
        }
        let Some(_at_work) = app.worker.begin(self.delivery.0, MailLane::Bulk) else {
            return Ok(Outcome::NothingToDo);
        };
        let destination = app.store.due_destination(self.delivery);
        let Some(to) = app.worker.while_heard(destination).await? else {
            return Ok(Outcome::NothingToDo);
        };
        match app.callbacks.limiter.acquire(&to.name, (self.delivery, to.merchant), Instant::now()) {
            CallbackAdmission::Now(permit) => self.deliver(app, permit).await,
            // It is enqueued again when a permit is released.
            CallbackAdmission::Full => Ok(Outcome::Postponed),
            CallbackAdmission::Later(pause) => {
                app.store.put_off_deliveries(self.delivery, to.endpoint, clock::now() + pause).await?;
                Ok(Outcome::Postponed)
            }
        }
    }
}

impl SendCallback {
    async fn deliver(&self, app: &App, permit: CallbackPermit<'_>) -> anyhow::Result<Outcome> {
        let claim = app.store.claim_callback(self.delivery, app.worker.id);
        let callback = match app.worker.while_heard(claim).await? {
            CallbackClaim::Granted(callback) => callback,
            CallbackClaim::NotYours => {
                enqueue_waiting(app, permit.unused());
                return Ok(Outcome::NothingToDo);
            }
        };
        let started_at = clock::now();
        let reply = post(app, &callback).await;
        let next = match reply.outcome {
            CallbackOutcome::Disabled => permit.unused(),
            _ => permit.used(reply.is_away(), Instant::now()),
        };
        enqueue_waiting(app, next);
        let verdict = webhook::judge(&reply, callback.attempt_of_schedule, clock::now(), rand::random());
        note_attempt(&callback, &reply);
        let settlement = CallbackSettlement::new(&callback, app.worker.id, started_at, reply, verdict);
        let settle = || app.store.settle_callback(settlement.clone());
        let settled = until_recorded("an attempt of a callback", Row::Delivery(callback.id), settle).await?;
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
        trace_parent: callback.trace_parent.as_ref().map(TraceParent::as_str),
    };
    app.callbacks.post(webhook).await
}

/// Enqueues callbacks that wait for a permit and could have one. The scheduler asks for it with each of its rounds.
pub fn enqueue_callbacks_with_room(app: &App) {
    enqueue_waiting(app, app.callbacks.limiter.take_those_with_room());
}

/// Enqueues callbacks that waited for a permit.
fn enqueue_waiting(app: &App, waiting: Vec<callback::Waiting>) {
    for (delivery, merchant) in waiting {
        app.enqueue(send_callback_job(delivery, merchant));
    }
}

fn note_attempt(callback: &Callback, reply: &CallbackReply) {
    let outcome = if reply.is_taken() { "taken" } else { reply.outcome.as_str() };
    METRICS.callbacks.get_or_create(&CallbackLabels { outcome }).inc();
    METRICS.callback_seconds.observe(reply.took.as_secs_f64());
    // One that is away is told once and then each minute: its callbacks are kept apart from those of others.
    let receiver = callback.endpoint.map_or_else(|| callback.merchant.to_string(), |it| it.to_string());
    if !reply.is_taken()
        && let Some(times) = AWAY.failed(&receiver)
    {
        tracing::warn!(
            merchant = %callback.merchant,
            endpoint = callback.endpoint.map(tracing::field::display),
            host = host_of(&callback.url),
            outcome = %reply.outcome,
            status = reply.status,
            times,
            "a receiver does not take callbacks"
        );
    } else if reply.is_taken() {
        AWAY.works(&receiver);
    }
    tracing::info!(
        delivery = %callback.id,
        merchant = %callback.merchant,
        attempt = callback.attempt,
        outcome = %reply.outcome,
        status = reply.status,
        millis = whole_millis(reply.took),
        trace_id = callback.trace_parent.as_ref().map(TraceParent::trace_id),
        "callback"
    );
}

/// The host in a URL. What comes after it may be a secret.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
