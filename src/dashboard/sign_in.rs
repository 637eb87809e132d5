//! Signing in with a name and a password, or with a link that works once; and signing out.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use askama::Template;
use axum::{
    Extension, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use super::{
    assets,
    form::{Act, Asked, Filled},
    page_error::PageError,
    session::{self, LENGTH},
    state::DashboardState,
};
use crate::{
    audit::Author,
    auth::{AuthError, new_secret},
    clock,
    html::written,
    http::Peer,
    store::{NewSession, Store, StoreError},
};

/// The longest name of an operator that is looked for, in bytes.
const LONGEST_NAME: usize = 255;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/login", get(show).post(sign_in))
        .route("/login/once/{token}", get(once))
        .route("/logout", post(sign_out))
}

#[derive(Template)]
#[template(path = "dashboard/login.html")]
struct Page<'a> {
    style: String,
    next: &'a str,
    name: &'a str,
    fault: Option<String>,
}

/// Where to go after signing in: a page of ours, nowhere else.
pub(super) fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 2_000
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { next } else { "/" }
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    headers: HeaderMap,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let next = own_path(fields.raw("next"));
    if let Some(secret) = session::secret(&headers)
        && board.app.store.session(&session::hash(secret)).await?.is_some()
    {
        return Ok(Redirect::to(next).into_response());
    }
    Ok(page(StatusCode::OK, next, "", None))
}

fn page(status: StatusCode, next: &str, name: &str, fault: Option<String>) -> Response {
    (status, Html(written(&Page { style: assets::style(), next, name, fault }))).into_response()
}

async fn sign_in(
    State(board): State<Arc<DashboardState>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Filled(fields): Filled,
) -> Result<Response, PageError> {
    let next = own_path(fields.raw("next")).to_owned();
    let (name, password) = (fields.raw("name").trim().to_owned(), fields.raw("password").to_owned());
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    if name.is_empty() || name.len() > LONGEST_NAME || password.is_empty() {
        let fault = "Give your name and your password.".to_owned();
        return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &next, &shown, Some(fault)));
    }
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(peer)| peer.0);
    match board.app.auth.operator(&name, password, address).await {
        Ok(Some(operator)) => begin(&board.app.store, &operator.name, address, &headers, &next).await,
        Ok(None) => {
            tracing::warn!(%address, "an operator's name or password was wrong");
            let fault = "This name and password do not belong together.".to_owned();
            Ok(page(StatusCode::UNAUTHORIZED, &next, &shown, Some(fault)))
        }
        Err(error @ AuthError::TooMany(_)) => {
            tracing::warn!(%address, "too many passwords of operators were wrong");
            let refused = PageError::from(error);
            let mut response =
                page(StatusCode::TOO_MANY_REQUESTS, &next, &shown, Some(refused.text().to_owned()));
            response.headers_mut().insert(header::RETRY_AFTER, refused.retry_after().into());
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Begins a session with a secret of its own, whatever cookie the browser had before.
async fn begin(
    store: &Store,
    operator: &str,
    address: IpAddr,
    headers: &HeaderMap,
    next: &str,
) -> Result<Response, PageError> {
    let secret = new_secret();
    let new = NewSession {
        hash: session::hash(&secret),
        operator: operator.to_owned(),
        expires_at: clock::now() + LENGTH,
        address: Some(address.to_string()),
    };
    if let Some(before) = session::secret(headers)
        && let Some(before) = store.session(&session::hash(before)).await?
    {
        store.end_session(None, &before.session.id).await?;
    }
    let author = Author::of_operator(operator, Some(address));
    store.acting_for(author).begin_session(new).await?;
    tracing::info!(operator, %address, "an operator signed in");
    let cookie = session::set_cookie(Some(&secret), session::is_encrypted(headers));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

async fn once(
    State(board): State<Arc<DashboardState>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response, PageError> {
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(peer)| peer.0);
    match board.app.store.use_sign_in_link(&session::hash(&token)).await? {
        Some(operator) => begin(&board.app.store, &operator, address, &headers, "/").await,
        None => {
            let fault = "This link was used already, or is too old. Sign in with a name and a password.";
            Ok(page(StatusCode::NOT_FOUND, "/", "", Some(fault.to_owned())))
        }
    }
}

/// Makes a path that signs an operator in once, and within this time.
///
/// # Errors
/// Those of a write: see [`StoreError`].
pub async fn sign_in_link(store: &Store, operator: &str, within: Duration) -> Result<String, StoreError> {
    let token = new_secret();
    store.create_sign_in_link(&session::hash(&token), operator, clock::now() + within).await?;
    Ok(format!("/login/once/{token}"))
}

async fn sign_out(
    State(board): State<Arc<DashboardState>>,
    headers: HeaderMap,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    viewer.store(&board.app).end_session(Some(&viewer.name), &viewer.session.id).await?;
    let cookie = session::set_cookie(None, session::is_encrypted(&headers));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn one_goes_on_to_our_own_pages_only() {
        for own in ["/", "/mails?q=order%3A1&after=2", "/mails/0192"] {
            assert_eq!(own_path(own), own);
        }
        for other in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "javascript:1"]
        {
            assert_eq!(own_path(other), "/", "{other}");
        }
    }
}
