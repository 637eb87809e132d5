//! The URLs that get a merchant's events: registering, changing and removing them, and their secrets.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::{DeletedView, EndpointView, EventView, Success};
use crate::{
    app::App,
    callback::Secret,
    http::{
        auth::Caller,
        body::JsonBody,
        error::{FieldError, Refusal},
    },
    mail::EndpointId,
    shop::Ability,
    store::{EndpointChange, MOST_ENDPOINTS, NewEndpoint, Registered},
    webhook::{EventKind, Topics},
};

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 500;

#[utoipa::path(get, path = "/webhooks/events", tag = "webhooks",
    responses((status = 200, body = Success<Vec<EventView>>)))]
pub(crate) async fn list_events(caller: Caller) -> Result<Json<Success<Vec<EventView>>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    Ok(Success::of(EventKind::ALL.iter().copied().map(EventView::of).collect()))
}

#[utoipa::path(get, path = "/webhooks", tag = "webhooks",
    responses((status = 200, body = Success<Vec<EndpointView>>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Success<Vec<EndpointView>>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let endpoints = app.store.endpoints(&caller.merchant.id).await?;
    Ok(Success::of(endpoints.into_iter().map(EndpointView::of).collect()))
}

/// An endpoint as it is asked for.
#[derive(Deserialize, ToSchema)]
pub(crate) struct EndpointRequest {
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
            Some(Ok(Topics::Only(none))) if none.is_empty() => {
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
pub(crate) async fn register(
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
    match app.store.acting_for(caller.author()).register_endpoint(&caller.merchant.id, &endpoint).await? {
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
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Success<EndpointView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let id = endpoint_id(&id)?;
    let change = body.parse::<EndpointRequest>()?.checked(&app).map_err(Refusal::invalid)?;
    let changed =
        app.store.acting_for(caller.author()).change_endpoint(&caller.merchant.id, id, &change).await?;
    changed.map(|endpoint| Success::of(EndpointView::of(endpoint))).ok_or_else(no_webhook)
}

#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Success<DeletedView>)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<DeletedView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let id = endpoint_id(&id)?;
    match app.store.acting_for(caller.author()).delete_endpoint(&caller.merchant.id, id).await? {
        true => Ok(Success::of(DeletedView { id: id.to_string(), deleted: true })),
        false => Err(no_webhook()),
    }
}

#[utoipa::path(post, path = "/webhooks/{id}/refresh-secret", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Success<EndpointView>, description = "both secrets sign for 24 hours")))]
pub(crate) async fn refresh_secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<EndpointView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let secret = Secret::generate().expose().into();
    let refreshed = app
        .store
        .acting_for(caller.author())
        .refresh_secret(&caller.merchant.id, endpoint_id(&id)?, &secret)
        .await?;
    refreshed.map(|endpoint| Success::of(EndpointView::with_secret(endpoint))).ok_or_else(no_webhook)
}

pub(super) fn endpoint_id(text: &str) -> Result<EndpointId, Refusal> {
    text.parse().map_err(|_| no_webhook())
}

pub(super) fn no_webhook() -> Refusal {
    Refusal::not_found("Webhook")
}
