//! The cart-link family: subscriptions, and who may be sent the link to a cart. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Link, SingleLine, full_name, optional};
use crate::mail::{Address, CancelReason, Mailbox, closed_set};

/// The country whose shoppers confirm their phone number elsewhere, so that the mail may come first.
const MEXICO: &str = "MX";

closed_set! {
    /// How far a subscription has come.
    SubscriptionState {
        /// Being put together.
        Draft = "draft",
        /// The shopper was sent the cart link.
        Sent = "sent",
        /// The checkout is filled in, the payment is not confirmed.
        WaitingForPayment = "waiting_for_payment",
        /// The shopper is in the checkout.
        InProgress = "in_progress",
        /// Paid and running.
        Active = "active",
        /// Ended by somebody.
        Cancelled = "cancelled",
        /// Ended by itself.
        Expired = "expired",
    }
}

/// A subscription of a merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CartSubscription)] // an order has a subscription of another shape
pub struct Subscription {
    /// How far it has come.
    pub state: SubscriptionState,
    /// Leads the shopper back to the cart, on any device; http or https.
    #[schema(value_type = String, format = "uri")]
    pub cart_link: Link,
    /// Who is buying.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<Shopper>)]
    pub shopper: Shopper,
    /// The brand whose look its mails have; where absent, that of the merchant's only brand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub brand_id: Option<SingleLine>,
}

/// Who is buying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shopper {
    /// Where the cart link goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Address>,
    /// The first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub first_name: Option<SingleLine>,
    /// The last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_name: Option<SingleLine>,
    /// The phone number, as the merchant writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub phone: Option<SingleLine<64>>,
}

/// Why a cart link is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CartLinkRefusal {
    /// Nobody knows where to.
    NoAddress,
    /// Not in this state, or not in this state for this merchant.
    WrongState,
}

impl CartLinkRefusal {
    /// The words of the answer.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NoAddress => "Shopper has no email address",
            Self::WrongState => "Email not allowed for subscription in current status",
        }
    }
}

impl SubscriptionState {
    /// Whether a merchant of this country (ISO 3166-1 alpha-2) may send the cart link now.
    fn allows_cart_link(self, country: &str) -> bool {
        match self {
            Self::WaitingForPayment => true,
            Self::Draft | Self::Sent | Self::InProgress => country == MEXICO,
            Self::Active | Self::Cancelled | Self::Expired => false,
        }
    }
}

impl Subscription {
    /// Whom a merchant of this country (ISO 3166-1 alpha-2) may send the cart link to.
    ///
    /// # Errors
    /// Why it may not; a missing address goes before a wrong state.
    pub fn permit_cart_link(&self, country: &str) -> Result<Mailbox, CartLinkRefusal> {
        let email = self.shopper.email.clone().ok_or(CartLinkRefusal::NoAddress)?;
        if !self.state.allows_cart_link(country) {
            return Err(CartLinkRefusal::WrongState);
        }
        Ok(Mailbox {
            name: full_name(self.shopper.first_name.as_ref(), self.shopper.last_name.as_ref()),
            email,
        })
    }

    /// Why a cart link that a merchant of this country asked for is not to be sent any more. A draft that became sent with the
    /// mail is as good as before: where the one allows a cart link, so does the other.
    pub fn lapsed(&self, country: &str) -> Option<CancelReason> {
        (!self.state.allows_cart_link(country)).then_some(CancelReason::SubscriptionMovedOn)
    }

    /// What becomes of the subscription when the cart link is recorded: a draft counts as sent, all others stay.
    pub fn after_cart_link(&self) -> Option<Self> {
        (self.state == SubscriptionState::Draft)
            .then(|| Self { state: SubscriptionState::Sent, ..self.clone() })
    }

    /// What the built-in mail `cart_link` is filled with.
    pub fn mail_values(&self, merchant_name: &str) -> Map<String, Value> {
        let values = json!({
            "merchant_name": merchant_name,
            "cart_link": self.cart_link.as_str(),
            "first_name": self.shopper.first_name,
            "last_name": self.shopper.last_name,
        });
        match values {
            Value::Object(values) => values,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(state: SubscriptionState, email: Option<&str>) -> Subscription {
        let document =
            json!({"state": state, "cart_link": "https://shop.example/c/1", "shopper": {"email": email}});
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_cart_link_is_allowed_by_state_and_country() {
        use CartLinkRefusal::{NoAddress, WrongState};
        use SubscriptionState::{Active, Cancelled, Draft, Expired, InProgress, Sent, WaitingForPayment};
        for (state, in_mexico, elsewhere) in [
            (WaitingForPayment, Ok(()), Ok(())),
            (Draft, Ok(()), Err(WrongState)),
            (Sent, Ok(()), Err(WrongState)),
            (InProgress, Ok(()), Err(WrongState)),
            (Active, Err(WrongState), Err(WrongState)),
            (Cancelled, Err(WrongState), Err(WrongState)),
            (Expired, Err(WrongState), Err(WrongState)),
        ] {
            for (country, expected) in
                [("MX", in_mexico), ("DE", elsewhere), ("US", elsewhere), ("ES", elsewhere)]
            {
                let judged = |email| subscription(state, email).permit_cart_link(country);
                assert_eq!(judged(Some("ann@example.net")).map(drop), expected, "{state} {country}");
                assert_eq!(judged(None).map(drop), Err(NoAddress), "{state} {country}");
            }
        }
    }

    #[test]
    fn a_cart_link_lapses_where_its_state_would_not_allow_another() {
        use SubscriptionState::{Active, Cancelled, Draft, Expired, InProgress, Sent, WaitingForPayment};
        for (state, goes_in_mexico, goes_elsewhere) in [
            (WaitingForPayment, true, true),
            (Draft, true, false),
            (Sent, true, false),
            (InProgress, true, false),
            (Active, false, false),
            (Cancelled, false, false),
            (Expired, false, false),
        ] {
            for (country, goes) in [("MX", goes_in_mexico), ("DE", goes_elsewhere)] {
                let lapsed = subscription(state, None).lapsed(country);
                let expected = (!goes).then_some(CancelReason::SubscriptionMovedOn);
                assert_eq!(lapsed, expected, "{state} {country}");
            }
        }
        let draft = subscription(Draft, Some("ann@example.net"));
        assert_eq!(draft.after_cart_link().unwrap().lapsed("MX"), None, "its own mail made it sent");
    }

    #[test]
    fn only_a_draft_moves_on() {
        for &state in SubscriptionState::ALL {
            let after = subscription(state, None).after_cart_link().map(|after| after.state);
            let expected = (state == SubscriptionState::Draft).then_some(SubscriptionState::Sent);
            assert_eq!(after, expected, "{state}");
        }
    }
}
