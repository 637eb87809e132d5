//! Who asks: HTTP Basic (RFC 7617) with an account, Bearer (RFC 6750) with a token.
//!
//! Passwords are hashed with Argon2id, which is slow by design; those that were right are remembered for a minute in a
//! bounded cache, keyed by a MAC of user name and password under a key of this process, so that only the first request
//! pays. Tokens are 256 random bits and stored as SHA-256.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::error::Refusal;
use crate::{
    app::App,
    clock,
    limits::Scope,
    shop::{Abilities, Ability},
    store::Merchant,
};

/// How long a verified password is remembered: a changed one works on for so long at most.
const VERIFIED: Duration = Duration::from_secs(60);
/// How long a token is remembered: a revoked one works on for so long at most.
const TOKEN_KNOWN: Duration = Duration::from_secs(1);
/// Hashes under way at once; each takes tens of milliseconds and 19 MiB.
static HASHES: Semaphore = Semaphore::const_new(2);

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    key: rand::random(),
    passwords: Cache::builder().max_capacity(10_000).time_to_live(VERIFIED).build(),
    tokens: Cache::builder().max_capacity(10_000).time_to_live(TOKEN_KNOWN).build(),
});

struct Known {
    key: [u8; 32],
    passwords: Cache<[u8; 32], Caller>,
    tokens: Cache<String, Caller>,
}

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
            Some(Credential::Basic { username, password }) => by_password(app, username, password).await?,
            Some(Credential::Bearer(token)) => by_token(app, &token).await?,
            None => None,
        };
        let caller = caller.ok_or_else(unauthorized)?;
        if caller.merchant.suspended_at.is_some() {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "suspended", "This merchant is suspended."));
        }
        let scope = Scope::Requests(caller.merchant.id.clone());
        app.limits.take(&scope, app.config.http.rate).map_err(too_many)?;
        Ok(caller)
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
}

fn too_many(wait: Duration) -> Refusal {
    let message = "Too many requests.";
    Refusal {
        retry_after: Some(wait.as_secs() + 1),
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
    if let Some(caller) = KNOWN.tokens.get(&hash) {
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
    KNOWN.tokens.insert(hash, caller.clone());
    Ok(Some(caller))
}

async fn by_password(app: &App, username: String, password: String) -> Result<Option<Caller>, Refusal> {
    let key = KNOWN.fingerprint(&username, &password);
    if let Some(caller) = KNOWN.passwords.get(&key) {
        return Ok(Some(caller));
    }
    let account = app.store.account(&username).await?;
    // An unknown user name costs the same time as a wrong password: it shall not be told from one.
    let hash = account.as_ref().map_or_else(|| NOBODY.clone(), |account| account.password_hash.clone());
    let _permit = HASHES.acquire().await.map_err(|_| Refusal::unavailable())?;
    let right = tokio::task::spawn_blocking(move || verify(&password, &hash))
        .await
        .map_err(|_| Refusal::unavailable())?;
    let Some(account) = account.filter(|_| right) else { return Ok(None) };
    let actor = format!("account:{username}").into();
    let caller = Caller { merchant: Arc::new(account.merchant), actor, abilities: Abilities::All };
    KNOWN.passwords.insert(key, caller.clone());
    Ok(Some(caller))
}

/// The hash of a password that nobody has.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_password(&new_secret()).unwrap_or_default());

impl Known {
    fn fingerprint(&self, username: &str, password: &str) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key will do");
        mac.update(&(username.len() as u64).to_be_bytes());
        mac.update(username.as_bytes());
        mac.update(password.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashes a password with Argon2id (RFC 9106), as a PHC string.
///
/// # Errors
/// When the system has no randomness.
pub fn hash_password(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow::anyhow!("a password could not be hashed: {error}"))?;
    Ok(hash.to_string())
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
    fn a_password_verifies_against_its_own_hash_only() {
        let hash = hash_password("tea").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify("tea", &hash) && !verify("Tea", &hash) && !verify("tea", "nonsense"));
    }

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
