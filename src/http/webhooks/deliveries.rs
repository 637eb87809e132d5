//! Deliveries: listing them, testing an endpoint, and sending again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    endpoints::{endpoint_id, no_webhook},
    view::{DeliveryStory, DeliveryView, PageOf, Pagination, ReplayedView, Success},
};
use crate::{
    app::App,
    http::{
        auth::Caller,
        body::JsonBody,
        error::{FieldError, Refusal},
        pagination::QueryOf,
    },
    jobs,
    mail::{DeliveryId, EndpointId, Timestamp},
    shop::Ability,
    store::{Replayed, Tested},
};

/// Which page is asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageNumber {
    /// From 1; 1 where not given.
    #[serde(default = "one")]
    #[param(minimum = 1, default = 1)]
    page: u32,
    /// 1 to 100; 20 where not given.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    per_page: u32,
}

const fn one() -> u32 {
    1
}

const fn twenty() -> u32 {
    20
}

impl PageNumber {
    fn checked(self) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str| {
            faults.push(FieldError { path: path.to_owned(), message: message.to_owned() });
        };
        if self.page == 0 {
            fault("page", "The page must be at least 1.");
        }
        if !(1..=100).contains(&self.per_page) {
            fault("per_page", "The per_page must be 1 to 100.");
        }
        if faults.is_empty() { Ok(self) } else { Err(Refusal::invalid(faults)) }
    }
}

#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), PageNumber),
    responses((status = 200, body = PageOf<DeliveryView>)))]
pub(crate) async fn list_deliveries(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<PageNumber>,
) -> Result<Json<PageOf<DeliveryView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let PageNumber { page, per_page } = query.checked()?;
    let (merchant, id) = (&caller.merchant.id, endpoint_id(&id)?);
    app.store.endpoint(merchant, id).await?.ok_or_else(no_webhook)?;
    let offset = u64::from(page - 1) * u64::from(per_page);
    let (deliveries, total) = app.store.deliveries(merchant, id, offset, per_page).await?;
    let data = deliveries.into_iter().map(DeliveryView::from).collect();
    Ok(Json(PageOf { status: "success", data, pagination: Pagination { page, per_page, total } }))
}

#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 200, body = Success<DeliveryStory>)))]
pub(crate) async fn show_delivery(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<Success<DeliveryStory>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    story(&app, &caller, endpoint_id(&id)?, delivery_id(&delivery)?).await
}

async fn story(
    app: &App,
    caller: &Caller,
    id: EndpointId,
    delivery: DeliveryId,
) -> Result<Json<Success<DeliveryStory>>, Refusal> {
    let record = app.store.delivery(&caller.merchant.id, id, delivery).await?.ok_or_else(no_delivery)?;
    let attempts = app.store.delivery_attempts(delivery).await?;
    let attempts = attempts.into_iter().map(Into::into).collect();
    Ok(Success::of(DeliveryStory { delivery: record.into(), attempts }))
}

#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/replay", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 200, body = Success<DeliveryStory>)))]
pub(crate) async fn replay(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<Success<DeliveryStory>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let (merchant, id, delivery) = (&caller.merchant.id, endpoint_id(&id)?, delivery_id(&delivery)?);
    match app.store.acting_for(caller.author()).replay_delivery(merchant, id, delivery).await? {
        Replayed::Now => {
            app.enqueue(jobs::send_callback_job(delivery, merchant.clone()));
            story(&app, &caller, id, delivery).await
        }
        Replayed::UnderWay(state) => {
            let message = format!("A delivery that is {state} cannot be replayed.");
            Err(Refusal::new(StatusCode::CONFLICT, "wrong_state", message))
        }
        Replayed::Disabled => Err(disabled()),
        Replayed::Unknown => Err(no_delivery()),
    }
}

/// What to send again.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ReplayRequest {
    /// Everything that was recorded since then (RFC 3339) and failed.
    #[schema(value_type = String)]
    since: Timestamp,
}

#[utoipa::path(post, path = "/webhooks/{id}/deliveries/replay", tag = "webhooks", params(("id" = String, Path)),
    request_body = ReplayRequest,
    responses((status = 200, body = Success<ReplayedView>)))]
pub(crate) async fn replay_failed(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Success<ReplayedView>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let (merchant, id) = (&caller.merchant.id, endpoint_id(&id)?);
    let ReplayRequest { since } = body.parse()?;
    let endpoint = app.store.endpoint(merchant, id).await?.ok_or_else(no_webhook)?;
    if !endpoint.enabled {
        return Err(disabled());
    }
    let replayed = app.store.acting_for(caller.author()).replay_failed(merchant, id, since).await?;
    Ok(Success::of(ReplayedView { replayed }))
}

#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = Success<DeliveryStory>, description = "a `webhook.test` is on its way")))]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<DeliveryStory>>, Refusal> {
    caller.may(Ability::WebhooksManage)?;
    let (merchant, id) = (&caller.merchant.id, endpoint_id(&id)?);
    match app.store.record_test(merchant, id).await? {
        Tested::Now(delivery) => {
            app.enqueue(jobs::send_callback_job(delivery, merchant.clone()));
            story(&app, &caller, id, delivery).await
        }
        Tested::Disabled => Err(disabled()),
        Tested::Unknown => Err(no_webhook()),
    }
}

fn delivery_id(text: &str) -> Result<DeliveryId, Refusal> {
    text.parse().map_err(|_| no_delivery())
}

fn no_delivery() -> Refusal {
    Refusal::not_found("Delivery")
}

fn disabled() -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "disabled", "The webhook is disabled; enable it first.")
}
