//! The source document's statements about resending an order's mail, each a row: order, template, answer.

use serde_json::{Value, json};

use super::*;
use crate::{
    mail::{CancelReason, MailState, Timestamp},
    shop::{Look, language::Language},
};

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

/// An order that is as dull as can be, but for what is given.
fn order(given: Value) -> Order {
    let mut order =
        json!({"endUser": {}, "paymentStatus": "PENDING", "currency": "EUR", "totalAmount": "59.90"});
    order.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    serde_json::from_value(order).unwrap()
}

/// The words of the rule that forbids it, or `allowed`.
fn verdict(template: OrderTemplate, given: &Value) -> &'static str {
    template.check(&order(given.clone()), now()).map_or_else(|refusal| refusal.demand, |()| "allowed")
}

#[test]
fn an_order_allows_the_mails_that_the_source_document_says_it_allows() {
    use OrderTemplate::{
        Cancellation, NonRecurringPaymentAttempt, NonRecurringPaymentSubscriptionExpired,
        NonRecurringPrebilling, OfflinePaymentPending, OrderConfirmation, PartialRefund, Prebilling,
    };
    let renews = json!({"recurring": true});
    let once = json!({"recurring": false});
    let cancelled = json!({"triggeredAt": "2026-11-20T09:00:00Z"});
    let refunded = |amount: &str| json!([{"paymentId": "p", "amount": "59.90", "refundedAmount": amount}]);
    let expired = |at: &str| json!({"recurring": false, "expiredAt": at});

    #[rustfmt::skip]
    let statements = [
        // Prebilling: a recurring subscription that is neither paid nor cancelled.
        (Prebilling, json!({"subscription": renews}), "allowed"),
        (Prebilling, json!({"subscription": renews, "paymentStatus": "FAILED"}), "allowed"),
        (Prebilling, json!({"subscription": renews, "prebillingStatus": "NONE"}), "allowed"),
        (Prebilling, json!({"subscription": renews, "prebillingStatus": "COMPLETED"}), "allowed"),
        (Prebilling, json!({"subscription": renews, "prebillingStatus": "FAILED"}), "allowed"),
        (Prebilling, json!({"subscription": renews, "cancellation": {}}), "allowed"),
        (Prebilling, json!({"subscription": renews, "paymentStatus": "COMPLETED"}), "paymentStatus is not COMPLETED"),
        (Prebilling, json!({"subscription": renews, "cancellation": cancelled}), "no cancellation has been triggered"),
        (Prebilling, json!({"subscription": once}), "the order has a recurring subscription"),
        (Prebilling, json!({}), "the order has a recurring subscription"),
        (Prebilling, json!({"subscription": renews, "prebillingStatus": "PENDING"}), "prebillingStatus is not PENDING"),
        // Order confirmation: paid, not cancelled, and confirmed (or not) before.
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED"}), "allowed"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "FAILED"}), "allowed"),
        (OrderConfirmation, json!({"paymentStatus": "PENDING", "emailConfirmationStatus": "COMPLETED"}), "paymentStatus is COMPLETED"),
        (OrderConfirmation, json!({"paymentStatus": "REFUNDED", "emailConfirmationStatus": "COMPLETED"}), "paymentStatus is COMPLETED"),
        (OrderConfirmation, json!({"paymentStatus": "PARTIALLY_REFUNDED", "emailConfirmationStatus": "COMPLETED"}), "paymentStatus is COMPLETED"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED", "cancellation": cancelled}), "no cancellation has been triggered"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED"}), "emailConfirmationStatus is COMPLETED or FAILED"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "NONE"}), "emailConfirmationStatus is COMPLETED or FAILED"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "PENDING"}), "emailConfirmationStatus is COMPLETED or FAILED"),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "NOT_REQUIRED"}), "emailConfirmationStatus is COMPLETED or FAILED"),
        // Cancellation: triggered, and its mail has come far enough to be sent again.
        (Cancellation, json!({"cancellation": cancelled, "emailCancellationStatus": "COMPLETED"}), "allowed"),
        (Cancellation, json!({"cancellation": cancelled, "emailCancellationStatus": "FAILED"}), "allowed"),
        (Cancellation, json!({"emailCancellationStatus": "COMPLETED"}), "a cancellation has been triggered"),
        (Cancellation, json!({"cancellation": {"reason": "soon"}, "emailCancellationStatus": "COMPLETED"}), "a cancellation has been triggered"),
        (Cancellation, json!({"cancellation": cancelled}), "emailCancellationStatus is COMPLETED or FAILED"),
        (Cancellation, json!({"cancellation": cancelled, "emailCancellationStatus": "PENDING"}), "emailCancellationStatus is COMPLETED or FAILED"),
        // Partial refund: something of a payment was given back, not all, and its mail has come far enough.
        (PartialRefund, json!({"payments": refunded("10"), "partialRefundEmailStatus": "COMPLETED"}), "allowed"),
        (PartialRefund, json!({"payments": refunded("59.89"), "partialRefundEmailStatus": "FAILED"}), "allowed"),
        (PartialRefund, json!({"payments": refunded("0.00"), "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": refunded("59.9"), "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": refunded("100.00"), "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": [{"paymentId": "p"}], "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": [{"paymentId": "refund", "amount": "-59.90", "refundedAmount": "59.90"}], "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": refunded("-10"), "partialRefundEmailStatus": "FAILED"}), "a payment has been refunded in part"),
        (PartialRefund, json!({"payments": refunded("10")}), "partialRefundEmailStatus is COMPLETED or FAILED"),
        (PartialRefund, json!({"payments": refunded("10"), "partialRefundEmailStatus": "PENDING"}), "partialRefundEmailStatus is COMPLETED or FAILED"),
        // Offline payment: still pending.
        (OfflinePaymentPending, json!({"paymentStatus": "PENDING"}), "allowed"),
        (OfflinePaymentPending, json!({"paymentStatus": "COMPLETED"}), "paymentStatus is PENDING"),
        (OfflinePaymentPending, json!({"paymentStatus": "FAILED"}), "paymentStatus is PENDING"),
        // Non-recurring prebilling: as prebilling, of a subscription that does not renew by itself.
        (NonRecurringPrebilling, json!({"subscription": once}), "allowed"),
        (NonRecurringPrebilling, json!({"subscription": renews}), "the order has a non-recurring subscription"),
        (NonRecurringPrebilling, json!({}), "the order has a non-recurring subscription"),
        (NonRecurringPrebilling, json!({"subscription": once, "paymentStatus": "COMPLETED"}), "paymentStatus is not COMPLETED"),
        (NonRecurringPrebilling, json!({"subscription": once, "cancellation": cancelled}), "no cancellation has been triggered"),
        (NonRecurringPrebilling, json!({"subscription": once, "prebillingStatus": "PENDING"}), "prebillingStatus is not PENDING"),
        // Non-recurring payment attempt: not paid.
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "PENDING"}), "allowed"),
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "FAILED"}), "allowed"),
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "COMPLETED"}), "paymentStatus is PENDING or FAILED"),
        (NonRecurringPaymentAttempt, json!({"subscription": renews, "paymentStatus": "FAILED"}), "the order has a non-recurring subscription"),
        // Non-recurring subscription expired: it has.
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": expired("2026-11-21T11:59:59Z")}), "allowed"),
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": expired(NOW)}), "the subscription's expiredAt is in the past"),
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": once}), "the subscription's expiredAt is in the past"),
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": {"recurring": true, "expiredAt": "2026-11-01T00:00:00Z"}}), "the order has a non-recurring subscription"),
    ];
    for (template, given, expected) in &statements {
        assert_eq!(verdict(*template, given), *expected, "{template} of {given}");
    }
}

/// What may change between the request and the moment at which its mail goes.
#[test]
fn a_mail_lapses_when_the_order_does_not_allow_it_any_more() {
    use CancelReason as Why;
    use OrderTemplate::{
        Cancellation, NonRecurringPaymentAttempt, NonRecurringPaymentSubscriptionExpired,
        NonRecurringPrebilling, OfflinePaymentPending, OrderConfirmation, PartialRefund, Prebilling,
    };
    let (renews, once) = (json!({"recurring": true}), json!({"recurring": false}));
    let cancelled = json!({"triggeredAt": "2026-11-20T09:00:00Z"});
    let refunded = |amount: &str| json!([{"paymentId": "p", "amount": "59.90", "refundedAmount": amount}]);
    let resumed = json!({"recurring": true, "resumeOffer": {"resumesAt": "2026-11-21T11:59:59Z"}});

    #[rustfmt::skip]
    let changes = [
        (Prebilling, json!({"subscription": renews, "prebillingStatus": "PENDING"}), None),
        (Prebilling, json!({"subscription": renews, "paymentStatus": "COMPLETED"}), Some(Why::OrderPaid)),
        (Prebilling, json!({"subscription": renews, "cancellation": cancelled}), Some(Why::OrderCancelled)),
        (Prebilling, json!({"subscription": once}), Some(Why::RenewalChanged)),
        (Prebilling, json!({}), Some(Why::RenewalChanged)),
        (Prebilling, json!({"subscription": resumed}), Some(Why::SubscriptionResumed)),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "emailConfirmationStatus": "PENDING"}), None),
        (OrderConfirmation, json!({"paymentStatus": "COMPLETED", "cancellation": cancelled}), Some(Why::OrderCancelled)),
        (OrderConfirmation, json!({"paymentStatus": "REFUNDED"}), Some(Why::OrderNotPaid)),
        (Cancellation, json!({"cancellation": cancelled, "emailCancellationStatus": "PENDING"}), None),
        (Cancellation, json!({"emailCancellationStatus": "PENDING"}), Some(Why::OrderNotCancelled)),
        (PartialRefund, json!({"payments": refunded("10"), "partialRefundEmailStatus": "PENDING"}), None),
        (PartialRefund, json!({"payments": refunded("59.90")}), Some(Why::RefundChanged)),
        (OfflinePaymentPending, json!({"paymentStatus": "PENDING"}), None),
        (OfflinePaymentPending, json!({"paymentStatus": "COMPLETED"}), Some(Why::OrderPaid)),
        (OfflinePaymentPending, json!({"paymentStatus": "FAILED"}), Some(Why::PaymentMovedOn)),
        (NonRecurringPrebilling, json!({"subscription": once, "prebillingStatus": "PENDING"}), None),
        (NonRecurringPrebilling, json!({"subscription": once, "paymentStatus": "COMPLETED"}), Some(Why::OrderPaid)),
        (NonRecurringPrebilling, json!({"subscription": once, "cancellation": cancelled}), Some(Why::OrderCancelled)),
        (NonRecurringPrebilling, json!({"subscription": renews}), Some(Why::RenewalChanged)),
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "FAILED"}), None),
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "COMPLETED"}), Some(Why::OrderPaid)),
        (NonRecurringPaymentAttempt, json!({"subscription": once, "paymentStatus": "REFUNDED"}), Some(Why::PaymentMovedOn)),
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": {"recurring": false, "expiredAt": "2026-11-20T00:00:00Z"}}), None),
        (NonRecurringPaymentSubscriptionExpired, json!({"subscription": once}), Some(Why::SubscriptionNotExpired)),
    ];
    for (template, given, expected) in &changes {
        assert_eq!(template.lapsed(&order(given.clone()), now()), *expected, "{template} of {given}");
    }
}

#[test]
fn a_refusal_names_the_mail_and_the_rule() {
    let refusal =
        OrderTemplate::OfflinePaymentPending.check(&order(json!({"paymentStatus": "FAILED"})), now());
    let words = "OFFLINE_PAYMENT_PENDING requires that paymentStatus is PENDING";
    assert_eq!(refusal.unwrap_err().to_string(), words);
}

#[test]
fn templates_of_other_endpoints_are_told_from_words_that_nobody_knows() {
    for &template in OrderTemplate::ALL {
        assert_eq!(OrderTemplate::named(template.as_str()), Ok(template));
    }
    for word in ["WELCOME", "INVOICE", "PAYMENT_FAILED", "REFUND", "SUBSCRIPTION_RENEWED"] {
        assert_eq!(OrderTemplate::named(word), Err(TemplateError::NotSupported), "{word}");
    }
    for word in ["", "prebilling", "PREBILLING ", "ORDER_CONFIRMATION", "X"] {
        assert_eq!(OrderTemplate::named(word), Err(TemplateError::Unknown), "{word:?}");
    }
}

#[test]
fn a_cool_down_is_written_in_words_or_in_seconds() {
    let settings = |given: Value| serde_json::from_value::<StoreSettings>(json!({"resendCooldown": given}));
    for (given, seconds, shown) in [
        (json!("90s"), 90, "90s"),
        (json!("15m"), 900, "15m"),
        (json!("2h"), 7_200, "2h"),
        (json!("1h 30m"), 5_400, "90m"),
        (json!("7d"), 604_800, "7d"),
        (json!(900), 900, "15m"),
        (json!(1), 1, "1s"),
    ] {
        let settings = settings(given.clone()).unwrap();
        assert_eq!(settings.resend_cooldown.unwrap().length().as_secs(), seconds, "{given}");
        assert_eq!(serde_json::to_value(&settings).unwrap()["resendCooldown"], shown);
    }
    for given in [
        json!(0),
        json!(-5),
        json!(1.5),
        json!("500ms"),
        json!("0s"),
        json!("soon"),
        json!("366d"),
        json!([]),
    ] {
        let error = settings(given.clone()).unwrap_err().to_string();
        assert!(error.contains("a duration of whole seconds"), "{given}: {error}");
    }
    assert_eq!(settings(Value::Null).unwrap().resend_cooldown, None);
}

#[test]
fn a_store_switches_off_the_alternative_mails_and_no_others() {
    let off: StoreSettings =
        serde_json::from_value(json!({"alternativeNonRecurringCommunications": false})).unwrap();
    let switched_off: Vec<_> = OrderTemplate::ALL
        .iter()
        .filter(|template| off.switches_off(**template))
        .map(|t| t.as_str())
        .collect();
    assert_eq!(switched_off, ["NON_RECURRING_PAYMENT_ATTEMPT", "NON_RECURRING_PAYMENT_SUBSCRIPTION_EXPIRED"]);
    assert!(OrderTemplate::ALL.iter().all(|template| !StoreSettings::default().switches_off(*template)));
    let silent: StoreSettings = serde_json::from_value(json!({})).unwrap();
    assert_eq!(silent, StoreSettings::default());
}

#[test]
fn prebilling_is_needless_once_a_resume_offer_has_come_true() {
    let resumes =
        |at: &str| order(json!({"subscription": {"recurring": true, "resumeOffer": {"resumesAt": at}}}));
    let prebilling = OrderTemplate::Prebilling;
    assert!(prebilling.is_needless(&resumes(NOW), now()));
    assert!(prebilling.is_needless(&resumes("2026-11-21T11:00:00Z"), now()));
    assert!(!prebilling.is_needless(&resumes("2026-11-21T12:00:00.001Z"), now()));
    assert!(!prebilling.is_needless(&order(json!({"subscription": {"recurring": true}})), now()));
    assert!(!OrderTemplate::NonRecurringPrebilling.is_needless(&resumes(NOW), now()));
}

#[test]
fn the_payment_is_the_one_asked_for_or_the_latest_that_fits_the_mail() {
    let order = order(json!({"payments": [
        {"paymentId": "first", "amount": "30", "refundedAmount": "10", "createdAt": "2026-01-01T00:00:00Z"},
        {"paymentId": "last", "amount": "30", "createdAt": "2026-03-01T00:00:00Z"},
        {"paymentId": "second", "amount": "30", "refundedAmount": "5", "createdAt": "2026-02-01T00:00:00Z"},
        {"paymentId": "undated", "amount": "30", "refundedAmount": "30"},
    ]}));
    let chosen = |template: OrderTemplate, asked: Option<&str>| {
        template.payment(&order, asked).map(|payment| payment.map(|payment| payment.payment_id.as_str()))
    };
    use OrderTemplate as T;
    assert_eq!(chosen(T::PartialRefund, None), Ok(Some("second")));
    assert_eq!(chosen(T::PartialRefund, Some("first")), Ok(Some("first")));
    assert!(matches!(chosen(T::PartialRefund, Some("last")), Err(PaymentError::NotEligible(_))));
    for template in
        [T::OfflinePaymentPending, T::NonRecurringPaymentAttempt, T::NonRecurringPaymentSubscriptionExpired]
    {
        assert_eq!(chosen(template, None), Ok(Some("last")));
    }
    for template in [T::Prebilling, T::OrderConfirmation, T::Cancellation, T::NonRecurringPrebilling] {
        assert_eq!(chosen(template, None), Ok(None));
        assert_eq!(chosen(template, Some("undated")), Ok(Some("undated")));
    }
    assert_eq!(chosen(T::OrderConfirmation, Some("other")), Err(PaymentError::Unknown));
}

#[test]
fn the_binding_with_most_conditions_met_wins_and_of_equals_the_first() {
    let settings: StoreSettings = serde_json::from_value(json!({"bindings": [
        {"template": "PREBILLING", "templateDefinitionName": "any"},
        {"template": "PREBILLING", "templateDefinitionName": "web", "source": "WEB"},
        {"template": "PREBILLING", "templateDefinitionName": "trial", "trial": true},
        {"template": "PREBILLING", "templateDefinitionName": "web-de", "source": "WEB", "language": "de"},
        {"template": "PREBILLING", "templateDefinitionName": "renews", "recurring": true, "conversion": false, "layout": "dark"},
        {"template": "CANCELLATION", "templateDefinitionName": "never-trial", "trial": false},
    ]}))
    .unwrap();
    let choose = |template: OrderTemplate, given: Value, language: &str| {
        settings.definition(template, &order(given), language).to_owned()
    };
    use OrderTemplate::{Cancellation, OrderConfirmation, Prebilling};
    let trial = json!({"recurring": true, "trial": true});
    for (template, given, language, expected) in [
        (Prebilling, json!({}), "en", "any"),
        (Prebilling, json!({"source": "APP"}), "en", "any"),
        (Prebilling, json!({"source": "WEB"}), "en", "web"),
        (Prebilling, json!({"source": "WEB", "subscription": trial}), "en", "web"),
        (Prebilling, json!({"subscription": trial}), "en", "trial"),
        (Prebilling, json!({"source": "WEB"}), "de-AT", "web-de"),
        (Prebilling, json!({"source": "WEB"}), "den", "web"),
        (Prebilling, json!({"source": "WEB", "layout": "dark", "subscription": trial}), "de", "renews"),
        (Cancellation, json!({}), "en", "never-trial"),
        (Cancellation, json!({"subscription": trial}), "en", "cancellation.default"),
        (OrderConfirmation, json!({}), "en", "order-confirmation.default"),
    ] {
        assert_eq!(
            choose(template, given.clone(), language),
            expected,
            "{template} of {given} in {language}"
        );
    }
}

#[test]
fn an_order_of_the_contract_reads_and_writes_back_as_it_is() {
    let told = json!({"storeId": "main", "source": "WEB", "layout": "default", "language": "en",
        "currency": "EUR", "totalAmount": "59.90", "items": [{"name": "Tea", "quantity": 2, "unitPrice": "29.95"}],
        "endUser": {"email": "ann@example.net", "firstName": "Ann", "lastName": "Lee"},
        "status": "ACTIVE", "paymentStatus": "COMPLETED",
        "cancellation": {"triggeredAt": "2026-11-20T09:00:00.000Z", "reason": "too late"},
        "payments": [{"paymentId": "pay_1", "status": "COMPLETED", "amount": "59.90", "refundedAmount": "0.00",
            "createdAt": "2026-11-01T09:00:00.000Z"}],
        "subscription": {"id": "sub_9", "recurring": true, "trial": false, "conversion": false,
            "nextBillingAt": "2026-12-01T00:00:00.000Z", "resumeOffer": {"resumesAt": "2026-12-01T00:00:00.000Z"}},
        "prebillingStatus": "NONE", "emailConfirmationStatus": "PENDING", "emailCancellationStatus": "FAILED",
        "partialRefundEmailStatus": "NOT_REQUIRED"});
    let order: Order = serde_json::from_value(told.clone()).unwrap();
    assert_eq!(serde_json::to_value(&order).unwrap(), told);
    for (&workflow, expected) in Workflow::ALL.iter().zip(["NONE", "PENDING", "FAILED", "NOT_REQUIRED"]) {
        assert_eq!(order.workflow(workflow).unwrap().as_str(), expected);
        assert_eq!(told[workflow.as_str()], expected);
    }
}

#[test]
fn a_mail_gets_finished_strings_in_its_language() {
    let order = order(json!({"paymentStatus": "PENDING", "totalAmount": "1059.90",
        "items": [{"name": "Tea", "unitPrice": "29.95"}],
        "cancellation": {"triggeredAt": "2026-11-20T09:00:00Z"},
        "payments": [{"paymentId": "p", "amount": "59.90", "refundedAmount": "10.00"}],
        "subscription": {"recurring": false, "expiredAt": "2026-11-01T00:00:00Z"}}));
    let mut values =
        mail_values("ord_1", &order, order.payment("p"), "Tea & Co", Look::default(), Language::De);
    let linked: Value =
        serde_json::from_str(values.as_object_mut().unwrap().remove("json_ld").unwrap().as_str().unwrap())
            .unwrap();
    assert_eq!(linked["@type"], "Order");
    assert_eq!(
        values,
        json!({"store_name": "Tea & Co", "order_id": "ord_1", "total": "1.059,90\u{a0}€", "language": "de",
            "items": [{"name": "Tea", "quantity": 1, "unit_price": "29,95\u{a0}€", "line_total": "29,95\u{a0}€"}],
            "cancelled_on": "20. November 2026", "expired_on": "1. November 2026", "payment_id": "p",
            "refunded_amount": "10,00\u{a0}€"})
    );
}

#[test]
fn a_workflow_follows_its_mail() {
    for (mail, workflow) in [
        (MailState::Queued, "PENDING"),
        (MailState::Sending, "PENDING"),
        (MailState::Deferred, "PENDING"),
        (MailState::Held, "PENDING"),
        (MailState::Sent, "COMPLETED"),
        (MailState::Failed, "FAILED"),
        (MailState::Bounced, "COMPLETED"),
        (MailState::Suppressed, "FAILED"),
        (MailState::Cancelled, "FAILED"),
        (MailState::Expired, "FAILED"),
    ] {
        assert_eq!(WorkflowState::following(mail).as_str(), workflow, "{mail}");
    }
}
