//! The abandoned-cart family: carts with their reminders, and a reminder of one (`abandoned-cart-reminder.txt`).

pub(super) mod carts;
pub(super) mod reminder;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use crate::app::App;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/abandoned-carts", get(carts::list))
        .route("/abandoned-carts/{identifier}", get(carts::show))
        .route("/abandoned-carts/{identifier}/reminder", post(reminder::remind))
}

#[cfg(test)]
mod tests;
