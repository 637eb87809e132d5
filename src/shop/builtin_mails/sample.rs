//! What a preview of a built-in mail is filled with where nobody gives anything else.

use serde_json::{Map, Value, json};

use super::BuiltinMail;

/// Values for every placeholder of a mail, of a shop that does not exist. The words are English in every language.
pub fn sample_values(mail: BuiltinMail) -> Map<String, Value> {
    let shop = "https://shop.example";
    let mut values = json!({
        "first_name": "Ann", "last_name": "Lee", "support_email": "help@shop.example", "website": shop,
        "postal_address": "The Tea House, 1 Quay Street, Bonn",
        "items": [
            {"name": "Darjeeling", "quantity": 2, "unit_price": "€24.95", "line_total": "€49.90"},
            {"name": "Tea strainer", "quantity": 1, "unit_price": "€10.00", "line_total": "€10.00"},
        ],
    });
    let more = match mail {
        BuiltinMail::CartLink => {
            json!({"merchant_name": "The Tea House", "cart_link": format!("{shop}/cart/1")})
        }
        BuiltinMail::AbandonedCartReminder => json!({
            "merchant_name": "The Tea House", "subject": "Your tea is waiting", "discount": "15%",
            "message": "Your tea is still here.\nShall we send it?\n\nIt leaves the same day.",
            "message_lines": [
                {"text": "Your tea is still here.", "begins": false, "goes_on": false},
                {"text": "Shall we send it?", "begins": false, "goes_on": true},
                {"text": "It leaves the same day.", "begins": true, "goes_on": false},
            ],
            "recovery_link": format!("{shop}/cart/1"), "total": "€59.90", "discounted_total": "€50.92",
        }),
        BuiltinMail::EndpointDisabled => json!({
            "merchant_name": "The Tea House", "url": format!("{shop}/hook"), "endpoint_id": "1",
            "disabled_on": "20 November 2026", "status": "410 Gone",
        }),
        _ => json!({
            "store_name": "The Tea House", "order_id": "1001", "total": "€59.90", "subtotal": "€59.90",
            "tax": "€9.56", "shipping": "€4.90", "order_discount": "-€4.90", "order_url": format!("{shop}/orders/1001"),
            "shipping_address": "Ann Lee, 2 Hill Road, 53111 Bonn",
            "shipping_address_lines": ["Ann Lee", "2 Hill Road", "53111 Bonn"], "payment_url": format!("{shop}/pay/1001"),
            "payment_id": "pay_1", "cancelled_on": "20 November 2026", "reason": "You asked for it.",
            "refunded_amount": "€10.00", "next_billing_date": "1 December 2026",
            "paid_on": "20 November 2026", "expired_on": "1 November 2026",
        }),
    };
    if let (Value::Object(values), Value::Object(more)) = (&mut values, more) {
        values.extend(more);
    }
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}
