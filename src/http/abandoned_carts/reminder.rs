//! A merchant's reminder to a shopper who left a cart behind: judged, recorded, answered.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::carts::{find, invalid};
use crate::{
    app::App,
    clock,
    http::{
        accept_language::Preferred,
        auth::Caller,
        body::JsonBody,
        cart_look,
        error::{FieldError, Refusal, fault, json_answer},
        idempotency::{Idempotency, IdempotencyKey},
        new_mail::{self, BuiltinMailDraft, IsRecorded},
        schedule,
        stored::document,
    },
    mail::{Origin, Schedule},
    shop::{
        Ability, SingleLine,
        builtin_mails::BuiltinMail,
        cart::{AbandonedCart, ReminderRefusal},
        recovery_link,
        reminder::{Discount, Reminder, ReminderText},
    },
    store::{Answer, KeyHolder, Merchant, Recording},
};

/// A request to remind a shopper of a cart.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `draft` reads, which names each fault by its path")]
pub(in crate::http) struct ReminderRequest {
    /// `email`.
    #[schema(example = "email")]
    r#type: String,
    alert_details: AlertDetails,
    /// Not before this time, at most 30 days ahead; one in the past means at once.
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// Expires when it was not sent by this time, which is later than `send_at`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// The message to the shopper.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what `draft` reads, which names each fault by its path")]
pub(in crate::http) struct AlertDetails {
    /// The subject, without control characters.
    #[schema(min_length = 1, max_length = 255, example = "Complete your purchase")]
    subject: String,
    /// The words, as text.
    #[schema(min_length = 1, max_length = 10_000)]
    message: String,
    /// A discount in percent, which the recovery link then carries.
    #[schema(exclusive_minimum = 0, maximum = 100, example = 15)]
    offer_discount: Option<f64>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReminderAnswer {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// In the best language of `Accept-Language`.
    #[schema(example = "Reminder sent successfully")]
    message: &'static str,
    data: ReminderSent,
}

/// What was sent.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ReminderSent {
    reminder_sent: bool,
    /// `email`.
    #[schema(example = "email")]
    r#type: &'static str,
}

/// Reminds the shopper of a cart.
#[utoipa::path(post, path = "/abandoned-carts/{identifier}/reminder", tag = "abandoned carts",
    request_body = ReminderRequest,
    params(("identifier" = String, Path),
        ("Accept-Language" = Option<String>, Header, description = "The language of the answer's message"),
        IdempotencyKey),
    responses((status = 200, body = ReminderAnswer, description = "The mail is recorded"),
        (status = 404, description = "No such cart"),
        (status = 422, description = "Something in the body is not allowed, or the cart was recovered or has no address"),
        (status = 503, description = "Nothing was recorded; try again after `Retry-After`")))]
pub(in crate::http) async fn remind(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    Path(identifier): Path<String>,
    Preferred(language): Preferred,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::CartsRemind)?;
    let message = language.reminder_sent();
    idempotency
        .run(&app, &caller, &body.0, async |holder| {
            let (reminder, schedule) = draft(body.parse()?)?;
            let data = ReminderSent { reminder_sent: true, r#type: "email" };
            let answer = json_answer(StatusCode::OK, &ReminderAnswer { status: "success", message, data });
            let kept = holder.map(|holder| (holder, answer.clone()));
            record(&app, &caller.merchant, &identifier, (&reminder, schedule), kept).await?;
            Ok(answer)
        })
        .await
}

async fn record(
    app: &Arc<App>,
    merchant: &Merchant,
    identifier: &str,
    (reminder, schedule): (&Reminder, Schedule),
    answer: Option<(KeyHolder, Answer)>,
) -> Result<(), Refusal> {
    let look_ups = app.store.look_ups(&merchant.id, "reminder");
    let stored = find(&look_ups, identifier).await?;
    let cart: AbandonedCart = document(&stored)?;
    let recipient = cart.permit_reminder().map_err(refused)?;
    let tag = cart.customer.language.as_ref().map(SingleLine::as_str);
    let language = merchant.locale().language_of_mail(tag);
    let link = cart.recovery_link.url();
    let link = match &reminder.discount {
        Some(discount) => {
            let expires = schedule.send_at.unwrap_or_else(clock::now) + recovery_link::OFFER_LASTS;
            &recovery_link::with_discount(link, &stored.id, discount, expires, &merchant.secret)
        }
        None => link,
    };
    let draft = BuiltinMailDraft {
        mail: BuiltinMail::AbandonedCartReminder,
        language,
        recipient,
        values: cart.mail_values(language, &merchant.name, reminder, link.as_str()),
        origin: Origin { cart: Some(stored.id), ..Origin::default() },
        schedule,
        brand: cart_look::brand_of(app, &look_ups, cart.brand_id.as_ref()).await?,
    };
    let mails = vec![draft.into_mail(app, merchant, &look_ups).await?];
    let recording = Recording { mails, answer, refuses_suppressed: true, ..Recording::default() };
    match new_mail::record(app, recording).await? {
        IsRecorded::Suppressed => Err(suppressed()),
        IsRecorded::Yes | IsRecorded::Outdated => Ok(()),
    }
}

fn suppressed() -> Refusal {
    let message = "The cart's customer is suppressed: no reminder is sent to this address.";
    invalid(vec![fault("customer.email", message)])
}

fn refused(why: ReminderRefusal) -> Refusal {
    match why {
        ReminderRefusal::Recovered => invalid(vec![fault("identifier", "The cart was recovered already.")]),
        ReminderRefusal::NoAddress => {
            invalid(vec![fault("customer.email", "The cart's customer has no email address.")])
        }
    }
}

/// Reads a body whose fields may be of any type, so that every fault is named at once and by its path.
fn draft(mut body: Map<String, Value>) -> Result<(Reminder, Schedule), Refusal> {
    let mut faults = Vec::new();
    let schedule = schedule::read(body.remove("send_at"), body.remove("expires_at"), &mut faults);
    match body.remove("type") {
        Some(Value::String(word)) if word == "email" => {}
        None | Some(Value::Null) => faults.push(required("type")),
        Some(_) => faults.push(fault("type", "The selected type is invalid.")),
    }
    let mut details = match body.remove("alert_details") {
        Some(Value::Object(details)) => details,
        None | Some(Value::Null) => {
            faults.push(required("alert_details"));
            return Err(invalid(faults).about_form());
        }
        Some(_) => {
            faults.push(fault("alert_details", "The alert_details field must be an object."));
            return Err(invalid(faults).about_form());
        }
    };
    let subject = text("alert_details.subject", details.remove("subject"), SingleLine::new, &mut faults);
    let take = |text: String| ReminderText::new(text).map_err(str::to_owned);
    let message = text("alert_details.message", details.remove("message"), take, &mut faults);
    let discount = discount(details.remove("offer_discount"), &mut faults);
    match (subject, message) {
        (Some(subject), Some(message)) if faults.is_empty() => {
            Ok((Reminder { subject, message, discount }, schedule))
        }
        _ => Err(invalid(faults).about_form()),
    }
}

fn text<T>(
    path: &str,
    given: Option<Value>,
    take: impl FnOnce(String) -> Result<T, String>,
    faults: &mut Vec<FieldError>,
) -> Option<T> {
    match given {
        Some(Value::String(text)) if !text.trim().is_empty() => match take(text) {
            Ok(taken) => return Some(taken),
            Err(why) => faults.push(fault(path, &format!("The {path} field {why}."))),
        },
        None | Some(Value::Null | Value::String(_)) => faults.push(required(path)),
        Some(_) => faults.push(fault(path, &format!("The {path} field must be a string."))),
    }
    None
}

fn discount(given: Option<Value>, faults: &mut Vec<FieldError>) -> Option<Discount> {
    let path = "alert_details.offer_discount";
    let taken = match given? {
        Value::Null => return None,
        Value::Number(percent) => Discount::new(&percent),
        _ => Err("must be a number"),
    };
    taken.map_err(|why| faults.push(fault(path, &format!("The {path} field {why}.")))).ok()
}

fn required(path: &str) -> FieldError {
    fault(path, &format!("The {path} field is required."))
}
