//! The abandoned-cart family: carts, and what a reminder of one is filled with. Pure.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Amount, Currency, Link, Quantity, SingleLine,
    format::{decimals, format_money, format_percent, quantity_value},
    full_name,
    language::Language,
    optional,
    reminder::Reminder,
};
use crate::mail::{Address, CancelReason, Mailbox, Timestamp, closed_set};

closed_set! {
    /// The fate of a cart.
    #[derive(Default)]
    CartStatus {
        /// Left behind.
        #[default]
        Abandoned = "abandoned",
        /// The shopper came back.
        Recovered = "recovered",
    }
}

/// A cart that a shopper left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonedCart {
    /// What happened to it.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<CartStatus>)]
    pub status: CartStatus,
    /// Leads the shopper back to the cart; http or https.
    #[schema(value_type = String, format = "uri")]
    pub recovery_link: Link,
    /// The currency of all its sums, ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$")]
    pub currency: Currency,
    /// What it would cost, a decimal string.
    #[serde(deserialize_with = "price")]
    #[schema(value_type = String, example = "59.90")]
    pub total: Amount,
    /// Who left it.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<Customer>)]
    pub customer: Customer,
    /// What is in it.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<Vec<CartItem>>)]
    pub items: Vec<CartItem>,
    /// When it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub abandoned_at: Option<Timestamp>,
    /// The brand whose look its mails have; where absent, that of the merchant's only brand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 255)]
    pub brand_id: Option<SingleLine>,
}

/// Who left a cart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// Where reminders go.
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
    /// The language of reminders, a language tag; the merchant's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub language: Option<SingleLine<35>>,
}

/// One thing in a cart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CartItem {
    /// What it is called.
    #[schema(value_type = String)]
    pub name: SingleLine,
    /// How many of it, also a part of one; 1 where absent.
    #[serde(default, deserialize_with = "optional::or_default")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0)]
    pub quantity: Quantity,
    /// What one costs, a decimal string.
    #[serde(deserialize_with = "price")]
    #[schema(value_type = String, example = "29.95")]
    pub unit_price: Amount,
    /// A picture; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uri")]
    pub image_url: Option<Link>,
}

/// A sum that is not negative: nobody is paid for taking a cart.
fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
    let amount = Amount::deserialize(deserializer)?;
    if amount.as_str().starts_with('-') { Err(D::Error::custom("must not be negative")) } else { Ok(amount) }
}

/// Why a reminder of a cart is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReminderRefusal {
    /// The shopper came back already.
    Recovered,
    /// Nobody knows where to.
    NoAddress,
}

impl AbandonedCart {
    /// Whom a reminder may be sent to.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permit_reminder(&self) -> Result<Mailbox, ReminderRefusal> {
        if self.status == CartStatus::Recovered {
            return Err(ReminderRefusal::Recovered);
        }
        let Customer { email, first_name, last_name, .. } = &self.customer;
        let email = email.clone().ok_or(ReminderRefusal::NoAddress)?;
        Ok(Mailbox { name: full_name(first_name.as_ref(), last_name.as_ref()), email })
    }

    /// Why a reminder that was asked for is not to be sent any more.
    pub const fn lapsed(&self) -> Option<CancelReason> {
        match self.status {
            CartStatus::Abandoned => None,
            CartStatus::Recovered => Some(CancelReason::CartRecovered),
        }
    }

    /// What the built-in mail `abandoned_cart_reminder` is filled with; `recovery_link` carries the discount, if there is one.
    pub fn mail_values(
        &self,
        language: Language,
        merchant_name: &str,
        reminder: &Reminder,
        recovery_link: &str,
    ) -> Map<String, Value> {
        let price = |amount: &Amount| format_money(language, amount.as_str(), self.currency.as_str());
        let line_total = |item: &CartItem| {
            let total = item.unit_price.times(&item.quantity, decimals(self.currency.as_str()))?;
            Some(format_money(language, &total, self.currency.as_str()))
        };
        let items: Vec<Value> = self
            .items
            .iter()
            .map(|item| {
                json!({
                    "name": item.name,
                    "quantity": quantity_value(language, &item.quantity),
                    "unit_price": price(&item.unit_price),
                    "line_total": line_total(item),
                    "image_url": item.image_url.as_ref().map(Link::as_str),
                })
            })
            .collect();
        let values = json!({
            "merchant_name": merchant_name,
            "first_name": self.customer.first_name,
            "last_name": self.customer.last_name,
            "subject": reminder.subject,
            "message": reminder.message.as_str(),
            "message_lines": reminder.message.lines(),
            "recovery_link": recovery_link,
            "total": price(&self.total),
            "discounted_total": reminder.discount.as_ref().and_then(|discount| {
                let currency = self.currency.as_str();
                let left = self.total.less_percent(discount.as_str(), decimals(currency))?;
                Some(format_money(language, &left, currency))
            }),
            "discount": reminder.discount.as_ref().map(|discount| format_percent(language, discount.as_str())),
            "items": items,
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
    use crate::shop::reminder::{Discount, ReminderText};

    fn cart(changes: Value) -> Result<AbandonedCart, String> {
        let mut document =
            json!({"recovery_link": "https://shop.example/r/1", "currency": "EUR", "total": "59.90"});
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn a_reminder_goes_to_an_address_of_a_cart_that_is_still_abandoned() {
        let with = |status: &str, email: Option<&str>| {
            cart(json!({"status": status, "customer": {"email": email, "first_name": "Ann", "last_name": "Lee"}}))
                .unwrap()
                .permit_reminder()
                .map(|mailbox| mailbox.to_string())
        };
        assert_eq!(with("abandoned", Some("ann@example.net")), Ok("Ann Lee <ann@example.net>".to_owned()));
        assert_eq!(with("abandoned", None), Err(ReminderRefusal::NoAddress));
        assert_eq!(with("recovered", Some("ann@example.net")), Err(ReminderRefusal::Recovered));
        assert_eq!(with("recovered", None), Err(ReminderRefusal::Recovered));
    }

    #[test]
    fn a_reminder_lapses_when_the_cart_is_recovered() {
        for (status, expected) in [("abandoned", None), ("recovered", Some(CancelReason::CartRecovered))] {
            // The address is on record with the mail: that it is gone from the cart changes nothing.
            for email in [Some("ann@example.net"), None] {
                let cart = cart(json!({"status": status, "customer": {"email": email}})).unwrap();
                assert_eq!(cart.lapsed(), expected, "{status} {email:?}");
            }
        }
    }

    #[test]
    fn a_cart_with_contents_that_it_must_not_hold_is_refused() {
        for (changes, why) in [
            (json!({"total": 59.9}), "expected a string"),
            (json!({"total": "59,90"}), "decimal number in a string"),
            (json!({"total": "-1"}), "negative"),
            (json!({"currency": "€"}), "three letters"),
            (json!({"recovery_link": "javascript:alert(1)"}), "http"),
            (json!({"status": "lost"}), "abandoned"),
            (json!({"items": [{"name": "Tea", "quantity": 0, "unit_price": "1"}]}), "number over 0"),
            (json!({"items": [{"name": "Tea", "quantity": 1}]}), "unit_price"),
            (json!({"items": [{"name": "Tea", "quantity": 1, "unit_price": "1", "image_url": "x"}]}), "URL"),
            (json!({"customer": {"email": "ann"}}), "address"),
            (json!({"abandoned_at": "yesterday"}), "RFC 3339"),
            (json!({"colour": "red"}), "unknown field"),
        ] {
            let error = cart(changes.clone()).unwrap_err();
            assert!(error.contains(why), "{changes}: {error}");
        }
    }

    #[test]
    fn sums_and_percentages_are_written_for_the_reader() {
        let cart = cart(
            json!({"total": "1234.5", "items": [{"name": "Tea", "quantity": 2, "unit_price": "29.95"}]}),
        )
        .unwrap();
        let reminder = Reminder {
            subject: SingleLine::new("Hi".to_owned()).unwrap(),
            message: ReminderText::new("<b>Hi</b>".to_owned()).unwrap(),
            discount: Some(Discount::new(&"12.5".parse().unwrap()).unwrap()),
        };
        let values = cart.mail_values(Language::De, "Tea & Co", &reminder, "https://shop.example/r/1");
        assert_eq!(values["total"], "1.234,50\u{a0}€");
        assert_eq!(values["discounted_total"], "1.080,19\u{a0}€");
        assert_eq!(values["discount"], "12,5\u{a0}%");
        assert_eq!(values["items"][0]["unit_price"], "29,95\u{a0}€");
        assert_eq!(values["items"][0]["line_total"], "59,90\u{a0}€");
        assert_eq!(values["message"], "<b>Hi</b>");
    }
}
