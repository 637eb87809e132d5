//! The order family: an order as postroom knows it, and sending one of its mails again (`order-email.txt`).
//!
//! A request to send is read in `request.rs`, judged in `judgement.rs`, and recorded and dispatched in `resend.rs`.

mod judgement;
mod loaded;
mod refusals;
mod request;
mod resend;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
    routing::{get, post},
};

use super::{
    auth::Caller,
    body::JsonBody,
    error::Refusal,
    idempotency::{Idempotency, IdempotencyKey},
    pagination::QueryOf,
};
use crate::{app::App, shop::Ability};

use loaded::LoadedOrder;
use request::{Resend, SendRequest};
use view::OrderView;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/ordersv2/{id}", get(show)).route("/ordersv2/{id}/email/send", post(send_email))
}

#[utoipa::path(get, path = "/ordersv2/{id}", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = OrderView)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Refusal> {
    caller.may(Ability::OrdersRead)?;
    Ok(Json(LoadedOrder::load(&app, &caller.merchant.id, &id, "order").await?.view()))
}

#[utoipa::path(post, path = "/ordersv2/{id}/email/send", tag = "orders", request_body = SendRequest,
    params(("id" = String, Path), IdempotencyKey,
        ("reason" = Option<String>, Query, description = "For the audit: up to 255 characters, `MANUAL_RESEND` where absent."),
        ("Postroom-Force" = Option<String>, Header, description = "`true` sends the mail although the store's `resendCooldown` is not over; the audit shows it.")),
    responses(
        (status = 202, body = OrderView, description = "The e-mail is recorded and on its way."),
        (status = 200, body = OrderView, description = "No e-mail is needed: the store does not want it, or a subscription has resumed already."),
        (status = 400, description = "`{error: {code, message}}`: `template_missing`, `template_not_supported`, `template_unknown`, `template_incomplete`, `order_not_eligible`, `payment_unknown`, `recipient_invalid`, `recipient_missing`, `reason_invalid`, `resend_cooldown`, `force_invalid`"),
        (status = 404, description = "`{error: {code, message}}`: `order_not_found`"),
        (status = 503, description = "`{error: {code, message}}`: `dispatch_failed`, the queue did not take the e-mail; it failed and is never sent")))]
pub(super) async fn send_email(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<Vec<(String, String)>>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::OrdersEmail)?;
    idempotency
        .run(&app, &caller, &body.0, async |holder| {
            Resend::of(&app, &caller, &id, &query, &headers, &body).carry_out(holder.as_ref()).await
        })
        .await
}
