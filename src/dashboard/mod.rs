//! DASHBOARD: the same rows, for people. Served where operators look (`admin.listen`), in every role, beside the metrics.
//!
//! Each page is a query, a view struct and a template; a view is shaped for who looks (`viewer.rs`): an
//! operator of one merchant sees that merchant alone, and whoever may only look sees no bodies and no whole address. What is changed goes through the
//! store's methods of the API and the command line, and is in the audit with the operator's name.
//!
//! Everything works without JavaScript: links to look, forms to act. A script adds live fragments, keys and local times.
//! Nothing is loaded from another host, nothing is written inline, and no page waits longer for the database than
//! `guard.rs` allows.
//!
//! | file | is |
//! |---|---|
//! | `guard.rs` | what surrounds each request: headers, where a form comes from, time limit, log line |
//! | `session.rs`, `sign_in.rs` | the cookie and its row; signing in and out |
//! | `viewer.rs`, `form.rs` | who looks, and what was filled in |
//! | `state.rs`, `hub.rs` | what the pages work with, and who looks at what |
//! | `layout.rs`, `page_error.rs`, `words.rs`, `parts.rs` | what pages have in common; what is said when something does not work |
//! | `alarms/`, `causes.rs`, `status_snapshot.rs` | what is wrong, in words; why; and all that is known at a glance |
//! | `live.rs`, `charts.rs`, `activity.rs` | fragments that are sent while a page is open; charts, and what they are made of |
//! | `rates.rs` | how much of its rate a route used |
//! | `pages/` | a file for each page |

mod activity;
mod alarms;
mod assets;
mod causes;
mod charts;
mod form;
mod guard;
mod hub;
mod layout;
mod live;
mod page_error;
mod pages;
mod parts;
mod rates;
mod session;
mod sign_in;
mod state;
mod status_snapshot;
#[cfg(test)]
mod test_board;
mod viewer;
mod words;

use std::sync::Arc;

use axum::{Router, middleware};

use crate::app::App;
use state::DashboardState;

pub use activity::keep_activity;
pub use sign_in::sign_in_link;

/// Everything that operators see in a browser.
pub fn router(app: Arc<App>) -> Router {
    let board = DashboardState::new(app);
    Router::new()
        .merge(sign_in::router())
        .merge(live::router())
        .merge(pages::router())
        .merge(assets::router())
        .fallback(page_error::unknown_page)
        .method_not_allowed_fallback(page_error::wrong_method)
        .with_state(board)
        .layer(axum::extract::DefaultBodyLimit::max(form::LARGEST))
        .layer(middleware::from_fn(guard::guard))
}
