//! Whether what a mail was asked for is still so when it is about to go. Each family's facts stand beside its rules:
//!
//! | a mail about | goes while | see |
//! |---|---|---|
//! | an abandoned cart | the cart is there and not recovered | [`AbandonedCart::lapsed`] |
//! | a subscription | the subscription is there and in a state that allows a cart link in the merchant's country | [`Subscription::lapsed`] |
//! | an order | the order is there and meets the rules of the mail's template, less those about its workflow | [`OrderTemplate::lapsed`] |
//! | nothing of these | always | |
//!
//! A document that cannot be read says nothing against its mail.

use serde::de::DeserializeOwned;

use super::{
    cart::AbandonedCart,
    order::{Order, OrderTemplate},
    subscription::Subscription,
};
use crate::mail::{CancelReason, Facts, Timestamp};

/// Why a mail with these facts is not to be sent any more.
pub fn lapsed(facts: &Facts, now: Timestamp) -> Option<CancelReason> {
    match facts {
        Facts::Cart { document } => {
            judge(document.as_deref(), CancelReason::CartGone, |cart: AbandonedCart| cart.lapsed())
        }
        Facts::Subscription { document, country } => {
            judge(document.as_deref(), CancelReason::SubscriptionGone, |it: Subscription| it.lapsed(country))
        }
        Facts::Order { document, template } => {
            judge(document.as_deref(), CancelReason::OrderGone, |order: Order| {
                template.parse::<OrderTemplate>().ok()?.lapsed(&order, now)
            })
        }
    }
}

fn judge<T: DeserializeOwned>(
    document: Option<&str>,
    gone: CancelReason,
    lapsed: impl FnOnce(T) -> Option<CancelReason>,
) -> Option<CancelReason> {
    match document {
        None => Some(gone),
        Some(document) => serde_json::from_str(document).ok().and_then(lapsed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_that_is_gone_has_lapsed_and_one_that_cannot_be_read_has_not() {
        let cart = |document| Facts::Cart { document };
        let subscription = |document| Facts::Subscription { document, country: "DE".to_owned() };
        let order = |document| Facts::Order { document, template: "PREBILLING".to_owned() };
        let judge = |facts: Facts| lapsed(&facts, Timestamp(0));
        assert_eq!(judge(cart(None)), Some(CancelReason::CartGone));
        assert_eq!(judge(subscription(None)), Some(CancelReason::SubscriptionGone));
        assert_eq!(judge(order(None)), Some(CancelReason::OrderGone));
        for facts in
            [cart(Some("{".to_owned())), subscription(Some("[]".to_owned())), order(Some("1".to_owned()))]
        {
            assert_eq!(judge(facts), None);
        }
    }

    #[test]
    fn each_family_is_asked_by_its_own_rules() {
        let recovered = json!({"recovery_link": "https://shop.example/r/1", "currency": "EUR", "total": "59.90",
            "status": "recovered"});
        let active = json!({"state": "active", "cart_link": "https://shop.example/c/1"});
        let paid = json!({"endUser": {}, "paymentStatus": "COMPLETED", "currency": "EUR", "totalAmount": "59.90",
            "subscription": {"recurring": true}});
        let judge = |facts: Facts| lapsed(&facts, Timestamp(0));
        assert_eq!(
            judge(Facts::Cart { document: Some(recovered.to_string()) }),
            Some(CancelReason::CartRecovered)
        );
        assert_eq!(
            judge(Facts::Subscription { document: Some(active.to_string()), country: "MX".to_owned() }),
            Some(CancelReason::SubscriptionMovedOn)
        );
        let order =
            |template: &str| Facts::Order { document: Some(paid.to_string()), template: template.to_owned() };
        assert_eq!(judge(order("PREBILLING")), Some(CancelReason::OrderPaid));
        assert_eq!(judge(order("A_LATER_VERSIONS")), None);
    }
}
