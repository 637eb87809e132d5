//! What an order's mails are filled with, as `shop::builtin_mails` documents it.

use serde_json::{Map, Value, json};

use super::{
    document::{Item, Order, OrderAddress, Payment},
    linked_data,
};
use crate::{
    mail::Timestamp,
    shop::{
        Amount, Link, Look, SingleLine, day_of,
        format::{decimals, format_day, format_money, quantity_value},
        language::Language,
        locale::REGIONAL_LANGUAGE,
    },
};

/// The values of a mail about an order. Every mail gets all that is known, so a merchant's own template may use
/// more than the built-in one does.
pub fn mail_values(
    id: &str,
    order: &Order,
    payment: Option<&Payment>,
    store_name: &str,
    look: Look<'_>,
    language: Language,
) -> Value {
    let currency = order.currency.as_str();
    let written = |amount: &str| Value::from(format_money(language, amount, currency));
    let money = |amount: &Amount| written(amount.as_str());
    let date = |at: Timestamp| Value::from(format_day(language, day_of(at, look.timezone)));
    let line = |line: &Option<SingleLine>| line.as_ref().map(|line| Value::from(line.as_str()));
    let link = |link: &Option<Link>| link.as_ref().map(|link| Value::from(link.as_str()));
    let address = |address: &Option<OrderAddress>| {
        let lines = address.as_ref()?.lines();
        (!lines.is_empty()).then(|| Value::from(lines.join(", ")))
    };
    let address_lines = |address: &Option<OrderAddress>| {
        let lines = address.as_ref()?.lines();
        (!lines.is_empty()).then(|| Value::from(lines))
    };
    let item = |item: &Item| {
        let mut values = json!({
            "name": item.name.as_str(),
            "quantity": quantity_value(language, &item.quantity),
            "unit_price": money(&item.unit_price),
        });
        if let Some(total) = line_total(item, currency) {
            values["line_total"] = written(&total);
        }
        if let Some(image) = link(&item.image_url) {
            values["image_url"] = image;
        }
        values
    };
    let is_paid =
        |payment: &Payment| payment.status.as_ref().is_some_and(|status| status.as_str() == "COMPLETED");
    let paid_on = order.latest_payment(is_paid).and_then(|payment| payment.created_at);
    let subscription = order.subscription.as_ref();
    let reason = order.cancellation.as_ref().and_then(|cancellation| cancellation.reason.as_ref());
    let known = [
        ("store_name", Some(Value::from(store_name))),
        ("order_id", Some(Value::from(id))),
        ("total", Some(money(&order.total_amount))),
        ("items", Some(order.items.iter().map(item).collect())),
        ("subtotal", order.subtotal_amount.as_ref().map(money)),
        ("shipping", order.shipping_amount.as_ref().map(money)),
        ("tax", order.tax_amount.as_ref().map(money)),
        (
            "order_discount",
            order
                .discount_amount
                .as_ref()
                .map(|amount| written(&format!("-{}", amount.as_str().trim_start_matches('-')))),
        ),
        ("shipping_address", address(&order.shipping_address)),
        ("shipping_address_lines", address_lines(&order.shipping_address)),
        ("billing_address", address(&order.billing_address)),
        ("billing_address_lines", address_lines(&order.billing_address)),
        ("order_url", link(&order.order_url)),
        ("payment_url", link(&order.payment_url)),
        ("language", Some(Value::from(language.base().as_str()))),
        (REGIONAL_LANGUAGE, (language != language.base()).then(|| Value::from(language.as_str()))),
        ("first_name", line(&order.end_user.first_name)),
        ("last_name", line(&order.end_user.last_name)),
        ("full_name", order.end_user.full_name().map(Value::from)),
        ("next_billing_date", subscription.and_then(|it| it.next_billing_at).map(date)),
        ("expired_on", subscription.and_then(|it| it.expired_at).map(date)),
        ("cancelled_on", order.cancelled_at().map(date)),
        ("paid_on", paid_on.map(date)),
        ("reason", reason.map(|reason| Value::from(reason.as_str()))),
        ("payment_id", payment.map(|payment| Value::from(payment.payment_id.as_str()))),
        ("refunded_amount", payment.and_then(Payment::partial_refund).map(money)),
        ("json_ld", Some(Value::from(linked_data::of(id, order, store_name)))),
    ];
    let known = known.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?)));
    let mut values: Map<_, _> = known.collect();
    values.extend(look.mail_values());
    Value::Object(values)
}

/// What all of an item costs: as it was given, else the price times the quantity where that comes out even.
pub(super) fn line_total(item: &Item, currency: &str) -> Option<String> {
    match &item.total_price {
        Some(total) => Some(total.as_str().to_owned()),
        None => item.unit_price.times(&item.quantity, decimals(currency)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::order::StoreSettings;

    #[test]
    fn a_mail_gets_all_that_an_order_and_its_store_have() {
        let order: Order = serde_json::from_value(json!({"endUser": {}, "currency": "EUR", "paymentStatus": "PENDING", "totalAmount": "59.80",
            "items": [{"name": "Tea </script>", "unitPrice": "29.95", "quantity": 2, "imageUrl": "https://a.example/t.png"},
                {"name": "Loose tea", "unitPrice": "10.00", "quantity": 0.75},
                {"name": "Cake", "unitPrice": "0.33", "quantity": 0.5, "totalPrice": "0.17"}],
            "subtotalAmount": "59.90", "shippingAmount": "4.90", "taxAmount": "9.55", "discountAmount": "5.00",
            "shippingAddress": {"name": "Ann Lee", "line1": "Kai 1", "postalCode": "53111", "city": "Bonn"},
            "orderUrl": "https://shop.example/o/1?a=1&b=2", "paymentUrl": "https://shop.example/p/1",
            "payments": [{"paymentId": "1", "status": "FAILED", "createdAt": "2026-03-09T12:00:00Z"},
                {"paymentId": "2", "status": "COMPLETED", "createdAt": "2026-03-02T03:00:00Z"}],
            "subscription": {"recurring": true, "nextBillingAt": "2026-03-01T00:30:00+01:00"}})).unwrap();
        let store: StoreSettings =
            serde_json::from_value(json!({"timezone": "America/New_York", "colour": "#FC0",
            "support_email": "help@shop.example", "postal_address": "Tea & Co\nKai 2\n53111 Bonn"}))
            .unwrap();
        let values = mail_values("ord_1", &order, None, "Tea & Co", store.look(), Language::De);
        for (tag, expected) in [
            ("/items/0/line_total", json!("59,90\u{a0}€")),
            ("/items/1/quantity", json!("0,75")),
            ("/items/1/line_total", json!("7,50\u{a0}€")),
            ("/items/2/line_total", json!("0,17\u{a0}€")),
            ("/order_discount", json!("-5,00\u{a0}€")),
            ("/shipping_address", json!("Ann Lee, Kai 1, 53111 Bonn")),
            ("/shipping_address_lines", json!(["Ann Lee", "Kai 1", "53111 Bonn"])),
            ("/order_url", json!("https://shop.example/o/1?a=1&b=2")),
            ("/next_billing_date", json!("28. Februar 2026")),
            ("/paid_on", json!("1. März 2026")),
            ("/colour", json!("#ffcc00")),
            ("/postal_address", json!("Tea & Co, Kai 2, 53111 Bonn")),
        ] {
            assert_eq!(values.pointer(tag), Some(&expected), "{tag}");
        }
        let linked = values["json_ld"].as_str().unwrap();
        assert!(!linked.contains(['<', '>', '&']), "{linked}");
        let linked: Value = serde_json::from_str(linked).unwrap();
        assert_eq!(
            linked["potentialAction"],
            json!({"@type": "ViewAction",
            "url": "https://shop.example/o/1?a=1&b=2", "target": "https://shop.example/o/1?a=1&b=2"})
        );
        assert_eq!(linked["acceptedOffer"][0]["itemOffered"]["name"], "Tea </script>");
        assert_eq!(linked["orderStatus"], "http://schema.org/OrderPaymentDue");
        let without = mail_values("ord_1", &order, None, "Tea & Co", Look::default(), Language::De);
        assert_eq!(without["next_billing_date"], "28. Februar 2026");
    }
}
