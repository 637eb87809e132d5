//! Why a mail was not sent any more: its reason was asked again when it was about to go, and had gone.

use super::state::closed_set;

closed_set! {
    /// What had changed when a mail was about to go.
    CancelReason {
        /// The shopper came back for the cart.
        CartRecovered = "cart_recovered",
        /// The cart is not there any more.
        CartGone = "cart_gone",
        /// The subscription is in a state that allows no cart link.
        SubscriptionMovedOn = "subscription_moved_on",
        /// The subscription is not there any more.
        SubscriptionGone = "subscription_gone",
        /// The order was paid.
        OrderPaid = "order_paid",
        /// The order does not count as paid any more.
        OrderNotPaid = "order_not_paid",
        /// The order's payment is neither pending nor failed any more, nor paid.
        PaymentMovedOn = "payment_moved_on",
        /// The order was cancelled.
        OrderCancelled = "order_cancelled",
        /// The order's cancellation was taken back.
        OrderNotCancelled = "order_not_cancelled",
        /// No payment of the order is refunded in part any more.
        RefundChanged = "refund_changed",
        /// The order's subscription renews in another way, or is gone from the order.
        RenewalChanged = "renewal_changed",
        /// The order's subscription has resumed already.
        SubscriptionResumed = "subscription_resumed",
        /// The order's subscription has not expired after all.
        SubscriptionNotExpired = "subscription_not_expired",
        /// The order is not there any more.
        OrderGone = "order_gone",
    }
}

impl CancelReason {
    /// The reason in words, to follow "not sent:".
    pub const fn words(self) -> &'static str {
        match self {
            Self::CartRecovered => "the shopper came back for the cart",
            Self::CartGone => "the cart is not there any more",
            Self::SubscriptionMovedOn => "the subscription's state allows no cart link any more",
            Self::SubscriptionGone => "the subscription is not there any more",
            Self::OrderPaid => "the order was paid",
            Self::OrderNotPaid => "the order does not count as paid any more",
            Self::PaymentMovedOn => "the order's payment is not open any more",
            Self::OrderCancelled => "the order was cancelled",
            Self::OrderNotCancelled => "the order is not cancelled any more",
            Self::RefundChanged => "no payment of the order is refunded in part any more",
            Self::RenewalChanged => "the order's subscription renews in another way",
            Self::SubscriptionResumed => "the order's subscription has resumed already",
            Self::SubscriptionNotExpired => "the order's subscription has not expired",
            Self::OrderGone => "the order is not there any more",
        }
    }
}
