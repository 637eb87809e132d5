//! A mail as the statements read it that insert mails.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::mail::{BatchId, Extras, Mailbox, NewMail, Timestamp, TraceParent, WorkerId};

/// How long the scheduler leaves a fresh mail to the job that its ingress enqueues.
const ENQUEUED_BY_INGRESS: Duration = Duration::from_secs(15);

/// A mail as its INSERT reads it.
#[derive(Serialize)]
pub(super) struct MailRow<'a> {
    id: String,
    merchant_id: &'a str,
    lane: &'static str,
    template: &'a str,
    template_version: &'a str,
    sender: &'a Mailbox,
    reply_to: Option<&'a Mailbox>,
    recipient_name: Option<&'a str>,
    recipient: String,
    recipient_key: String,
    message_id: &'a str,
    tags: &'a RawValue,
    member_id: Option<&'a str>,
    order_id: Option<&'a str>,
    cart_id: Option<&'a str>,
    subscription_id: Option<&'a str>,
    batch_id: Option<BatchId>,
    on_crash: &'static str,
    recorded_at: i64,
    due_at: i64,
    wake_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    test: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a Extras>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    promotional: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsubscribe_language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
}

impl<'a> MailRow<'a> {
    pub(super) fn of(mail: &'a NewMail) -> Self {
        Self {
            id: mail.id.to_string(),
            merchant_id: mail.merchant.as_str(),
            lane: mail.lane.as_str(),
            template: &mail.template,
            template_version: &mail.template_version,
            sender: &mail.sender,
            reply_to: mail.reply_to.as_ref(),
            recipient_name: mail.recipient.name.as_deref(),
            recipient: mail.recipient.email.to_string(),
            recipient_key: mail.recipient.email.search_key(),
            message_id: &mail.message_id,
            tags: &mail.values,
            member_id: mail.origin.member.as_deref(),
            order_id: mail.origin.order.as_deref(),
            cart_id: mail.origin.cart.as_deref(),
            subscription_id: mail.origin.subscription.as_deref(),
            batch_id: mail.origin.batch,
            on_crash: mail.on_crash.as_str(),
            recorded_at: mail.recorded_at.millis(),
            due_at: mail.due_at.millis(),
            // Nobody else wakes one that waits for a time.
            wake_at: if mail.is_scheduled() { mail.due_at } else { mail.due_at + ENQUEUED_BY_INGRESS }
                .millis(),
            send_at: mail.schedule.send_at.map(Timestamp::millis),
            expires_at: mail.schedule.expires_at.map(Timestamp::millis),
            test: mail.is_test.into(),
            extras: mail.extras.as_deref(),
            traceparent: mail.trace_parent.as_ref().map(TraceParent::as_str),
            promotional: mail.is_promotional.into(),
            unsubscribe_language: mail.unsubscribe.as_ref().map(|link| &*link.language),
            worker: None,
        }
    }

    /// The same, claimed by this worker from the start.
    pub(super) fn claimed_by(self, worker: Option<WorkerId>) -> Self {
        Self { worker: worker.map(|worker| worker.to_string()), ..self }
    }
}
