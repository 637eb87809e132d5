//! The mails of an order that may be sent again: when each is allowed, about which payment, and which workflow it moves.

use super::{
    document::{Order, Payment, PaymentStatus},
    workflow::{Workflow, WorkflowState},
};
use crate::{
    mail::{CancelReason, Timestamp, closed_set},
    shop::builtin_mails::BuiltinMail,
};

closed_set! {
    /// A mail of an order that can be sent again.
    OrderTemplate {
        /// Announces the next payment of a subscription that renews by itself.
        Prebilling = "PREBILLING",
        /// Confirms a paid order.
        OrderConfirmation = "ORDERCONFIRMATION",
        /// Confirms that an order was cancelled.
        Cancellation = "CANCELLATION",
        /// Tells that a part of a payment was given back.
        PartialRefund = "PARTIAL_REFUND",
        /// Reminds of a payment that the shopper makes outside of the shop.
        OfflinePaymentPending = "OFFLINE_PAYMENT_PENDING",
        /// Announces the next payment of a subscription that does not renew by itself.
        NonRecurringPrebilling = "NON_RECURRING_PREBILLING",
        /// Tells that such a payment was tried and is not complete.
        NonRecurringPaymentAttempt = "NON_RECURRING_PAYMENT_ATTEMPT",
        /// Tells that such a subscription ended because nobody paid.
        NonRecurringPaymentSubscriptionExpired = "NON_RECURRING_PAYMENT_SUBSCRIPTION_EXPIRED",
    }
}

/// Words of the model that merchants share between endpoints; no mail of this family.
const OF_OTHER_ENDPOINTS: [&str; 5] =
    ["WELCOME", "INVOICE", "PAYMENT_FAILED", "REFUND", "SUBSCRIPTION_RENEWED"];

/// A condition on an order.
struct Rule {
    /// Its words, after "requires that".
    demand: &'static str,
    holds: fn(&Order, Timestamp) -> bool,
    /// What it means for a mail on its way that it does not hold any more; nothing where it is about the mail itself.
    lapse: fn(&Order) -> Option<CancelReason>,
}

/// Which payment a mail is about where the request names none.
#[derive(Clone, Copy)]
enum About {
    /// None.
    NoPayment,
    /// The latest.
    LatestPayment,
    /// The latest that was given back in part.
    LatestRefund,
}

/// All that sets one template apart from the others.
struct Terms {
    rules: &'static [Rule],
    workflow: Option<Workflow>,
    about: About,
    mail: BuiltinMail,
    definition: &'static str,
}

impl OrderTemplate {
    const fn terms(self) -> Terms {
        match self {
            Self::Prebilling => Terms {
                rules: &[RECURRING, NOT_PAID, NOT_CANCELLED, PREBILLING_AT_REST],
                workflow: Some(Workflow::Prebilling),
                about: About::NoPayment,
                mail: BuiltinMail::OrderPrebilling,
                definition: "prebilling.default",
            },
            Self::OrderConfirmation => Terms {
                rules: &[PAID, NOT_CANCELLED, CONFIRMATION_SETTLED],
                workflow: Some(Workflow::Confirmation),
                about: About::NoPayment,
                mail: BuiltinMail::OrderConfirmation,
                definition: "order-confirmation.default",
            },
            Self::Cancellation => Terms {
                rules: &[CANCELLED, CANCELLATION_SETTLED],
                workflow: Some(Workflow::Cancellation),
                about: About::NoPayment,
                mail: BuiltinMail::OrderCancellation,
                definition: "cancellation.default",
            },
            Self::PartialRefund => Terms {
                rules: &[PARTLY_REFUNDED, PARTIAL_REFUND_SETTLED],
                workflow: Some(Workflow::PartialRefund),
                about: About::LatestRefund,
                mail: BuiltinMail::OrderPartialRefund,
                definition: "partial-refund.default",
            },
            Self::OfflinePaymentPending => Terms {
                rules: &[PAYMENT_PENDING],
                workflow: None,
                about: About::LatestPayment,
                mail: BuiltinMail::OrderOfflinePaymentPending,
                definition: "offline-payment-pending.default",
            },
            Self::NonRecurringPrebilling => Terms {
                rules: &[NOT_RECURRING, NOT_PAID, NOT_CANCELLED, PREBILLING_AT_REST],
                workflow: Some(Workflow::Prebilling),
                about: About::NoPayment,
                mail: BuiltinMail::OrderNonRecurringPrebilling,
                definition: "non-recurring-prebilling.default",
            },
            Self::NonRecurringPaymentAttempt => Terms {
                rules: &[NOT_RECURRING, PAYMENT_PENDING_OR_FAILED],
                workflow: None,
                about: About::LatestPayment,
                mail: BuiltinMail::OrderNonRecurringPaymentAttempt,
                definition: "non-recurring-payment-attempt.default",
            },
            Self::NonRecurringPaymentSubscriptionExpired => Terms {
                rules: &[NOT_RECURRING, EXPIRED],
                workflow: None,
                about: About::LatestPayment,
                mail: BuiltinMail::OrderNonRecurringPaymentSubscriptionExpired,
                definition: "non-recurring-payment-subscription-expired.default",
            },
        }
    }
}

const RECURRING: Rule = Rule {
    demand: "the order has a recurring subscription",
    lapse: |_| Some(CancelReason::RenewalChanged),
    holds: |order, _| order.subscription.as_ref().is_some_and(|subscription| subscription.recurring),
};
const NOT_RECURRING: Rule = Rule {
    demand: "the order has a non-recurring subscription",
    lapse: |_| Some(CancelReason::RenewalChanged),
    holds: |order, _| order.subscription.as_ref().is_some_and(|subscription| !subscription.recurring),
};
const PAID: Rule = Rule {
    demand: "paymentStatus is COMPLETED",
    lapse: |_| Some(CancelReason::OrderNotPaid),
    holds: |order, _| order.payment_status == PaymentStatus::Completed,
};
const NOT_PAID: Rule = Rule {
    demand: "paymentStatus is not COMPLETED",
    lapse: |_| Some(CancelReason::OrderPaid),
    holds: |order, _| order.payment_status != PaymentStatus::Completed,
};
const PAYMENT_PENDING: Rule = Rule {
    demand: "paymentStatus is PENDING",
    lapse: payment_moved_on,
    holds: |order, _| order.payment_status == PaymentStatus::Pending,
};
const PAYMENT_PENDING_OR_FAILED: Rule = Rule {
    demand: "paymentStatus is PENDING or FAILED",
    lapse: payment_moved_on,
    holds: |order, _| matches!(order.payment_status, PaymentStatus::Pending | PaymentStatus::Failed),
};
const CANCELLED: Rule = Rule {
    demand: "a cancellation has been triggered",
    lapse: |_| Some(CancelReason::OrderNotCancelled),
    holds: |order, _| order.cancelled_at().is_some(),
};
const NOT_CANCELLED: Rule = Rule {
    demand: "no cancellation has been triggered",
    lapse: |_| Some(CancelReason::OrderCancelled),
    holds: |order, _| order.cancelled_at().is_none(),
};
const PARTLY_REFUNDED: Rule = Rule {
    demand: "a payment has been refunded in part",
    lapse: |_| Some(CancelReason::RefundChanged),
    holds: |order, _| order.payments.iter().any(|payment| payment.partial_refund().is_some()),
};
const EXPIRED: Rule = Rule {
    demand: "the subscription's expiredAt is in the past",
    lapse: |_| Some(CancelReason::SubscriptionNotExpired),
    holds: |order, now| {
        order.subscription.as_ref().and_then(|it| it.expired_at).is_some_and(|expired_at| expired_at < now)
    },
};
/// Prebilling may be sent whether or not it was before, but not twice at once.
const PREBILLING_AT_REST: Rule = Rule {
    demand: "prebillingStatus is not PENDING",
    lapse: of_the_workflow,
    holds: |order, _| order.prebilling_status != Some(WorkflowState::Pending),
};
const CONFIRMATION_SETTLED: Rule = Rule {
    demand: "emailConfirmationStatus is COMPLETED or FAILED",
    lapse: of_the_workflow,
    holds: |order, _| is_settled(order.email_confirmation_status),
};
const CANCELLATION_SETTLED: Rule = Rule {
    demand: "emailCancellationStatus is COMPLETED or FAILED",
    lapse: of_the_workflow,
    holds: |order, _| is_settled(order.email_cancellation_status),
};
const PARTIAL_REFUND_SETTLED: Rule = Rule {
    demand: "partialRefundEmailStatus is COMPLETED or FAILED",
    lapse: of_the_workflow,
    holds: |order, _| is_settled(order.partial_refund_email_status),
};

fn payment_moved_on(order: &Order) -> Option<CancelReason> {
    let is_paid = order.payment_status == PaymentStatus::Completed;
    Some(if is_paid { CancelReason::OrderPaid } else { CancelReason::PaymentMovedOn })
}

/// A workflow waits for the very mail that is about to go.
const fn of_the_workflow(_: &Order) -> Option<CancelReason> {
    None
}

const fn is_settled(state: Option<WorkflowState>) -> bool {
    matches!(state, Some(WorkflowState::Completed | WorkflowState::Failed))
}

/// Why a word names no mail of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The word is known, but belongs to another endpoint: this one never takes it.
    #[error("the template is not supported by this endpoint")]
    NotSupported,
    /// No endpoint knows the word; [`OrderTemplate::ALL`] has those that this one takes.
    #[error("the template is not known")]
    Unknown,
}

/// The rule that an order does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{template} requires that {demand}")]
pub struct NotEligible {
    template: OrderTemplate,
    pub(super) demand: &'static str,
}

/// Why a mail cannot be about the payment that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The order has no such payment.
    #[error("the order has no such payment")]
    Unknown,
    /// The mail would be about a refund that did not happen.
    #[error(transparent)]
    NotEligible(#[from] NotEligible),
}

impl OrderTemplate {
    /// The template that a word names.
    ///
    /// # Errors
    /// When it names none of this family.
    pub fn named(word: &str) -> Result<Self, TemplateError> {
        word.parse().map_err(|_| match OF_OTHER_ENDPOINTS.contains(&word) {
            true => TemplateError::NotSupported,
            false => TemplateError::Unknown,
        })
    }

    /// Whether the order allows this mail now.
    ///
    /// # Errors
    /// The first rule that it does not meet.
    pub fn check(self, order: &Order, now: Timestamp) -> Result<(), NotEligible> {
        match self.terms().rules.iter().find(|rule| !(rule.holds)(order, now)) {
            Some(rule) => Err(NotEligible { template: self, demand: rule.demand }),
            None => Ok(()),
        }
    }

    /// Why this mail, which the order allowed when it was asked for, is not to be sent any more: the first of its rules that the
    /// order does not meet, less those about the workflow.
    pub fn lapsed(self, order: &Order, now: Timestamp) -> Option<CancelReason> {
        let broken = self.terms().rules.iter().filter(|rule| !(rule.holds)(order, now));
        let lapsed = broken.filter_map(|rule| (rule.lapse)(order)).next();
        lapsed.or_else(|| self.is_needless(order, now).then_some(CancelReason::SubscriptionResumed))
    }

    /// Whether this mail announces what has happened already: a subscription that was to go on has gone on.
    pub fn is_needless(self, order: &Order, now: Timestamp) -> bool {
        let offer = order.subscription.as_ref().and_then(|subscription| subscription.resume_offer.as_ref());
        self == Self::Prebilling && offer.is_some_and(|offer| offer.resumes_at <= now)
    }

    /// The payment that this mail is about: the one `asked` for, else the one that the order's state suggests.
    ///
    /// # Errors
    /// When the order has no such payment, or the mail is about a refund and this payment had none.
    pub fn payment<'a>(
        self,
        order: &'a Order,
        asked: Option<&str>,
    ) -> Result<Option<&'a Payment>, PaymentError> {
        let about = self.terms().about;
        let Some(asked) = asked else {
            return Ok(match about {
                About::NoPayment => None,
                About::LatestPayment => order.latest_payment(|_| true),
                About::LatestRefund => order.latest_payment(|payment| payment.partial_refund().is_some()),
            });
        };
        let payment = order.payment(asked).ok_or(PaymentError::Unknown)?;
        if matches!(about, About::LatestRefund) && payment.partial_refund().is_none() {
            let demand = "the payment has been refunded in part";
            return Err(NotEligible { template: self, demand }.into());
        }
        Ok(Some(payment))
    }

    /// The workflow that this mail moves.
    pub const fn workflow(self) -> Option<Workflow> {
        self.terms().workflow
    }

    /// The built-in mail.
    pub const fn builtin_mail(self) -> BuiltinMail {
        self.terms().mail
    }

    /// The name of the definition where no binding names another.
    pub const fn default_definition(self) -> &'static str {
        self.terms().definition
    }
}
