//! A JSON body: its type, its size, its syntax, its shape; each fault has a status of its own.

use std::error::Error;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

use super::{error::Refusal, server::TooSlow};

/// The bytes of a body that says it is JSON.
pub struct JsonBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        expect_json(request.headers())?;
        read(request, state).await.map(Self)
    }
}

/// Refuses a body that does not say it is JSON.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_json(headers) {
        return Ok(());
    }
    let message = "The body must be application/json.";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message).about_form())
}

/// Reads a body up to the limit.
pub async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refusal> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(failed) if failed.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            too_large()
        }
        rejection => unreadable(&rejection),
    })
}

pub(super) fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large.").about_form()
}

/// The body broke off, or came too slowly (408).
pub(super) fn unreadable(error: &(dyn Error + 'static)) -> Refusal {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<TooSlow>() {
            let message = "The body came too slowly.";
            return Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message).about_form();
        }
        next = cause.source();
    }
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "The body could not be read.").about_form()
}

impl JsonBody {
    /// Reads the body, an object, into `T`.
    ///
    /// # Errors
    /// 400 when it is not JSON, 422 with the path when it is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let value = parse(&self.0)?;
        // An array would be read as the fields of `T` in their order.
        match self.0.trim_ascii_start().first() {
            Some(b'{') => Ok(value),
            _ => Err(Refusal::field("", "must be an object").about_form()),
        }
    }
}

/// Reads JSON into `T`.
///
/// # Errors
/// 400 when it is not JSON, 422 with the path when it is not a `T`.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    let Ok(text) = std::str::from_utf8(json) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "not_json", "The body is not UTF-8.").about_form());
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // A wrong shape may stand before wrong syntax, which is the graver fault.
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Refusal::field(readable(&path), without_position(&inner)).about_form(),
            Err(syntax) => not_json(&syntax),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    if has_nul(json) {
        return Err(Refusal::field("", "must not contain the character U+0000").about_form());
    }
    Ok(value)
}

pub(super) fn not_json(error: &serde_json::Error) -> Refusal {
    let message = format!("The body is not JSON: line {} column {}.", error.line(), error.column());
    Refusal::new(StatusCode::BAD_REQUEST, "not_json", message).about_form()
}

/// `users[3].identifier` as `users.3.identifier`; the whole body has no path.
pub(super) fn readable(path: &str) -> String {
    path.replace('[', ".").replace(']', "").trim_matches('.').to_owned()
}

fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(position) => message[..position].to_owned(),
        None => message,
    }
}

/// A database's text cannot hold U+0000. In JSON it can only be written as an escape.
pub(super) fn has_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(position) = rest.windows(6).position(|window| window == b"\\u0000") {
        let slashes = rest[..position].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if slashes % 2 == 0 {
            return true;
        }
        rest = &rest[position + 6..];
    }
    false
}

fn is_json(headers: &HeaderMap) -> bool {
    is_utf8_of(headers, |essence| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Whether a body says that it is of a media type and, where it names a character set, that this is UTF-8 (RFC 9110,
/// section 8.3). The media type is compared in lower case.
pub(super) fn is_utf8_of(headers: &HeaderMap, is_type: impl Fn(&str) -> bool) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    is_type(&parts.next().unwrap_or_default())
        && parts
            .filter_map(|part| {
                Some(part.split_once('=')?.1.to_owned()).filter(|_| part.starts_with("charset="))
            })
            .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_only_where_it_is_one() {
        assert!(has_nul(br#"{"a":"x\u0000"}"#));
        assert!(has_nul(br#"{"a":"\\\u0000"}"#));
        assert!(!has_nul(br#"{"a":"\\u0000"}"#));
        assert!(!has_nul(br#"{"a":"u0000"}"#));
    }

    #[test]
    fn json_is_in_utf_8() {
        let is_json =
            |value: &str| is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]));
        for right in [
            "application/json",
            "Application/JSON ; Charset=\"UTF-8\"",
            "application/json;charset=utf8; profile=x",
            "application/problem+json; boundary=charset",
        ] {
            assert!(is_json(right), "{right}");
        }
        for wrong in [
            "application/json; charset=latin1",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=utf-16",
            "text/json",
            "application/jsonx",
        ] {
            assert!(!is_json(wrong), "{wrong}");
        }
    }

    #[test]
    fn syntax_and_shape_are_told_apart() {
        assert_eq!(parse::<Vec<u8>>(b"[1,").unwrap_err().status, StatusCode::BAD_REQUEST);
        let refusal = parse::<Vec<u8>>(b"[1,300]").unwrap_err();
        assert_eq!(refusal.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refusal.errors[0].path, "1");
        assert!(!refusal.errors[0].message.contains("line"));
    }
}
