//! The order family: an order as postroom knows it, and sending one of its mails again (`order-email.txt`).

mod resend;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    auth::Caller, body::JsonBody, error::Refusal, idempotency::Once, mailing::document, page::QueryOf,
};
use crate::{
    app::App,
    mail::{MailState, MerchantId, Timestamp},
    shop::{
        Ability,
        order::{Order, WorkflowState},
    },
    store::{NewOrderEmail, OrderEmail, OrderRecord},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/ordersv2/{id}", get(show)).route("/ordersv2/{id}/email/send", post(send_email))
}

/// An order as its merchant sent it, with its e-mail workflows and e-mails as postroom knows them.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderView {
    id: String,
    #[serde(flatten)]
    order: Order,
    /// Oldest first.
    emails: Vec<EmailView>,
}

/// One e-mail of an order.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EmailView {
    /// The id that the relay gave the mail, else its Message-ID; absent until a relay took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_id: Option<String>,
    /// The template that was asked for.
    #[schema(example = "ORDERCONFIRMATION")]
    template_name: &'static str,
    /// The definition that was chosen.
    #[schema(example = "order-confirmation.default")]
    template_definition_name: String,
    /// Whom it is for.
    recipient: String,
    /// The payment it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    create_date: Timestamp,
    /// Where the mail is on its way.
    status: MailState,
}

impl EmailView {
    fn new(entry: &NewOrderEmail, status: MailState, email_id: Option<String>) -> Self {
        Self {
            email_id,
            template_name: entry.template.as_str(),
            template_definition_name: entry.definition.clone(),
            recipient: entry.recipient.to_string(),
            payment_id: entry.payment.clone(),
            create_date: entry.created_at,
            status,
        }
    }
}

impl From<&OrderEmail> for EmailView {
    fn from(email: &OrderEmail) -> Self {
        Self::new(&email.entry, email.state, email.email_id.clone())
    }
}

/// An order with the rows it was loaded from.
struct LoadedOrder {
    record: OrderRecord,
    /// The document, with the workflows that postroom moved over its own.
    order: Order,
}

impl LoadedOrder {
    async fn load(app: &App, merchant: &MerchantId, id: &str) -> Result<Self, Refusal> {
        let missing = || Refusal::new(StatusCode::NOT_FOUND, "order_not_found", "Order not found");
        if id.chars().any(char::is_control) {
            return Err(missing());
        }
        let record = app.store.order(merchant, id).await?.ok_or_else(missing)?;
        let mut order: Order = document(&record.document)?;
        for row in &record.workflows {
            order.set_workflow(row.workflow, row.state);
        }
        Ok(Self { record, order })
    }

    /// Takes workflows for pending whose mail is another one than in `seen`: a request made at the same moment has got
    /// ahead, however soon its mail was sent.
    fn yield_to_rivals(&mut self, seen: &Self) {
        for row in self.record.workflows.iter().filter(|row| row.mail.is_some()) {
            let was = seen.record.workflows.iter().find(|was| was.workflow == row.workflow);
            if was.and_then(|was| was.mail) != row.mail {
                self.order.set_workflow(row.workflow, WorkflowState::Pending);
            }
        }
    }

    fn view(&self) -> OrderView {
        OrderView {
            id: self.record.document.id.clone(),
            order: self.order.clone(),
            emails: self.record.emails.iter().map(EmailView::from).collect(),
        }
    }
}

#[utoipa::path(get, path = "/ordersv2/{id}", tag = "orders", params(("id" = String, Path)),
    responses((status = 200, body = OrderView)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Refusal> {
    caller.may(Ability::OrdersRead)?;
    Ok(Json(LoadedOrder::load(&app, &caller.merchant.id, &id).await?.view()))
}

/// A request to send a mail of an order again.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendRequest {
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

#[utoipa::path(post, path = "/ordersv2/{id}/email/send", tag = "orders", request_body = SendRequest,
    params(("id" = String, Path),
        ("reason" = Option<String>, Query, description = "For the audit: up to 255 characters, `MANUAL_RESEND` where absent.")),
    responses(
        (status = 202, body = OrderView, description = "The e-mail is recorded and on its way."),
        (status = 200, body = OrderView, description = "No e-mail is needed: the store does not want it, or a subscription has resumed already."),
        (status = 400, description = "`{error: {code, message}}`: `template_missing`, `template_not_supported`, `template_unknown`, `template_incomplete`, `order_not_eligible`, `payment_unknown`, `recipient_invalid`, `recipient_missing`, `reason_invalid`"),
        (status = 404, description = "`{error: {code, message}}`: `order_not_found`"),
        (status = 503, description = "`{error: {code, message}}`: `dispatch_failed`, the queue did not take the e-mail; it failed and is never sent")))]
pub(super) async fn send_email(
    State(app): State<Arc<App>>,
    caller: Caller,
    once: Once,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<Vec<(String, String)>>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::OrdersEmail)?;
    once.run(&app, &caller, &body.0, async |holder| {
        let request = resend::Resend::of(&app, &caller, &id, &query, &body)?;
        request.carry_out(holder.as_ref()).await
    })
    .await
}
