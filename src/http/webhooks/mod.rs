//! Webhooks: the URLs that get a merchant's events, and their deliveries.

mod deliveries;
mod endpoints;
mod signature;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post, put},
};

use crate::app::App;

pub(super) use deliveries::*;
pub(super) use endpoints::*;
pub(super) use signature::*;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/webhooks", get(list).post(register))
        .route("/webhooks/events", get(list_events))
        .route("/webhooks/verify-signature", post(verify_signature))
        .route("/webhooks/{id}", put(change).delete(remove))
        .route("/webhooks/{id}/refresh-secret", post(refresh_secret))
        .route("/webhooks/{id}/test", post(test))
        .route("/webhooks/{id}/deliveries", get(list_deliveries))
        .route("/webhooks/{id}/deliveries/replay", post(replay_failed))
        .route("/webhooks/{id}/deliveries/{delivery}", get(show_delivery))
        .route("/webhooks/{id}/deliveries/{delivery}/replay", post(replay))
}

#[cfg(test)]
mod tests;
