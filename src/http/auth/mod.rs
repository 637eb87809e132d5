//! Who asks: HTTP Basic (RFC 7617) with an account, Bearer (RFC 6750) with a token.
//!
//! Passwords are hashed with Argon2id, which is slow by design; `passwords.rs` sees to it that this is done once for a
//! good password and seldom for a bad one. Tokens are 256 random bits and stored as SHA-256. What a credential may do is
//! read anew from its row every half second: a revoked token, a changed password or a suspended merchant stops.

mod passwords;

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::{
    error::Refusal,
    rate_limit::{QuotaNote, whole_seconds},
    server::Peer,
};
use crate::{
    app::App,
    clock,
    shop::{Abilities, Ability},
    store::Merchant,
};

pub use passwords::hash_password;

/// How long what was read about a credential is believed: a revoked one works on for so long at most.
const KNOWN_FOR: Duration = Duration::from_millis(500);

static TOKENS: LazyLock<Cache<String, Caller>> =
    LazyLock::new(|| Cache::builder().max_capacity(10_000).time_to_live(KNOWN_FOR).build());

/// Who asks, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The merchant.
    pub merchant: Arc<Merchant>,
    /// Which of the merchant's credentials: `account:` and the user name, or `token:` and the beginning of its hash.
    pub actor: Arc<str>,
    abilities: Abilities,
}

impl Caller {
    /// Asserts that the caller has an ability.
    ///
    /// # Errors
    /// 403 when it has not.
    pub fn may(&self, ability: Ability) -> Result<(), Refusal> {
        if self.abilities.include(ability) {
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
                passwords::caller(app, username, password, peer_of(parts)).await?
            }
            Some(Credential::Bearer(token)) => by_token(app, &token).await?,
            None => None,
        };
        let caller = caller.ok_or_else(unauthorized)?;
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

/// The other end of the TCP connection; a header says anything.
fn peer_of(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0)
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

async fn by_token(app: &App, token: &str) -> Result<Option<Caller>, Refusal> {
    let hash = hash_token(token);
    if let Some(caller) = TOKENS.get(&hash) {
        return Ok(Some(caller));
    }
    let Some(record) = app.store.token(&hash).await? else { return Ok(None) };
    let is_over = record.revoked_at.is_some() || record.expires_at.is_some_and(|at| at <= clock::now());
    let Ok(abilities) = Abilities::parse(&record.abilities) else { return Ok(None) };
    if is_over {
        return Ok(None);
    }
    let actor = format!("token:{}", hash.get(..12).unwrap_or(&hash)).into();
    let caller = Caller { merchant: Arc::new(record.merchant), actor, abilities };
    TOKENS.insert(hash, caller.clone());
    Ok(Some(caller))
}

/// The SHA-256 of a token, hexadecimal: what is stored.
pub fn hash_token(token: &str) -> String {
    to_hex(&Sha256::digest(token.as_bytes()))
}

/// 256 random bits, URL-safe.
pub fn new_secret() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
