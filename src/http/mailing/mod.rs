//! The mailing family (`mailing.txt`): templates, a mail from one, and batches of mails.

pub(super) mod batches;
pub(super) mod extras;
pub(super) mod single;
pub(super) mod templates;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use crate::app::App;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/templates", get(templates::list_templates))
        .route("/templates/{id}", get(templates::inspect_template))
        .route("/mail", post(single::send_mail))
        .merge(batches::router())
        .merge(batches::preflight::router())
}
