//! What an order's mails are filled with, as `shop::builtin_mails` documents it.

use serde_json::{Map, Value, json};

use super::document::{Order, Payment};
use crate::shop::{
    Amount, SingleLine,
    format::{format_date, format_money},
    language::Language,
};

/// The values of a mail about an order. Every mail gets all that is known, so a merchant's own template may use
/// more than the built-in one does.
pub fn mail_values(
    id: &str,
    order: &Order,
    payment: Option<&Payment>,
    store_name: &str,
    language: Language,
) -> Value {
    let money =
        |amount: &Amount| Value::from(format_money(language, amount.as_str(), order.currency.as_str()));
    let date = |time| Value::from(format_date(language, time));
    let line = |line: &Option<SingleLine>| line.as_ref().map(|line| Value::from(line.as_str()));
    let items: Vec<Value> = order
        .items
        .iter()
        .map(|item| {
            json!({"name": item.name.as_str(), "quantity": item.quantity.get(), "unit_price": money(&item.unit_price)})
        })
        .collect();
    let subscription = order.subscription.as_ref();
    let reason = order.cancellation.as_ref().and_then(|cancellation| cancellation.reason.as_ref());
    let known = [
        ("store_name", Some(Value::from(store_name))),
        ("order_id", Some(Value::from(id))),
        ("total", Some(money(&order.total_amount))),
        ("items", Some(Value::from(items))),
        ("language", Some(Value::from(language.as_str()))),
        ("first_name", line(&order.end_user.first_name)),
        ("last_name", line(&order.end_user.last_name)),
        ("full_name", order.end_user.full_name().map(Value::from)),
        ("next_billing_date", subscription.and_then(|it| it.next_billing_at).map(date)),
        ("expired_on", subscription.and_then(|it| it.expired_at).map(date)),
        ("cancelled_on", order.cancelled_at().map(date)),
        ("reason", reason.map(|reason| Value::from(reason.as_str()))),
        ("payment_id", payment.map(|payment| Value::from(payment.payment_id.as_str()))),
        ("refunded_amount", payment.and_then(Payment::partial_refund).map(money)),
    ];
    let known = known.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value?)));
    Value::Object(known.collect::<Map<_, _>>())
}
