//! What a page says when it cannot show or do what was asked.

use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};

use super::assets;
use crate::{
    admission::PauseError, auth::AuthError, html::written, queue::QueueError, store::StoreError,
    telemetry::chain,
};

/// Why a page cannot be shown, or an action not be done.
#[derive(Clone, Debug)]
pub(super) struct PageError {
    status: StatusCode,
    title: String,
    text: String,
    /// Where to sign in, where that helps.
    sign_in: Option<String>,
    /// Whether the browser goes there by itself.
    goes_there: bool,
    retry_after: Option<u64>,
}

#[derive(Template)]
#[template(path = "dashboard/page_error.html")]
struct Page<'a> {
    error: &'a PageError,
    style: String,
}

impl PageError {
    pub(super) fn new(status: StatusCode, title: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            status,
            title: title.into(),
            text: text.into(),
            sign_in: None,
            goes_there: false,
            retry_after: None,
        }
    }

    pub(super) fn not_found(what: &str) -> Self {
        let text = format!("There is no such {what}, or it is not yours to see.");
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", text)
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "That cannot be read", text)
    }

    pub(super) fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Not done", text)
    }

    /// The database or the queue keeps the page waiting.
    pub(super) fn slow() -> Self {
        let text = "The database did not answer within 3 seconds. Nothing was changed. Mails that are recorded are safe; \
                    /readyz says which part is away.";
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database is slow", text)
        }
    }

    /// Nobody knows whether an action was done.
    pub(super) fn unknown() -> Self {
        let text = "The database did not say in time whether this was done. Look at the page before you do it again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Perhaps done", text)
    }

    pub(super) fn fault() -> Self {
        let text = "This page could not be shown. That is a fault of postroom; the log has more.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "A fault", text)
    }

    /// Nobody is signed in: a page leads to the form, an action says so.
    pub(super) fn sign_in(next: String, goes_there: bool) -> Self {
        let text = "You are not signed in, or your session has ended. Nothing was changed.";
        let sign_in = Some(format!("/login?next={}", encoded(&next)));
        Self { sign_in, goes_there, ..Self::new(StatusCode::UNAUTHORIZED, "Sign in first", text) }
    }

    /// The same without leading anywhere by itself.
    pub(super) fn stays(self) -> Self {
        Self { goes_there: false, ..self }
    }

    pub(super) fn too_many(seconds: u64) -> Self {
        let text = format!("Too many passwords were wrong. Try again in {seconds} s.");
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", text)
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// After how many seconds to try again.
    pub(super) fn retry_after(&self) -> u64 {
        self.retry_after.unwrap_or(1)
    }
}

/// A path as the value of a query.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Some(sign_in) = self.sign_in.as_deref().filter(|_| self.goes_there) {
            return Redirect::to(sign_in).into_response();
        }
        let page = Html(written(&Page { error: &self, style: assets::style() }));
        let mut response = (self.status, page).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %chain(&error), "a page could not be shown");
        match error {
            StoreError::OutcomeUnknown { .. } => Self::unknown(),
            StoreError::Exists(what) => Self::conflict(format!("{what} exists already.")),
            error if error.may_pass() => {
                let text = format!("{}. Nothing was changed.", first_in_capitals(&error.to_string()));
                Self {
                    retry_after: Some(5),
                    ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer", text)
                }
            }
            _ => Self::fault(),
        }
    }
}

impl From<PauseError> for PageError {
    fn from(error: PauseError) -> Self {
        let text = format!("{}.", first_in_capitals(&error.to_string()));
        match error {
            PauseError::Reason | PauseError::Length => Self::bad(text),
            PauseError::UnknownMerchant(_) | PauseError::UnknownRoute(_) => {
                Self::new(StatusCode::NOT_FOUND, "Not found", text)
            }
            PauseError::Store(error) => error.into(),
        }
    }
}

impl From<QueueError> for PageError {
    fn from(error: QueueError) -> Self {
        tracing::warn!(error = %chain(&error), "a page could not be shown");
        let text = format!("{}. Recorded mails are safe and wait.", first_in_capitals(&error.to_string()));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The queue does not answer", text)
    }
}

impl From<AuthError> for PageError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::TooMany(wait) => Self::too_many(wait.as_secs() + 1),
            AuthError::Unverified => Self::slow(),
            AuthError::Store(error) => error.into(),
        }
    }
}

fn first_in_capitals(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) async fn unknown_page() -> PageError {
    PageError::new(StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}

pub(super) async fn wrong_method() -> PageError {
    PageError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not like that",
        "This address is for a form, or for looking only.",
    )
}
