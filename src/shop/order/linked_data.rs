//! An order as mail programs read it: schema.org's `Order` in JSON-LD.

use serde_json::{Value, json};

use super::document::{Item, Order, PaymentStatus};
use crate::shop::{Link, json_ld};

/// The order for a `<script type="application/ld+json">`, where it is not escaped: nothing in it ends the element.
pub(super) fn of(id: &str, order: &Order, store_name: &str) -> String {
    let mut document = json!({
        "@context": "http://schema.org",
        "@type": "Order",
        "merchant": {"@type": "Organization", "name": store_name},
        "orderNumber": id,
        "orderStatus": format!("http://schema.org/{}", status(order)),
        "priceCurrency": order.currency.as_str(),
        "price": order.total_amount.as_str(),
        "acceptedOffer": order.items.iter().map(|item| offer(item, order)).collect::<Vec<_>>(),
    });
    if let Some(name) = order.end_user.full_name() {
        document["customer"] = json!({"@type": "Person", "name": name});
    }
    if let Some(discount) = &order.discount_amount {
        document["discount"] = Value::from(discount.as_str());
    }
    if let Some(url) = order.order_url.as_ref().map(Link::as_str) {
        document["url"] = Value::from(url);
        document["potentialAction"] = json!({"@type": "ViewAction", "url": url, "target": url});
    }
    if let Some(url) = &order.payment_url {
        document["paymentUrl"] = Value::from(url.as_str());
    }
    json_ld::script(&document)
}

fn status(order: &Order) -> &'static str {
    match order.payment_status {
        _ if order.cancelled_at().is_some() => "OrderCancelled",
        PaymentStatus::Pending | PaymentStatus::Failed => "OrderPaymentDue",
        PaymentStatus::Refunded => "OrderReturned",
        PaymentStatus::Completed | PaymentStatus::PartiallyRefunded => "OrderProcessing",
    }
}

fn offer(item: &Item, order: &Order) -> Value {
    let mut product = json!({"@type": "Product", "name": item.name.as_str()});
    if let Some(image) = &item.image_url {
        product["image"] = Value::from(image.as_str());
    }
    json!({
        "@type": "Offer",
        "itemOffered": product,
        "price": item.unit_price.as_str(),
        "priceCurrency": order.currency.as_str(),
        "eligibleQuantity": {"@type": "QuantitativeValue", "value": item.quantity.number()},
    })
}
