//! What surrounds each request: an id, where a form comes from, a time limit, the headers that keep a browser strict, and
//! a log line.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::Instrument;

use super::page_error::PageError;
use crate::{
    http::RequestId,
    store::{WriteProgress, WriteWatch},
    telemetry::{METRICS, metrics::RequestLabels},
};

/// How long a page waits for the database, the queue and everything else.
const LONGEST_LOOK: Duration = Duration::from_millis(2_800);
/// How long an action may take.
const LONGEST_ACT: Duration = Duration::from_secs(10);

/// What a page may do. A mail's preview brings a policy of its own.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer` browsers say `Origin: null` with forms, also to us.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

pub(super) async fn guard(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = if *request.method() == Method::POST { "POST" } else { "GET" };
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id.0);
    request.extensions_mut().insert(id.clone());
    let answering = AssertUnwindSafe(answer(request, next, &route)).catch_unwind();
    let mut response = answering.instrument(span.clone()).await.unwrap_or_else(|_panic| {
        tracing::error!(parent: &span, route, "a page panicked");
        PageError::fault().into_response()
    });
    response = in_words(response);
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    id.put_on(&mut response);
    let status = response.status().as_u16();
    tracing::info!(parent: &span, method, route, status, millis = started.elapsed().as_millis(), "answered");
    METRICS.answered(RequestLabels { method, route, status }, started.elapsed());
    response
}

async fn answer(request: Request, next: Next, route: &str) -> Response {
    let asked = request.uri().path_and_query().map_or("", |asked| asked.as_str());
    if asked.contains("%00") {
        return PageError::bad("The address of a page has no character U+0000.").into_response();
    }
    if route == "/live" {
        return next.run(request).await; // its own time limits
    }
    if *request.method() != Method::POST {
        let looked = timeout(LONGEST_LOOK, next.run(request)).await;
        return looked.unwrap_or_else(|_| PageError::slow().into_response());
    }
    if !is_own(request.headers()) {
        let text =
            "This form was sent from another site, so nothing was done. Open the page here and try again.";
        return PageError::forbidden(text).into_response();
    }
    let watch = WriteWatch::default();
    let acting = watch.scope(next.run(request));
    match timeout(LONGEST_ACT, acting).await {
        Ok(acted) => acted,
        Err(_) if watch.progress() == WriteProgress::Nothing => PageError::slow().into_response(),
        Err(_) => PageError::unknown().into_response(),
    }
}

/// Whether a form comes from one of our own pages, as far as the browser says. One that says nothing is no browser, or so
/// old that the token of the form has to do.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

/// Says in words what a status means that no page explains.
fn in_words(response: Response) -> Response {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_explained = content_type.is_some_and(|value| value.starts_with(b"text/html"));
    if !(status.is_client_error() || status.is_server_error()) || is_explained {
        return response;
    }
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => PageError::new(status, "Too large", "What was sent is too large."),
        status if status.is_client_error() => {
            PageError::new(status, "That cannot be read", "The request is malformed.")
        }
        _ => PageError::fault(),
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_another_site_is_not_our_own() {
        let own = |headers: &[(&'static str, &str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
            is_own(&headers.collect())
        };
        let host = ("host", "mail.example:8026");
        assert!(own(&[host]));
        assert!(own(&[host, ("origin", "https://Mail.example:8026")]));
        assert!(own(&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://mail.example:8026")]));
        for wrong in ["https://evil.example", "null", "http://mail.example", "mail.example:8026", ""] {
            assert!(!own(&[host, ("origin", wrong)]), "{wrong}");
            assert!(!own(&[host, ("origin", wrong), ("sec-fetch-site", "same-origin")]), "{wrong}");
        }
        for site in ["cross-site", "same-site", ""] {
            assert!(!own(&[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
