//! The pages, a file for each: what is asked of the store, what is shown of it, and what may be done there.

mod actions;
mod audit;
mod batches;
mod builtin_mails;
mod callbacks;
mod content;
mod dead_letters;
mod mail;
mod mails;
mod merchants;
mod objects;
mod overview;
mod queue;
mod routes;
mod sessions;
mod suppressions;
mod templates;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;

use super::{page_error::PageError, state::DashboardState, viewer::Viewer};
use crate::mail::{ActionId, BatchId};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .merge(overview::router())
        .merge(mails::router())
        .merge(mail::router())
        .merge(content::router())
        .merge(objects::router())
        .merge(batches::router())
        .merge(dead_letters::router())
        .merge(actions::router())
        .merge(callbacks::router())
        .merge(queue::router())
        .merge(routes::router())
        .merge(workers::router())
        .merge(merchants::router())
        .merge(templates::router())
        .merge(builtin_mails::router())
        .merge(suppressions::router())
        .merge(audit::router())
        .merge(sessions::router())
}

/// Whether a page has fragments that are sent while it is open, for this operator.
pub(super) fn is_live(viewer: &Viewer, page: &str) -> bool {
    match page {
        "overview" | "queue" | "batches" => true,
        "routes" | "workers" => viewer.merchant.is_none(),
        _ => batch_of(page).is_some() || action_of(page).is_some(),
    }
}

/// The fragments of a page as they are now.
pub(super) async fn fragments(
    board: &DashboardState,
    viewer: &Viewer,
    page: &str,
) -> Result<String, PageError> {
    match page {
        "overview" => overview::fragments(board, viewer).await,
        "queue" => queue::fragments(board, viewer).await,
        "routes" => routes::fragments(board, viewer).await,
        "workers" => workers::fragments(board, viewer).await,
        "batches" => batches::fragments_of_list(board, viewer).await,
        _ => match (batch_of(page), action_of(page)) {
            (Some(id), _) => batches::fragments(board, viewer, id).await,
            (None, Some(id)) => actions::fragments(board, viewer, id).await,
            (None, None) => Err(PageError::not_found("page")),
        },
    }
}

/// The bulk action that a page is about.
fn action_of(page: &str) -> Option<ActionId> {
    page.strip_prefix("action:")?.parse().ok()
}

/// The batch that a page is about.
fn batch_of(page: &str) -> Option<BatchId> {
    page.strip_prefix("batch:")?.parse().ok()
}
