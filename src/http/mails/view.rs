//! A mail as its merchant sees it, with its attempts and its timeline.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::waiting::Waiting,
    mail::{AttachedFile, CancelReason, MailState, ReplyClass, Timestamp},
    store::{Attempt, MailRecord},
};

/// A mail as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailView {
    /// UUIDv7.
    pub id: String,
    /// Where it is on its way.
    pub state: MailState,
    /// The lane it travels in.
    pub lane: &'static str,
    /// The name of its template.
    pub template: String,
    /// Whom it is for.
    pub recipient: String,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// The member it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The order it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The cart it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cart: Option<String>,
    /// The subscription it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The batch it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String)]
    pub recorded_at: Timestamp,
    /// When the next attempt is due, while it waits.
    #[schema(value_type = Option<String>)]
    pub due_at: Option<Timestamp>,
    /// When it was settled.
    #[schema(value_type = Option<String>)]
    pub settled_at: Option<Timestamp>,
    /// How many attempts were begun.
    pub attempts_made: u32,
    /// The last route.
    pub route: Option<String>,
    /// The id that the relay gave it.
    pub provider_id: Option<String>,
    /// Why the last attempt did not deliver it.
    pub error: Option<String>,
    /// When it was to go, where a time was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub send_at: Option<Timestamp>,
    /// When it expires unless a relay has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// What had changed when it was about to go, where it was cancelled for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<CancelReason>,
    /// Whether it is only tried out: it goes to the sandbox and never to a relay.
    pub test: bool,
    /// What its request called it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What its request gave to have it back in callbacks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The files that go with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFileView>,
}

/// A file that goes with a mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttachedFileView {
    /// Its name.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes.
    pub size: usize,
    /// By which the HTML shows it, where it is inline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

/// A mail with its attempts and its timeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailStory {
    /// The mail.
    #[serde(flatten)]
    pub mail: MailView,
    /// The version of its template that it is made from: `GET /api/v1/templates/{id}/versions/{version}` shows it.
    pub template_version: String,
    /// Why it waits, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Every try to hand it to a route.
    pub attempts: Vec<AttemptView>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// One try to hand a mail to a route.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub number: u32,
    /// When it began.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The route that was tried.
    pub route: String,
    /// How far it came; null when the worker died.
    pub phase: Option<String>,
    /// What it came to.
    pub outcome: String,
    /// The SMTP code.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced_code: Option<String>,
    /// The relay's words.
    pub reply: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What the reply means.
    pub class: ReplyClass,
    /// What was said on the wire, with `transcript=true`: of an attempt that a relay refused because of the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
}

/// One thing that happened to a mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What.
    pub event: String,
}

impl From<MailRecord> for MailView {
    fn from(mail: MailRecord) -> Self {
        let waits = matches!(mail.state, MailState::Queued | MailState::Deferred);
        Self {
            id: mail.id.to_string(),
            state: mail.state,
            lane: mail.lane.as_str(),
            template: mail.template,
            recipient: mail.recipient,
            message_id: mail.message_id,
            member: mail.origin.member,
            order: mail.origin.order,
            cart: mail.origin.cart,
            subscription: mail.origin.subscription,
            batch: mail.origin.batch.map(|batch| batch.to_string()),
            recorded_at: mail.recorded_at,
            due_at: waits.then_some(mail.due_at),
            settled_at: mail.settled_at,
            attempts_made: mail.attempt,
            route: mail.route,
            provider_id: mail.provider_id,
            error: mail.error,
            send_at: mail.schedule.send_at,
            expires_at: mail.schedule.expires_at,
            cancel_reason: mail.cancel_reason,
            test: mail.is_test,
            tags: mail.extras.tags,
            metadata: mail.extras.metadata,
            attachments: mail.extras.attachments.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<AttachedFile> for AttachedFileView {
    fn from(file: AttachedFile) -> Self {
        let AttachedFile { filename, content_type, content_id, size, .. } = file;
        Self { filename, content_type, size, content_id }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at,
            route: attempt.route,
            phase: attempt.phase,
            outcome: attempt.outcome,
            code: attempt.code,
            enhanced_code: attempt.enhanced,
            reply: attempt.reply,
            millis: attempt.millis,
            class: attempt.class,
            transcript: attempt.transcript,
        }
    }
}

impl MailStory {
    /// Tells a mail's story from its rows.
    pub fn of(mail: MailRecord, waiting: Option<Waiting>, attempts: Vec<Attempt>) -> Self {
        let mut timeline = vec![TimelineEntry { at: mail.recorded_at, event: "recorded".to_owned() }];
        for attempt in &attempts {
            let event = format!("attempt {} {}", attempt.number, attempt.outcome);
            timeline.push(TimelineEntry { at: attempt.at, event });
        }
        if let (MailState::Sending, Some(at)) = (mail.state, mail.claimed_at) {
            timeline.push(TimelineEntry { at, event: format!("attempt {} begun", mail.attempt) });
        }
        if let Some(at) = mail.settled_at {
            let why = mail.cancel_reason.map(|why| format!(": {}", why.words())).unwrap_or_default();
            timeline.push(TimelineEntry { at, event: format!("{}{why}", mail.state) });
        }
        Self {
            template_version: mail.template_version.clone(),
            mail: mail.into(),
            waiting,
            attempts: attempts.into_iter().map(Into::into).collect(),
            timeline,
        }
    }
}
