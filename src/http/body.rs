//! A JSON body: its type, its size, its syntax, its shape; each fault has a status of its own.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::{
    error::{FieldError, Refusal},
    json_bounds, json_faults, json_nul,
    server::TooSlow,
};
use crate::{
    app::App,
    limits::{Full, InFlightPermit},
    mail::MerchantId,
};

/// How long a body waits for room in memory.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// Below this a body is read before there is room for it.
const SMALL: usize = 16 * 1024;
/// What is read of a body beyond its limit.
const MOST_DISCARDED: usize = 16 << 20;
/// What a request for one mail may have beside its user object.
const BESIDE_A_USER: usize = 64 * 1024;
/// What a request for one mail may have that has files: 10 MB in base64, in lines, and the rest.
const FILES: usize = 14 * 1024 * 1024;

/// The bytes of a body that says it is JSON, and the room that it and its values take, or what cannot be taken of it.
pub struct JsonBody(pub Bytes, Result<InFlightPermit, FieldError>);

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        expect_json(request.headers())?;
        let (bytes, room) = read(request, app).await?;
        Ok(Self(bytes, room))
    }
}

/// Refuses a body that does not say it is JSON.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Refusal> {
    if says_json(headers) {
        return Ok(());
    }
    let message = "The body must be application/json.";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message).about_form())
}

/// Reads a body up to its limit, and makes room for it and for what is in it.
///
/// # Errors
/// 413 when it is too large and 400 or 408 when it broke off or came too slowly: the request must change. 429 when the
/// merchant has too many bodies under way and 503 when all have: the same request may be made again after `Retry-After`.
/// The inner error says which value cannot be taken.
pub(super) async fn read(
    request: Request,
    app: &App,
) -> Result<(Bytes, Result<InFlightPermit, FieldError>), Refusal> {
    let longest = longest(app, request.uri().path());
    let merchant = request.extensions().get::<MerchantId>().cloned();
    let (bytes, room) = collect(request, app, merchant.as_ref(), longest).await?;
    let bytes = without_mark(bytes);
    let needed = match json_bounds::measure(&bytes, json_bounds::DEEPEST + 1) {
        Ok(measure) => bytes.len() + measure.memory,
        Err(fault) => return Ok((bytes, Err(fault))),
    };
    let hold = async |amount| app.bodies.hold(merchant.as_ref(), amount, ROOM_TIMEOUT).await.map_err(full);
    let held = match room {
        // The first room is not given up for the second: two that did so could change places for good.
        Some((room, amount)) if needed > amount => hold(needed - amount).await?.and(Some(room)),
        Some((mut room, _)) => {
            app.bodies.shrink(&mut room, needed);
            room
        }
        None => hold(needed).await?,
    };
    Ok((bytes, Ok(held)))
}

pub(super) fn full(full: Full) -> Refusal {
    match full {
        Full::Merchant => Refusal::busy(),
        Full::All => Refusal::unavailable(),
    }
}

/// A body without the mark that some programs write before UTF-8 (RFC 8259, section 8.1: it may be ignored).
fn without_mark(bytes: Bytes) -> Bytes {
    if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes }
}

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The longest body at a path: of those that give values for one mail, what they can need at most.
fn longest(app: &App, path: &str) -> usize {
    let limit = app.config.http.max_small_body.min(app.config.http.max_body).0;
    let is_about_one_mail = path == "/mail"
        || path.starts_with("/abandoned-carts/")
        || path.starts_with("/ordersv2/")
        || path.starts_with("/api/public/")
        || path.starts_with("/templates")
        || is_preview(path)
        || path.starts_with("/api/v1/builtin-mails/");
    if is_about_one_mail {
        let files = if path == "/mail" { FILES } else { 0 };
        limit
            .min(app.config.http.max_user.0.saturating_mul(4).saturating_add(BESIDE_A_USER))
            .max(files.min(app.config.http.max_body.0))
    } else {
        limit
    }
}

/// `/api/v1/templates/{id}/preview`, and not a document whose id is `preview`.
fn is_preview(path: &str) -> bool {
    let id = path.strip_prefix("/api/v1/templates/").and_then(|rest| rest.strip_suffix("/preview"));
    id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

/// Gathers a body, and returns it with the room that it took, and how much that is, unless it is small. One that is too
/// long is read on for a while without being kept: a caller that still sends would not see the answer.
async fn collect(
    request: Request,
    app: &App,
    merchant: Option<&MerchantId>,
    longest: usize,
) -> Result<(Bytes, Option<(InFlightPermit, usize)>), Refusal> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_too_long = declared.is_some_and(|declared: usize| declared > longest);
    // A body of unknown length may have any, once it is not small.
    let at_most = declared.unwrap_or(longest);
    let hold = async || {
        Ok::<_, Refusal>((app.bodies.hold(merchant, at_most, ROOM_TIMEOUT).await.map_err(full)?, at_most))
    };
    let is_large = declared.is_some_and(|declared| declared > SMALL) && !is_too_long;
    let mut room = if is_large { Some(hold().await?) } else { None };
    let mut pieces = request.into_body().into_data_stream();
    let (mut first, mut gathered, mut length) = (Bytes::new(), Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| unreadable(&error))?;
        length += piece.len();
        if length > longest || is_too_long {
            (first, gathered) = (Bytes::new(), Vec::new());
            if length > longest + MOST_DISCARDED {
                break;
            }
            continue;
        }
        if length > SMALL && room.is_none() {
            room = Some(hold().await?);
        }
        if first.is_empty() && gathered.is_empty() {
            first = piece;
        } else {
            if gathered.is_empty() {
                gathered = Vec::from(std::mem::take(&mut first));
            }
            gathered.extend_from_slice(&piece);
        }
    }
    if length > longest || is_too_long {
        return Err(too_large());
    }
    Ok((if gathered.is_empty() { first } else { gathered.into() }, room))
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
    /// 400 when it is not JSON, 422 with the paths when it is not a `T` or has values that cannot be taken.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        if let Err(fault) = &self.1 {
            return Err(is_json(&self.0).err().unwrap_or_else(|| Refusal::invalid(vec![fault.clone()])));
        }
        parse_object(&self.0)
    }
}

/// Reads JSON, an object, into `T`.
///
/// # Errors
/// As [`parse`], and 422 when it is anything but an object.
pub(super) fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    let value = parse(json)?;
    // An array would be read as the fields of `T` in their order.
    match json.trim_ascii_start().first() {
        Some(b'{') => Ok(value),
        _ => Err(Refusal::field("", "must be an object").about_form()),
    }
}

/// Whether a text is JSON, however deep and whatever its values are.
fn is_json(json: &[u8]) -> Result<(), Refusal> {
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map(drop).map_err(|error| not_json(&error))
}

/// Reads JSON into `T`.
///
/// # Errors
/// 400 when it is not JSON, 422 with the path of each fault when it is not a `T`.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    let Ok(text) = std::str::from_utf8(json) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "not_json", "The body is not UTF-8.").about_form());
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(&mut deserializer).map_err(|_| {
        // A wrong shape may stand before wrong syntax, which is the graver fault.
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Refusal::invalid(json_faults::all::<T>(text)).about_form(),
            Err(syntax) => not_json(&syntax),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    match json_nul::find(json) {
        Some(path) => Err(Refusal::field(path, json_nul::REFUSED).about_form()),
        None => Ok(value),
    }
}

pub(super) fn not_json(error: &serde_json::Error) -> Refusal {
    let message = format!("The body is not JSON: line {} column {}.", error.line(), error.column());
    Refusal::new(StatusCode::BAD_REQUEST, "not_json", message).about_form()
}

fn says_json(headers: &HeaderMap) -> bool {
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
    fn a_mark_before_a_body_is_ignored() {
        for (given, kept) in
            [("\u{feff}{}", "{}"), ("{}", "{}"), ("\u{feff}", ""), ("{\"\u{feff}\":1}", "{\"\u{feff}\":1}")]
        {
            assert_eq!(without_mark(Bytes::copy_from_slice(given.as_bytes())), kept.as_bytes());
        }
    }

    #[test]
    fn a_document_named_preview_is_no_preview() {
        assert!(is_preview("/api/v1/templates/welcome/preview"));
        for other in ["/api/v1/templates/preview", "/api/v1/templates//preview", "/api/v1/brands/a/preview"] {
            assert!(!is_preview(other), "{other}");
        }
    }

    #[test]
    fn json_is_in_utf_8() {
        let is_json =
            |value: &str| says_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]));
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
        let refusal = parse::<serde_json::Value>(br#"{"user":{"name":"Ann\u0000"}}"#).unwrap_err();
        let fault = ("user.name", "must not contain the character U+0000");
        assert_eq!((&*refusal.errors[0].path, &*refusal.errors[0].message), fault);
        assert!(refusal.is_about_form);
    }
}
