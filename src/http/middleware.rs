//! What surrounds every request: its id, its log line, its time limit, its metrics, and the envelope of a refusal.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::Instrument;

use super::{
    error::{Family, Refusal},
    import,
    rate_limit::QuotaNote,
    request_id::RequestId,
    request_note::RequestNote,
};
use crate::{
    app::App,
    mail::MerchantId,
    store::{WriteProgress, WriteWatch},
    telemetry::{METRICS, RefusalKind, metrics::RequestLabels, whole_millis},
};

/// How much longer than its time a request is waited for whose commit is under way.
const COMMIT_ENDS: Duration = Duration::from_secs(1);

/// Surrounds a request.
pub async fn surround(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let longest = match request.uri().path() {
        "/mails" | "/api/v1/batches/preflight" => app.config.batches.timeout,
        // An import goes on for as long as it makes progress, which its handler watches.
        import::PATH => Duration::MAX,
        _ => app.config.http.timeout,
    };
    let id = RequestId::of(&request);
    let family = Family::of(request.uri().path());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id.0);
    let (quota, note) = (QuotaNote::default(), RequestNote::of(request.headers()));
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(quota.clone());

    let answering = AssertUnwindSafe(note.scope(answer(request, next))).catch_unwind();
    let answered =
        in_time(longest, app.config.queue.enqueue_timeout, answering).instrument(span.clone()).await;
    let refused = match &answered {
        Ok(Ok(response)) => response.extensions().get::<Refusal>().map(LoggedRefusal::of),
        Ok(Err(_panic)) => None,
        Err(refusal) => Some(LoggedRefusal::of(refusal)),
    };
    let mut response = match answered {
        Ok(Ok(response)) => in_envelope(response, family, &id),
        Ok(Err(_panic)) => {
            tracing::error!(parent: &span, route, "a handler panicked");
            let message = "The request could not be answered; this is a fault of the service.";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).response(family, &id.0)
        }
        Err(refusal) => refusal.response(family, &id.0),
    };
    id.put_on(&mut response);
    quota.write(response.headers_mut());
    set_security_headers(response.headers_mut());
    let (status, took) = (response.status().as_u16(), started.elapsed());
    span.in_scope(|| log_answer(method, &route, status, took, &note, refused.as_ref()));
    if response.status().is_client_error() && !matches!(method, "GET" | "HEAD") {
        note_refusal(&app, method, &route, status, &note, refused.as_ref());
    }
    METRICS.answered(RequestLabels { method, route, status }, took);
    response
}

/// The rule that a request broke.
struct LoggedRefusal {
    code: &'static str,
    rule: String,
}

/// The most characters of a rule that are logged.
const LONGEST_RULE: usize = 200;

impl LoggedRefusal {
    /// Says which rule it was: the fields that are wrong, else the rule's own words. Whatever might be an address is left out.
    fn of(refusal: &Refusal) -> Self {
        let mut rule = match refusal.errors.as_slice() {
            [] => refusal.message.clone(),
            faults => faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>().join(", "),
        };
        if rule.contains('@') {
            rule.clear();
        }
        if let Some((end, _)) = rule.char_indices().nth(LONGEST_RULE) {
            rule.truncate(end);
        }
        Self { code: refusal.code, rule }
    }
}

/// One line for each request: whose it was, which mail came of it, or which rule it broke.
fn log_answer(
    method: &'static str,
    route: &str,
    status: u16,
    took: Duration,
    note: &RequestNote,
    refused: Option<&LoggedRefusal>,
) {
    let millis = whole_millis(took);
    if matches!(route, "/healthz" | "/readyz" | "/metrics") {
        tracing::debug!(method, route, status, millis, "answered");
        return;
    }
    tracing::info!(
        method,
        route,
        status,
        millis,
        merchant = note.merchant().map(MerchantId::as_str),
        mail = note.mail().map(tracing::field::display),
        batch = note.batch().map(tracing::field::display),
        code = refused.map(|refused| refused.code),
        rule = refused.map(|refused| refused.rule.as_str()),
        trace_id = note.trace_id(),
        "answered"
    );
}

/// Notes for the dashboard that a merchant's request was refused: one that was to change something, for a program that only
/// asks sees its answer.
fn note_refusal(
    app: &App,
    method: &'static str,
    route: &str,
    status: u16,
    note: &RequestNote,
    refused: Option<&LoggedRefusal>,
) {
    let Some(merchant) = note.merchant() else { return };
    let code = refused.map(|refused| format!(" {}", refused.code)).unwrap_or_default();
    let what = format!("{status}{code}, {method} {route}");
    app.refusals.note(RefusalKind { merchant: merchant.clone(), what }, 1);
}

/// Waits for an answer. One that runs out of time is dropped, and what it has not begun to commit is never recorded. Where
/// its commit is under way or done, the truth is waited for a little longer: rows that are committed are a success, also
/// when the queue is slow.
async fn in_time<T>(
    longest: Duration,
    enqueue_timeout: Duration,
    answering: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let watch = WriteWatch::default();
    let mut answering = Box::pin(watch.scope(answering));
    if let Ok(answer) = timeout(longest, &mut answering).await {
        return Ok(answer);
    }
    if watch.progress() == WriteProgress::Committing
        && let Ok(answer) = timeout(COMMIT_ENDS, &mut answering).await
    {
        return Ok(answer);
    }
    if watch.progress() == WriteProgress::Committed
        && let Ok(answer) = timeout(enqueue_timeout + COMMIT_ENDS, &mut answering).await
    {
        return Ok(answer);
    }
    drop(answering); // decides: what has not begun to commit cannot do so any more
    Err(match watch.progress() {
        WriteProgress::Nothing => Refusal::unavailable(),
        WriteProgress::Committing | WriteProgress::Committed => Refusal::outcome_unknown(),
    })
}

/// Keeps browsers strict: no answer is taken for another type than it says, and none is shown inside another site's page.
fn set_security_headers(headers: &mut HeaderMap) {
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const ALONE: HeaderValue = HeaderValue::from_static("frame-ancestors 'none'");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    let Some(policy) = headers.get_mut(header::CONTENT_SECURITY_POLICY) else {
        headers.insert(header::CONTENT_SECURITY_POLICY, ALONE);
        return;
    };
    let written = String::from_utf8_lossy(policy.as_bytes());
    if !written.contains("frame-ancestors")
        && let Ok(both) = HeaderValue::from_str(&format!("{written}; frame-ancestors 'none'"))
    {
        *policy = both;
    }
}

/// No path, id or query that postroom knows has the character U+0000, and a database's text cannot hold it.
async fn answer(request: Request, next: Next) -> Response {
    let asked = request.uri().path_and_query().map_or("", |asked| asked.as_str());
    if asked.contains("%00") {
        let message = "The path and the query must not contain the character U+0000.";
        return Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message).into_response();
    }
    next.run(request).await
}

/// Writes a refusal in its family's envelope; also those that axum makes itself, such as a query that does not parse.
fn in_envelope(mut response: Response, family: Family, id: &RequestId) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let mut written = refusal.response(family, &id.0);
        for (name, value) in response.headers() {
            written.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        return written;
    }
    let status = response.status();
    let is_plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if (status.is_client_error() || status.is_server_error()) && is_plain {
        let (code, message) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The body is too large."),
            _ => ("bad_request", "The request is malformed."),
        };
        return Refusal::new(status, code, message).response(family, &id.0);
    }
    response
}

fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
