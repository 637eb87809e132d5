//! What merchants see of an order.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    mail::{MailState, Timestamp},
    shop::order::Order,
    store::{NewOrderEmail, OrderEmail},
};

/// An order as its merchant sent it, with its e-mail workflows and e-mails as postroom knows them.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OrderView {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) order: Order,
    /// Oldest first.
    pub(super) emails: Vec<EmailView>,
}

/// One e-mail of an order.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct EmailView {
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
    /// Whether it is only tried out; absent where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
}

impl EmailView {
    pub(super) fn new(
        entry: &NewOrderEmail,
        status: MailState,
        email_id: Option<String>,
        is_test: bool,
    ) -> Self {
        Self {
            email_id,
            template_name: entry.template.as_str(),
            template_definition_name: entry.definition.clone(),
            recipient: entry.recipient.to_string(),
            payment_id: entry.payment.clone(),
            create_date: entry.created_at,
            status,
            test: is_test,
        }
    }
}

impl From<&OrderEmail> for EmailView {
    fn from(email: &OrderEmail) -> Self {
        Self::new(&email.entry, email.state, email.email_id.clone(), email.is_test)
    }
}
