//! Renders a recorded mail, hands it to a route and records what the route said.
//!
//! Comes after the ingress, the fan-out or the waker. Running twice is harmless: whoever cannot claim the mail leaves
//! it alone.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;

use super::{Job, Outcome, until_recorded};
use crate::{
    app::App,
    clock,
    mail::{self, Mail, MailId, Phase, Reply},
    render::{self, Headers},
    smtp::Envelope,
    store::{Claim, Settled, Settlement},
    telemetry::{
        METRICS,
        metrics::{MailLabels, RouteLabels},
    },
};

/// Sends one mail, once.
pub struct SendMail {
    /// Which.
    pub mail: MailId,
}

#[async_trait]
impl Job for SendMail {
    const NAME: &'static str = "send_mail";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        if app.routes.is_empty() || !app.worker.is_heard() {
            return Ok(Outcome::Postponed);
        }
        let Some(_at_work) = app.worker.begin(self.mail.0) else {
            return Ok(Outcome::NothingToDo);
        };
        let mail = match app.store.claim_mail(self.mail, app.worker.id).await? {
            Claim::Granted(mail) => mail,
            Claim::NotYours(_) => return Ok(Outcome::NothingToDo),
        };
        let started_at = clock::now();
        let reply = match message_of(app, &mail).await? {
            Ok(message) => send(app, &mail, &message).await,
            Err(refused) => refused,
        };
        let verdict = app.config.retry.judge(
            &reply,
            mail.attempt,
            mail.on_crash,
            mail.recorded_at,
            clock::now(),
            rand::random(),
        );
        note_attempt(&mail, &reply);
        let settlement = Settlement::new(&mail, app.worker.id, started_at, reply, verdict);
        let settled = until_recorded(
            || app.store.settle_mail(settlement.clone()),
            |error| tracing::warn!(mail = %mail.id, error, "an attempt could not be recorded, trying again"),
        )
        .await?;
        note_settled(&mail, settled);
        Ok(Outcome::Done)
    }
}

/// The mail's bytes. What cannot be rendered is a refusal, on record like a relay's.
async fn message_of(app: &App, mail: &Mail) -> anyhow::Result<Result<Vec<u8>, Reply>> {
    let version = app
        .template_version(&mail.template_version)
        .await?
        .with_context(|| format!("template version `{}` is gone", mail.template_version))?;
    let values = serde_json::from_str(&mail.values).context("a mail's values are not JSON")?;
    let headers = Headers {
        sender: &mail.sender,
        reply_to: mail.reply_to.as_ref(),
        recipient: &mail.recipient,
        message_id: &mail.message_id,
        date: mail.recorded_at,
        list_unsubscribe: None,
    };
    let rendered =
        app.renderer.render(&version, &values).and_then(|content| render::compose(&headers, &content));
    Ok(rendered.map_err(|error| Reply {
        outcome: mail::Outcome::Permanent,
        ..Reply::silent("", Phase::Render, error.to_string(), Duration::ZERO)
    }))
}

async fn send(app: &App, mail: &Mail, message: &[u8]) -> Reply {
    let Some(route) = app.routes.pick() else {
        return Reply::silent("", Phase::Route, "no route", Duration::ZERO);
    };
    if let Some(rate) = app.rate_of(route.name()) {
        app.limits.wait(route.name(), rate).await;
    }
    let envelope = Envelope { sender: Some(&mail.sender.email), recipient: &mail.recipient.email };
    route.send(&envelope, message).await
}

fn note_attempt(mail: &Mail, reply: &Reply) {
    let labels = RouteLabels { route: reply.route.clone(), outcome: reply.outcome.as_str() };
    METRICS.attempts.get_or_create(&labels).inc();
    METRICS.attempt_seconds.observe(reply.took.as_secs_f64());
    tracing::info!(
        mail = %mail.id,
        merchant = %mail.merchant,
        attempt = mail.attempt,
        route = reply.route,
        phase = %reply.phase,
        outcome = %reply.outcome,
        code = reply.code,
        millis = reply.took.as_millis(),
        "attempt"
    );
}

fn note_settled(mail: &Mail, settled: Settled) {
    match settled {
        Settled::Now(state) if state.is_settled() => {
            let labels = MailLabels { lane: mail.lane.as_str(), state: state.as_str() };
            METRICS.settled.get_or_create(&labels).inc();
            METRICS.delivery_seconds.observe(clock::now().since(mail.recorded_at).as_secs_f64());
        }
        Settled::Now(_) => {}
        Settled::TooLate => {
            METRICS.settled_too_late.inc();
            tracing::warn!(mail = %mail.id, attempt = mail.attempt, "settled too late, the claim was gone");
        }
    }
}
