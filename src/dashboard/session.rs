//! Sessions: a cookie with 256 random bits, of which the database has the hash; twelve hours, to be extended.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::auth::hash_token;

/// How long a session lasts after it began or was extended.
pub(super) const LENGTH: Duration = Duration::from_secs(12 * 60 * 60);

const NAME: &str = "postroom_session";
/// The characters of 256 bits in Base64.
const SECRET: usize = 43;

/// A cookie of this name, as the browser sent it.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// The secret of a session, where the browser has one.
pub(super) fn secret(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, NAME).filter(|secret| secret.len() == SECRET)
}

/// What the database knows a session by.
pub(super) fn hash(secret: &str) -> String {
    hash_token(secret)
}

/// What each form of a session has: only who knows the session's secret can say it.
pub(super) fn form_token(secret: &str) -> String {
    let digest = Sha256::new().chain_update("form of ").chain_update(secret).finalize();
    base16ct::lower::encode_string(&digest)
}

/// The cookie of a session that begins; without a secret, of one that ends.
pub(super) fn set_cookie(secret: Option<&str>, is_encrypted: bool) -> HeaderValue {
    let secure = if is_encrypted { "; Secure" } else { "" };
    let (value, age) = secret.map_or(("", 0), |secret| (secret, LENGTH.as_secs()));
    let cookie = format!("{NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
}

/// Whether the browser reached us over TLS, as a proxy says. Whoever lies about that loses only the own cookie.
pub(super) fn is_encrypted(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_a_short_one_is_none() {
        let headers = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, "a=b".parse().unwrap());
            headers.append(header::COOKIE, text.parse().unwrap());
            headers
        };
        let good = "s".repeat(SECRET);
        assert_eq!(secret(&headers(&format!("x=1; {NAME}={good}; y=2"))), Some(good.as_str()));
        assert_eq!(secret(&headers(&format!("{NAME}=short"))), None);
        assert_eq!(secret(&headers(&format!("not_{NAME}={good}"))), None);
    }

    #[test]
    fn the_cookie_is_for_the_server_alone() {
        let plain = set_cookie(Some("s"), false);
        assert_eq!(plain, "postroom_session=s; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
        assert!(set_cookie(None, true).to_str().unwrap().ends_with("Max-Age=0; Secure"));
        assert_ne!(form_token("a"), form_token("b"));
        assert_ne!(form_token("a"), hash("a"));
    }
}
