//! The cart-link family: sends a shopper the link to the cart (`cart-link.txt`).

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
    routing::post,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body, cart_look,
    error::{Refusal, json_answer},
    idempotency::{Idempotency, IdempotencyKey},
    new_mail::{self, BuiltinMailDraft, IsRecorded},
    stored::document,
};
use crate::{
    app::App,
    mail::{Origin, Schedule},
    shop::{Ability, ResourceKind, builtin_mails::BuiltinMail, subscription::Subscription},
    store::{Answer, KeyHolder, Merchant, Precondition, Recording, Replacement, Stored},
};

/// How often the rules are asked when the subscription changes meanwhile.
const TRIES: usize = 3;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/public/v1/subscriptions/{id}/send_email", post(send_cart_link))
}

/// A success of the cart-link family.
#[derive(Serialize, ToSchema)]
pub(super) struct CartLinkAnswer {
    /// In the merchant's language.
    #[schema(example = "Cart link email sent successfully")]
    message: &'static str,
}

/// Sends the cart link of a subscription to its shopper. No body is needed.
#[utoipa::path(post, path = "/api/public/v1/subscriptions/{id}/send_email", tag = "cart link",
    params(("id" = String, Path, description = "The subscription's id"),
        IdempotencyKey),
    responses((status = 202, body = CartLinkAnswer, description = "The mail is recorded"),
        (status = 401, description = "Missing or wrong credentials"),
        (status = 403, description = "The credential lacks `subscriptions.email`"),
        (status = 422, description = "Unknown subscription, no address, or not in this state"),
        (status = 503, description = "Nothing was recorded; try again after `Retry-After`")))]
pub(super) async fn send_cart_link(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    caller.may(Ability::SubscriptionsEmail)?;
    let (body, _room) = body::read(request, &app).await?;
    idempotency.run(&app, &caller, &body, async |holder| send(&app, &caller, &id, holder).await).await
}

async fn send(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    holder: Option<KeyHolder>,
) -> Result<Answer, Refusal> {
    let merchant = &caller.merchant;
    let language = merchant.default_language();
    let answer = json_answer(StatusCode::ACCEPTED, &CartLinkAnswer { message: language.cart_link_sent() });
    for _ in 0..TRIES {
        let look_ups = app.store.look_ups(&merchant.id, "cart link");
        let stored = look_ups.document(ResourceKind::Subscriptions, id).await?;
        let stored = stored.ok_or_else(|| refused("Subscription not found"))?;
        let subscription: Subscription = document(&stored)?;
        let recipient =
            subscription.permit_cart_link(&merchant.country).map_err(|why| refused(why.title()))?;
        let draft = BuiltinMailDraft {
            mail: BuiltinMail::CartLink,
            language: merchant.locale().language_of_mail(None),
            recipient,
            values: subscription.mail_values(&merchant.name),
            origin: Origin { subscription: Some(stored.id.clone()), ..Origin::default() },
            schedule: Schedule::default(),
            brand: cart_look::brand_of(app, &look_ups, subscription.brand_id.as_ref()).await?,
        };
        // What a live merchant only tries out leaves its subscription as it is.
        let becomes = subscription.after_cart_link().filter(|_| !caller.is_trying_out);
        let recording = Recording {
            precondition: becomes.map(|becomes| replace(merchant, &stored, &becomes)).transpose()?,
            mails: vec![draft.into_mail(app, merchant, &look_ups).await?],
            answer: holder.clone().map(|holder| (holder, answer.clone())),
            ..Recording::default()
        };
        match new_mail::record(app, recording).await? {
            IsRecorded::Yes | IsRecorded::Suppressed => return Ok(answer),
            IsRecorded::Outdated => {} // somebody else moved the subscription: ask the rules about what it is now
        }
    }
    Err(Refusal::unavailable())
}

fn replace(merchant: &Merchant, stored: &Stored, becomes: &Subscription) -> Result<Precondition, Refusal> {
    Ok(Precondition::Replace(Box::new(Replacement {
        merchant: merchant.id.clone(),
        kind: ResourceKind::Subscriptions,
        id: stored.id.clone(),
        was: stored.body.clone(),
        becomes: serde_json::to_string(becomes)
            .map_err(|error| Refusal::failed("a subscription cannot be written as JSON", &error))?,
    })))
}

fn refused(title: &str) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", title)
}

#[cfg(test)]
mod tests;
