//! Why a mail of an order is not sent again, as the family answers it.

use axum::http::StatusCode;

use crate::{
    http::error::Refusal,
    shop::order::{NotEligible, PaymentError},
};

/// A refusal of this family (400), its message made a sentence.
pub(super) fn refuse(code: &'static str, why: impl std::fmt::Display) -> Refusal {
    let why = why.to_string();
    let mut rest = why.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    let message: String = first.into_iter().chain(rest).chain(['.']).collect();
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

impl From<NotEligible> for Refusal {
    fn from(error: NotEligible) -> Self {
        refuse("order_not_eligible", error)
    }
}

impl From<PaymentError> for Refusal {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Unknown => refuse("payment_unknown", error),
            PaymentError::NotEligible(error) => error.into(),
        }
    }
}
