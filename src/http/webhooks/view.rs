//! What merchants see of webhooks.

use axum::Json;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    mail::Timestamp,
    store::{DeliveryAttempt, DeliveryRecord, Endpoint},
    webhook::EventKind,
};

/// A success with its content.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success<T> {
    status: &'static str,
    data: T,
}

impl<T> Success<T> {
    pub(super) fn of(data: T) -> Json<Self> {
        Json(Self { status: "success", data })
    }
}

/// One page of a list, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageOf<T> {
    pub(super) status: &'static str,
    pub(super) data: Vec<T>,
    pub(super) pagination: Pagination,
}

/// Which page of how many things.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pagination {
    pub(super) page: u32,
    pub(super) per_page: u32,
    pub(super) total: u64,
}

/// An event that webhooks can listen to.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Its name, as in an endpoint's `events`.
    name: &'static str,
    /// When it happens.
    description: &'static str,
    /// A body as it would be sent.
    #[schema(value_type = Object)]
    example: Value,
}

impl EventView {
    pub(super) fn of(kind: EventKind) -> Self {
        Self { name: kind.as_str(), description: kind.description(), example: kind.example() }
    }
}

/// A webhook.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndpointView {
    /// UUIDv7.
    id: String,
    /// Where events are posted.
    url: String,
    /// The events it listens to; `["*"]` is every event.
    events: Vec<&'static str>,
    description: String,
    /// Whether it gets anything.
    enabled: bool,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// `whsec_…`; shown when it is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The first failure since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    failing_since: Option<Timestamp>,
    /// Why postroom disabled it: `gone` (it answered 410) or `failing` (it took nothing for five days).
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
}

impl EndpointView {
    pub(super) fn of(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url,
            events: endpoint.topics.names(),
            description: endpoint.description,
            enabled: endpoint.enabled,
            created_at: endpoint.created_at,
            secret: None,
            failing_since: endpoint.failing_since,
            disabled_reason: endpoint.disabled_reason,
        }
    }

    pub(super) fn with_secret(endpoint: Endpoint) -> Self {
        let secret = Some(endpoint.secrets.current().expose_secret().to_owned());
        Self { secret, ..Self::of(endpoint) }
    }
}

/// A webhook that is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedView {
    pub(super) id: String,
    pub(super) deleted: bool,
}

/// The result of checking a signature.
#[derive(Serialize, ToSchema)]
pub(crate) struct ValidView {
    /// Whether one of the merchant's secrets made it, at most five minutes from now.
    pub(super) valid: bool,
}

/// One event on its way to one webhook.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// UUIDv7.
    id: String,
    /// `webhook-id`, the same on every attempt.
    webhook_id: String,
    /// The event's name.
    event: Option<String>,
    /// `queued`, `sending`, `deferred`, `delivered` or `failed`.
    state: &'static str,
    /// How many attempts were begun.
    attempts_made: u32,
    /// The status of the last answer.
    status: Option<u16>,
    /// How far the last attempt came: `answered`, or why there was no answer.
    outcome: Option<String>,
    /// How long the last attempt took, in milliseconds.
    millis: Option<u64>,
    /// The first 4 KiB of the last answer, or why there was none.
    answer: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// When the next attempt is due, while it waits.
    #[schema(value_type = Option<String>)]
    due_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    settled_at: Option<Timestamp>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(delivery: DeliveryRecord) -> Self {
        Self {
            id: delivery.id.to_string(),
            webhook_id: delivery.webhook_id,
            event: delivery.kind,
            state: delivery.state.as_str(),
            attempts_made: delivery.attempt,
            status: delivery.status,
            outcome: delivery.outcome,
            millis: delivery.millis,
            answer: delivery.answer,
            created_at: delivery.created_at,
            due_at: (!delivery.state.is_settled()).then_some(delivery.due_at),
            settled_at: delivery.settled_at,
        }
    }
}

/// A delivery with its attempts.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryStory {
    #[serde(flatten)]
    pub(super) delivery: DeliveryView,
    /// Every POST, in order.
    pub(super) attempts: Vec<AttemptView>,
}

/// One POST.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryAttemptView)]
pub(crate) struct AttemptView {
    /// From 1.
    number: u32,
    #[schema(value_type = String)]
    at: Timestamp,
    status: Option<u16>,
    outcome: String,
    millis: u64,
    answer: String,
}

impl From<DeliveryAttempt> for AttemptView {
    fn from(attempt: DeliveryAttempt) -> Self {
        let DeliveryAttempt { number, at, outcome, status, millis, answer } = attempt;
        Self { number, at, status, outcome, millis, answer }
    }
}

/// How much is sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayedView {
    pub(super) replayed: u64,
}
