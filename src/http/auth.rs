//! Who asks: HTTP Basic (RFC 7617) with an account, Bearer (RFC 6750) with a token.
//!
//! Reads the credential of a request; whether it is right, and what it may do, says [`Auth`](crate::auth::Auth).

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    error::Refusal,
    rate_limit::{QuotaNote, whole_seconds},
    request_id::RequestId,
    request_note::note_merchant,
    server::{Peer, network_of},
};
use crate::{app::App, auth::AuthError, shop::Ability};

pub use crate::auth::Caller;

impl Caller {
    /// Asserts that the caller has an ability.
    ///
    /// # Errors
    /// 403 when it has not: the merchant must use another credential, or make a token that has it.
    pub fn may(&self, ability: Ability) -> Result<(), Refusal> {
        if self.can(ability) {
            return Ok(());
        }
        let message = format!("This credential lacks the ability {ability}.");
        Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let caller = match credential(&parts.headers) {
            Some(Credential::Basic { username, password }) => {
                app.auth.by_password(username, password, network_of_peer(parts)).await?
            }
            Some(Credential::Bearer(token)) => app.auth.by_token(&token).await?,
            None => None,
        };
        let mut caller = caller.ok_or_else(unauthorized)?;
        caller.peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        caller.request_id = parts.extensions.get::<RequestId>().map(|id| Arc::clone(&id.0));
        note_merchant(&caller.merchant.id);
        if caller.merchant.suspended_at.is_some() {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "suspended", "This merchant is suspended."));
        }
        let quota = app.requests.take(&caller.merchant.id);
        if let Some(note) = parts.extensions.get::<QuotaNote>() {
            note.set(quota);
        }
        if !quota.is_granted {
            return Err(too_many(quota.reset));
        }
        // Whoever reads the body asks for room in this merchant's share.
        parts.extensions.insert(caller.merchant.id.clone());
        Ok(caller)
    }
}

/// Where the other end of the TCP connection is; a header says anything.
fn network_of_peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().and_then(|peer| network_of(peer.0))
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::TooMany(wait) => too_many(wait),
            AuthError::Unverified => Self::unavailable(),
            AuthError::Store(error) => error.into(),
        }
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
}

fn too_many(wait: Duration) -> Refusal {
    let message = "Too many requests.";
    Refusal {
        retry_after: Some(whole_seconds(wait)),
        ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }
}

enum Credential {
    Basic { username: String, password: String },
    Bearer(String),
}

fn credential(headers: &HeaderMap) -> Option<Credential> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credential::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    if decoded.contains(char::is_control) {
        return None; // RFC 7617, section 2; and a database's text cannot hold U+0000
    }
    let (username, password) = decoded.split_once(':')?;
    Some(Credential::Basic { username: username.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_may_stand_in_a_password_but_not_in_a_user_name() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::AUTHORIZATION,
            format!("Basic {}", BASE64_STANDARD.encode("ann:a:b")).parse().unwrap(),
        );
        let Some(Credential::Basic { username, password }) = credential(&headers) else {
            panic!("no credential")
        };
        assert_eq!((username.as_str(), password.as_str()), ("ann", "a:b"));
    }
}
