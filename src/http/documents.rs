//! What merchants' systems tell postroom, as the OpenAPI document describes it.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::shop::{cart::AbandonedCart, order::Order, pass::Voucher, subscription::Subscription};

/// A document, by the kind in its path. Unknown fields are refused with their path.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `resources.rs` reads and shows")]
pub(super) enum Document {
    /// `subscriptions`.
    Subscription(Box<Subscription>),
    /// `abandoned-carts`.
    AbandonedCart(Box<AbandonedCart>),
    /// `coupons` and `storecards`.
    Voucher(Box<Voucher>),
    /// `orders`.
    Order(Box<Order>),
    /// The other kinds.
    #[schema(value_type = Object)]
    Other(Map<String, Value>),
}
