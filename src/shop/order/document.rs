//! An order as a merchant's system tells it to postroom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::workflow::{Workflow, WorkflowState};
use crate::{
    mail::{Address, Timestamp, closed_set},
    shop::{Amount, Currency, Link, Quantity, SingleLine, full_name, optional},
};

/// An order. What is `None` was not sent; a PUT replaces the whole order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// The store it was made in: names the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "main")]
    pub store_id: Option<SingleLine>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "WEB")]
    pub source: Option<SingleLine>,
    /// How its mails look.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "default")]
    pub layout: Option<SingleLine>,
    /// The language of its mails, a language tag; the merchant's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "en")]
    pub language: Option<SingleLine<35>>,
    /// ISO 4217.
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
    /// What the shopper pays, a decimal string.
    #[schema(value_type = String, example = "59.90")]
    pub total_amount: Amount,
    /// What the items cost together.
    #[serde(skip_serializing_if = "Option::is_none", alias = "subtotal")]
    #[schema(value_type = Option<String>, example = "59.90")]
    pub subtotal_amount: Option<Amount>,
    /// What shipping costs.
    #[serde(skip_serializing_if = "Option::is_none", alias = "shipping")]
    #[schema(value_type = Option<String>, example = "4.90")]
    pub shipping_amount: Option<Amount>,
    /// How much of the total is tax.
    #[serde(skip_serializing_if = "Option::is_none", alias = "tax")]
    #[schema(value_type = Option<String>, example = "9.56")]
    pub tax_amount: Option<Amount>,
    /// What was taken off, without a minus.
    #[serde(skip_serializing_if = "Option::is_none", alias = "discount")]
    #[schema(value_type = Option<String>, example = "5.00")]
    pub discount_amount: Option<Amount>,
    /// Where it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<OrderAddress>,
    /// Who is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<OrderAddress>,
    /// The page of the order; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub order_url: Option<Link>,
    /// The page where it is paid; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub payment_url: Option<Link>,
    /// What was ordered.
    #[serde(default, deserialize_with = "optional::or_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Item>>)]
    pub items: Vec<Item>,
    /// Who ordered.
    pub end_user: EndUser,
    /// The merchant's word for where the order is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "ACTIVE")]
    pub status: Option<SingleLine>,
    /// Where its payment is.
    pub payment_status: PaymentStatus,
    /// How it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// Every payment made for it.
    #[serde(default, deserialize_with = "optional::or_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Payment>>)]
    pub payments: Vec<Payment>,
    /// The subscription it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// The workflow of the mail that announces a payment: `NONE`, `PENDING`, `COMPLETED`, `FAILED`, `NOT_REQUIRED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prebilling_status: Option<WorkflowState>,
    /// The workflow of the mail that confirms the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmation_status: Option<WorkflowState>,
    /// The workflow of the mail that confirms a cancellation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_cancellation_status: Option<WorkflowState>,
    /// The workflow of the mail about a partial refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_refund_email_status: Option<WorkflowState>,
}

closed_set! {
    /// Where an order's payment is.
    PaymentStatus {
        /// Not paid yet.
        Pending = "PENDING",
        /// Paid.
        Completed = "COMPLETED",
        /// Tried in vain.
        Failed = "FAILED",
        /// Given back.
        Refunded = "REFUNDED",
        /// Given back in part.
        PartiallyRefunded = "PARTIALLY_REFUNDED",
    }
}

/// One thing that was ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    /// What it is.
    #[schema(value_type = String, example = "Tea")]
    pub name: SingleLine,
    /// How many, also a part of one; 1 where absent.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, example = 2)]
    pub quantity: Quantity,
    /// What one costs.
    #[schema(value_type = String, example = "29.95")]
    pub unit_price: Amount,
    /// What all of it costs; the quantity times the price where absent.
    #[serde(skip_serializing_if = "Option::is_none", alias = "total")]
    #[schema(value_type = Option<String>, example = "59.90")]
    pub total_price: Option<Amount>,
    /// A picture; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub image_url: Option<Link>,
}

/// An address of an order, as it is written on a parcel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderAddress {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Ann Lee")]
    pub name: Option<SingleLine>,
    /// A company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub company: Option<SingleLine>,
    /// Street and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1 Quay Street")]
    pub line1: Option<SingleLine>,
    /// What else it takes to find it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub line2: Option<SingleLine>,
    /// The postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "53111")]
    pub postal_code: Option<SingleLine>,
    /// The town.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Bonn")]
    pub city: Option<SingleLine>,
    /// The state or province.
    #[serde(skip_serializing_if = "Option::is_none", alias = "state")]
    #[schema(value_type = Option<String>)]
    pub region: Option<SingleLine>,
    /// The country, as it is to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "DE")]
    pub country: Option<SingleLine>,
}

impl OrderAddress {
    /// Its lines from top to bottom, those that have anything.
    pub fn lines(&self) -> Vec<String> {
        let joined = |parts: &[&Option<SingleLine>]| {
            let parts = parts.iter().filter_map(|part| part.as_ref()).map(SingleLine::as_str);
            parts.collect::<Vec<_>>().join(" ")
        };
        let lines = [
            joined(&[&self.name]),
            joined(&[&self.company]),
            joined(&[&self.line1]),
            joined(&[&self.line2]),
            joined(&[&self.postal_code, &self.city]),
            joined(&[&self.region]),
            joined(&[&self.country]),
        ];
        lines.into_iter().filter(|line| !line.is_empty()).collect()
    }
}

/// Who ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndUser {
    /// Where mails go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "ann@example.net")]
    pub email: Option<Address>,
    /// The first name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Ann")]
    pub first_name: Option<SingleLine>,
    /// The last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Lee")]
    pub last_name: Option<SingleLine>,
}

impl EndUser {
    /// First and last name, as far as they are known.
    pub fn full_name(&self) -> Option<String> {
        full_name(self.first_name.as_ref(), self.last_name.as_ref())
    }
}

/// How an order was cancelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cancellation {
    /// When; the order is not cancelled while this is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub triggered_at: Option<Timestamp>,
    /// Why, in the words that the shopper reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<SingleLine<1_000>>,
}

/// One payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payment {
    /// The merchant's id for it.
    #[schema(value_type = String, example = "pay_1")]
    pub payment_id: SingleLine,
    /// The merchant's word for where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "COMPLETED")]
    pub status: Option<SingleLine>,
    /// How much was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "59.90")]
    pub amount: Option<Amount>,
    /// How much of it was given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "0.00")]
    pub refunded_amount: Option<Amount>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
}

impl Payment {
    /// What was given back, where that is something and not all.
    pub fn partial_refund(&self) -> Option<&Amount> {
        let (paid, refunded) = (self.amount.as_ref()?, self.refunded_amount.as_ref()?);
        (1..paid.millionths()).contains(&refunded.millionths()).then_some(refunded)
    }
}

/// The subscription that an order belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// The merchant's id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "sub_9")]
    pub id: Option<SingleLine>,
    /// Whether it renews by itself.
    pub recurring: bool,
    /// Whether it is a trial.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<bool>)]
    pub trial: bool,
    /// Whether a trial became this.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<bool>)]
    pub conversion: bool,
    /// When the next payment is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_billing_at: Option<Timestamp>,
    /// The offer to go on after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_offer: Option<ResumeOffer>,
    /// When it ended because nobody paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expired_at: Option<Timestamp>,
}

/// The offer to go on with a subscription after a pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeOffer {
    /// When the subscription goes on.
    #[schema(value_type = String, format = DateTime)]
    pub resumes_at: Timestamp,
}

impl Order {
    /// Where a workflow is; `None` where the document does not say.
    pub const fn workflow(&self, workflow: Workflow) -> Option<WorkflowState> {
        match workflow {
            Workflow::Prebilling => self.prebilling_status,
            Workflow::Confirmation => self.email_confirmation_status,
            Workflow::Cancellation => self.email_cancellation_status,
            Workflow::PartialRefund => self.partial_refund_email_status,
        }
    }

    /// Moves a workflow.
    pub const fn set_workflow(&mut self, workflow: Workflow, state: WorkflowState) {
        let field = match workflow {
            Workflow::Prebilling => &mut self.prebilling_status,
            Workflow::Confirmation => &mut self.email_confirmation_status,
            Workflow::Cancellation => &mut self.email_cancellation_status,
            Workflow::PartialRefund => &mut self.partial_refund_email_status,
        };
        *field = Some(state);
    }

    /// When the order was cancelled.
    pub fn cancelled_at(&self) -> Option<Timestamp> {
        self.cancellation.as_ref()?.triggered_at
    }

    /// A payment by its id.
    pub fn payment(&self, id: &str) -> Option<&Payment> {
        self.payments.iter().find(|payment| payment.payment_id.as_str() == id)
    }

    /// The payment made last among those that are `wanted`; of several at one time the one named last.
    pub fn latest_payment(&self, wanted: impl Fn(&Payment) -> bool) -> Option<&Payment> {
        self.payments.iter().filter(|payment| wanted(payment)).max_by_key(|payment| payment.created_at)
    }
}
