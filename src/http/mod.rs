//! REQUEST: who asks, is the body well-formed, and what is answered.
//!
//! Each family has a folder with its own `router()`. Handlers are a few lines: extractors answer "who" and
//! "well-formed?", the rules in `shop/` and `mail/` "allowed?", the store "so?". A refusal becomes the family's own
//! envelope in `error`, the only map from a failure to a status.

mod abandoned_carts;
mod accept;
mod accept_language;
mod actions;
mod auth;
mod body;
mod builtin_mails;
mod cart_link;
mod cart_look;
mod composed;
mod documents;
mod error;
mod fields;
mod fingerprint;
mod health;
mod idempotency;
mod import;
mod json_bounds;
mod json_faults;
mod json_nul;
mod json_shape;
mod mailing;
mod mails;
mod metrics;
mod middleware;
mod new_mail;
mod openapi;
mod orders;
mod pagination;
mod passes;
mod public_page;
mod query_faults;
mod queue_status;
mod rate_limit;
mod request_id;
mod request_note;
mod resources;
mod schedule;
mod server;
mod stored;
mod suppressions;
mod template_versions;
#[cfg(test)]
mod test_app;
mod test_send;
mod unsubscribe;
mod waiting;
mod webhooks;

use std::sync::Arc;

use axum::{Router, response::Redirect, routing::get};

use crate::app::App;

pub use actions::{ActionView, MailResultView};
pub use import::{Import, LineError};
pub use mailing::batches::{BatchView, limit_of};
pub use mails::{MailStory, MailView};
pub use pagination::cut_to_page;
pub use queue_status::{LaneView, LineView, PATH as QUEUE_PATH, QueueView, RouteView, WAITING_PATH};
pub use request_id::RequestId;
pub use server::{Peer, serve, serve_operators};
pub use suppressions::{CSV_HEAD, CsvReader, SuppressionView, csv_line};
pub use template_versions::restore_for_operator;
pub use waiting::Waiting;

/// Everything that merchants' systems reach.
pub fn router(app: Arc<App>) -> Router {
    // Batches bring a larger limit of their own.
    let max_body = app.config.http.max_small_body.min(app.config.http.max_body).0;
    let routes = Router::new()
        .merge(cart_link::router())
        .merge(abandoned_carts::router())
        .merge(mailing::router())
        .merge(orders::router())
        .merge(passes::router())
        .merge(unsubscribe::router())
        .merge(suppressions::router())
        .merge(resources::router())
        .merge(builtin_mails::router())
        .merge(template_versions::router())
        .merge(test_send::router())
        .merge(import::router())
        .merge(mails::router())
        .merge(actions::router())
        .merge(webhooks::router())
        .merge(health::router())
        .merge(openapi::router())
        .route("/", get(async || Redirect::temporary("/docs")))
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .with_state(Arc::clone(&app));
    routes
        .layer(axum::extract::DefaultBodyLimit::max(max_body))
        .layer(axum::middleware::from_fn_with_state(app, middleware::surround))
}

/// Everything that operators and their monitoring reach, in every role: health, metrics, and these pages.
pub fn admin_router(app: Arc<App>, pages: Router) -> Router {
    health::admin_router()
        .merge(queue_status::admin_router())
        .method_not_allowed_fallback(error::wrong_method)
        .with_state(Arc::clone(&app))
        .layer(axum::middleware::from_fn_with_state(app, middleware::surround))
        .merge(pages)
}
