//! A request to send a mail of an order again: read, with its fields of whatever type they came.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{loaded::LoadedOrder, refusals::refuse};
use crate::{
    app::App,
    clock,
    http::{auth::Caller, body::JsonBody, error::Refusal},
    mail::Mailbox,
    shop::{
        SingleLine,
        order::{OrderTemplate, PaymentError, TemplateError},
    },
    store::{AuditEntry, NewAuditEntry},
};

/// Why a mail was asked for, where the caller does not say.
const DEFAULT_REASON: &str = "MANUAL_RESEND";
/// The header that overrides a store's cool-down.
pub(super) const FORCE: &str = "Postroom-Force";
/// The most characters of a template's name and of a reason that the audit keeps.
const AUDITED: usize = 255;

/// A request to send a mail of an order again.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct SendRequest {
    /// `PREBILLING`, `ORDERCONFIRMATION`, `CANCELLATION`, `PARTIAL_REFUND`, `OFFLINE_PAYMENT_PENDING`,
    /// `NON_RECURRING_PREBILLING`, `NON_RECURRING_PAYMENT_ATTEMPT` or `NON_RECURRING_PAYMENT_SUBSCRIPTION_EXPIRED`.
    #[schema(value_type = String, example = "ORDERCONFIRMATION")]
    template: Option<Value>,
    /// Instead of the order's own address.
    #[schema(value_type = Option<String>, example = "ann@example.net")]
    to: Option<Value>,
    /// One of the order's payments; the latest that fits the template where absent.
    #[schema(value_type = Option<String>, example = "pay_1")]
    payment_id: Option<Value>,
}

/// A request as it was read.
pub(super) struct Resend<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) caller: &'a Caller,
    pub(super) id: &'a str,
    asked: SendRequest,
    /// What is malformed. A request is refused for it once its order is loaded: that it was made is audited all the same.
    pub(super) malformed: Option<Refusal>,
    pub(super) audit: NewAuditEntry,
}

impl<'a> Resend<'a> {
    pub(super) fn of(
        app: &'a Arc<App>,
        caller: &'a Caller,
        id: &'a str,
        query: &[(String, String)],
        headers: &HeaderMap,
        body: &JsonBody,
    ) -> Self {
        let is_forced = is_forced(headers);
        let given = query.iter().find(|(name, reason)| name == "reason" && !reason.is_empty());
        let reason = given.map_or(DEFAULT_REASON, |(_, reason)| reason);
        let is_reason = SingleLine::<255>::new(reason.to_owned())
            .map_err(|why| refuse("reason_invalid", format!("The reason {why}")).about_form());
        // This family answers 400 to whatever is wrong with a body.
        let given: Result<Map<String, Value>, Refusal> =
            body.parse().map_err(|refusal| Refusal { status: StatusCode::BAD_REQUEST, ..refusal });
        let faults = [is_forced.as_ref().err(), is_reason.as_ref().err(), given.as_ref().err()];
        let malformed = faults.into_iter().flatten().next().cloned();
        let mut given = given.unwrap_or_default();
        let mut take = |field: &str| given.remove(field).filter(|value| !value.is_null());
        let asked = SendRequest { template: take("template"), to: take("to"), payment_id: take("paymentId") };
        let audit = audit(caller, id, asked.template.as_ref(), reason, is_forced.unwrap_or(false));
        Self { app, caller, id, asked, malformed, audit }
    }

    pub(super) fn template(&self) -> Result<OrderTemplate, Refusal> {
        let word = match &self.asked.template {
            Some(Value::String(word)) => word.as_str(),
            Some(_) => "",
            None => return Err(refuse("template_missing", "The template field is required")),
        };
        OrderTemplate::named(word).map_err(|error| match error {
            TemplateError::NotSupported => refuse("template_not_supported", error),
            TemplateError::Unknown => refuse("template_unknown", error),
        })
    }

    pub(super) fn asked_payment(&self) -> Result<Option<&str>, Refusal> {
        match &self.asked.payment_id {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => Err(PaymentError::Unknown.into()),
        }
    }

    pub(super) fn recipient(&self, found: &LoadedOrder) -> Result<Mailbox, Refusal> {
        let user = &found.order.end_user;
        match &self.asked.to {
            Some(to) => match to.as_str().map(str::parse) {
                Some(Ok(email)) => Ok(Mailbox { name: None, email }),
                Some(Err(error)) => {
                    Err(refuse("recipient_invalid", format!("The field to is no address: {error}")))
                }
                None => Err(refuse("recipient_invalid", "The field to must be a string")),
            },
            None => match &user.email {
                Some(email) => Ok(Mailbox { name: user.full_name(), email: email.clone() }),
                None => {
                    Err(refuse("recipient_missing", "The order has no address and the field to gives none"))
                }
            },
        }
    }
}

/// Whether the mail is to go whatever the store's cool-down says.
fn is_forced(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(FORCE).map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case(b"false") => Ok(false),
        Some(_) => {
            Err(refuse("force_invalid", format!("The header {FORCE} must be true or false")).about_form())
        }
    }
}

/// Who asks for which mail of an order, and why, as far as that fits on a line.
fn audit(
    caller: &Caller,
    order: &str,
    template: Option<&Value>,
    reason: &str,
    forced: bool,
) -> NewAuditEntry {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entry = AuditEntry {
        actor: caller.actor.to_string(),
        template: template.map(|value| word(value).chars().take(AUDITED).collect()),
        reason: reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(AUDITED).collect(),
        at: clock::now(),
        forced,
    };
    NewAuditEntry { id: Uuid::now_v7(), merchant: caller.merchant.id.clone(), order: order.to_owned(), entry }
}
