//! Webhooks: the URLs that get a merchant's events, and their deliveries.

mod deliveries;
mod view;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::JsonBody,
    error::{FieldError, Refusal},
};
use crate::{
    app::App,
    callback::{self, Secret, Signed},
    clock,
    mail::EndpointId,
    shop::Ability,
    store::{EndpointChange, MOST_ENDPOINTS, NewEndpoint, Registered},
    webhook::{EventKind, Topics},
};

pub(super) use deliveries::*;
pub(super) use view::{DeletedView, EndpointView, EventView, Success, ValidView};

/// The longest payload whose signature is checked, in bytes: many times what postroom ever sends.
const LONGEST_PAYLOAD: usize = 1 << 20;
/// So many bytes are hashed where the request is answered; more are hashed away from the async threads, one request at
/// a time.
const HASHED_AT_ONCE: usize = 1 << 18;
/// The turn of a request that hashes a lot.
static HASHES: Semaphore = Semaphore::const_new(1);

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 500;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/webhooks", get(list).post(register))
        .route("/webhooks/events", get(list_events))
        .route("/webhooks/verify-signature", post(verify_signature))
        .route("/webhooks/{id}", put(change).delete(remove))
        .route("/webhooks/{id}/refresh-secret", post(refresh_secret))
        .route("/webhooks/{id}/test", post(test))
        .route("/webhooks/{id}/deliveries", get(list_deliveries))
        .route("/webhooks/{id}/deliveries/replay", post(replay_failed))
        .route("/webhooks/{id}/deliveries/{delivery}", get(show_delivery))
        .route("/webhooks/{id}/deliveries/{delivery}/replay", post(replay))
}

#[utoipa::path(get, path = "/webhooks/events", tag = "webhooks",
    responses((status = 200, body = Success<Vec<EventView>>)))]
pub(super) async fn list_events(caller: Caller) -> Result<Json<Success<Vec<EventView>>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    Ok(Success::of(EventKind::ALL.iter().copied().map(EventView::of).collect()))
}

#[utoipa::path(get, path = "/webhooks", tag = "webhooks",
    responses((status = 200, body = Success<Vec<EndpointView>>)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Success<Vec<EndpointView>>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let endpoints = app.store.endpoints(&caller.merchant.id).await?;
    Ok(Success::of(endpoints.into_iter().map(EndpointView::of).collect()))
}

/// An endpoint as it is asked for.
#[derive(Deserialize, ToSchema)]
pub(super) struct EndpointRequest {
    /// http or https, without credentials; required to register.
    url: Option<String>,
    /// Names of events; `["*"]`, the default, is every event.
    events: Option<Vec<String>>,
    /// At most 500 characters.
    description: Option<String>,
    /// True where not given.
    enabled: Option<bool>,
}

impl EndpointRequest {
    /// What is asked for, checked; every fault at once.
    fn checked(self, app: &App) -> Result<EndpointChange, Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut fault = |path: String, message: String| faults.push(FieldError { path, message });
        if let Some(Err(why)) = self.url.as_deref().map(|url| app.callbacks.address_policy().judge_url(url)) {
            fault("url".to_owned(), format!("The url {why}."));
        }
        let topics = match self.events.as_deref().map(Topics::parse) {
            Some(Err((index, unknown))) => {
                fault(format!("events.{index}"), format!("There is no such event: {unknown}."));
                None
            }
            Some(Ok(Topics::Some(none))) if none.is_empty() => {
                fault("events".to_owned(), "The events field must name at least one event.".to_owned());
                None
            }
            topics => topics.and_then(Result::ok),
        };
        if self.description.as_ref().is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
            let message = format!("The description must have at most {LONGEST_DESCRIPTION} characters.");
            fault("description".to_owned(), message);
        }
        let Self { url, description, enabled, .. } = self;
        if faults.is_empty() { Ok(EndpointChange { url, topics, description, enabled }) } else { Err(faults) }
    }
}

#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = EndpointRequest,
    responses((status = 201, body = Success<EndpointView>)))]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody,
) -> Result<(StatusCode, Json<Success<EndpointView>>), Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let request: EndpointRequest = body.parse()?;
    let no_url = request.url.is_none();
    let checked = request.checked(&app);
    let mut faults = checked.as_ref().err().cloned().unwrap_or_default();
    if no_url {
        faults.insert(0, FieldError { path: "url".into(), message: "The url field is required.".into() });
    }
    let (Ok(EndpointChange { url: Some(url), topics, description, enabled }), true) =
        (checked, faults.is_empty())
    else {
        return Err(Refusal::invalid(faults));
    };
    let endpoint = NewEndpoint {
        url,
        topics: topics.unwrap_or(Topics::All),
        description: description.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        secret: Secret::generate().expose().into(),
    };
    match app.store.register_endpoint(&caller.merchant.id, &endpoint).await? {
        Registered::Now(endpoint) => {
            Ok((StatusCode::CREATED, Success::of(EndpointView::with_secret(*endpoint))))
        }
        Registered::TooMany => {
            let message = format!("A merchant has at most {MOST_ENDPOINTS} webhooks.");
            Err(Refusal::new(StatusCode::CONFLICT, "too_many", message))
        }
    }
}

#[utoipa::path(put, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    request_body(content = EndpointRequest, description = "what is not given stays as it is"),
    responses((status = 200, body = Success<EndpointView>)))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Success<EndpointView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let id = endpoint_id(&id)?;
    let change = body.parse::<EndpointRequest>()?.checked(&app).map_err(Refusal::invalid)?;
    let changed = app.store.change_endpoint(&caller.merchant.id, id, &change).await?;
    changed.map(|endpoint| Success::of(EndpointView::of(endpoint))).ok_or_else(no_webhook)
}

#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Success<DeletedView>)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<DeletedView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let id = endpoint_id(&id)?;
    match app.store.delete_endpoint(&caller.merchant.id, id).await? {
        true => Ok(Success::of(DeletedView { id: id.to_string(), deleted: true })),
        false => Err(no_webhook()),
    }
}

#[utoipa::path(post, path = "/webhooks/{id}/refresh-secret", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Success<EndpointView>, description = "both secrets sign for 24 hours")))]
pub(super) async fn refresh_secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<EndpointView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let secret = Secret::generate().expose().into();
    let refreshed = app.store.refresh_secret(&caller.merchant.id, endpoint_id(&id)?, &secret).await?;
    refreshed.map(|endpoint| Success::of(EndpointView::with_secret(endpoint))).ok_or_else(no_webhook)
}

/// A signature to check, as it came in a callback's headers, and the callback's body.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignatureRequest {
    /// `webhook-id`.
    id: String,
    /// `webhook-timestamp`: seconds, as text or as a number.
    #[schema(value_type = String)]
    timestamp: Box<RawValue>,
    /// `webhook-signature`.
    signature: String,
    /// The body, byte for byte, as a string; or the JSON itself, exactly as it was received.
    #[schema(value_type = String)]
    payload: Box<RawValue>,
}

#[utoipa::path(post, path = "/webhooks/verify-signature", tag = "webhooks", request_body = SignatureRequest,
    responses((status = 200, body = Success<ValidView>)))]
pub(super) async fn verify_signature(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Success<ValidView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let request: SignatureRequest = body.parse()?;
    let now = clock::now();
    let endpoints = app.store.endpoints(&caller.merchant.id).await?;
    let mut secrets: Vec<_> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.secrets(now))
        .filter_map(|secret| Secret::parse(secret.expose_secret()))
        .collect();
    secrets.extend(Secret::parse(&caller.merchant.secret)); // signs batch webhooks
    let signed =
        Signed { id: request.id, timestamp: text_of(&request.timestamp), signature: request.signature };
    let payload = text_of(&request.payload);
    if payload.len() > LONGEST_PAYLOAD {
        return Err(Refusal::field("payload", "The payload must have at most 1 MiB."));
    }
    let verify = move || callback::verify(&signed, payload.as_bytes(), &secrets, now);
    if request.payload.get().len() * (endpoints.len() + 1) <= HASHED_AT_ONCE {
        return Ok(Success::of(ValidView { valid: verify() }));
    }
    let turn = HASHES.acquire().await.map_err(|_| Refusal::unavailable())?;
    // Hashing goes on when the caller has gone, and keeps its turn until its end.
    let verify = move || {
        let _turn = turn;
        verify()
    };
    let valid = tokio::task::spawn_blocking(verify).await.map_err(|_| Refusal::unavailable())?;
    Ok(Success::of(ValidView { valid }))
}

/// What a JSON string says; any other JSON as it stands.
fn text_of(json: &RawValue) -> String {
    serde_json::from_str::<String>(json.get()).unwrap_or_else(|_| json.get().to_owned())
}

fn endpoint_id(text: &str) -> Result<EndpointId, Refusal> {
    text.parse().map_err(|_| no_webhook())
}

fn no_webhook() -> Refusal {
    Refusal::not_found("Webhook")
}

#[cfg(test)]
mod tests;
