//! The catcher's web page: what is served where, and what a browser may do with it.
//!
//! The page itself runs only our script; a caught mail's HTML is shown in a sandboxed frame that loads nothing from
//! outside. Nothing here needs a login: the page is meant for the machine it runs on, and only answers to its names.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response, Sse, sse},
    routing::{delete, get},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::Instant};

use super::{
    Attachment, CaughtMail,
    inbox::Tally,
    list::List,
    pages::{self, View},
    state::CatcherState,
};
use crate::mail::Timestamp;

/// What our own page may do.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a mail's HTML may do: show itself, and open a link in a tab of its own when somebody clicks on it.
const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
     img-src data: 'self'; style-src 'unsafe-inline'";

/// The least time between two pieces of news to a page.
const CALM: Duration = Duration::from_millis(150);

type Shared = State<Arc<CatcherState>>;

/// Serves the page until the catcher stops.
pub(super) async fn serve(listener: TcpListener, state: Arc<CatcherState>) {
    let stop = state.stop.clone();
    let only_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = router(state, only_local);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::warn!(%error, "the catcher's page ended");
    }
}

fn router(state: Arc<CatcherState>, only_local: bool) -> Router {
    let router = Router::new()
        .route("/", get(index))
        .route("/help", get(help))
        .route("/rows", get(rows))
        .route("/events", get(events))
        .route("/mails.json", get(mails_json))
        .route("/mails", delete(clear))
        .route("/mails/{number}", get(mail))
        .route("/mails/{number}/pane", get(pane))
        .route("/mails/{number}/html", get(html))
        .route("/mails/{number}/text", get(text))
        .route("/mails/{number}/source", get(source))
        .route("/catcher.js", get(|| asset("text/javascript; charset=utf-8", pages::SCRIPT)))
        .route("/catcher.css", get(|| asset("text/css; charset=utf-8", pages::STYLE)))
        .layer(middleware::map_response(guarded))
        .with_state(state);
    if only_local { router.layer(middleware::from_fn(addressed_locally)) } else { router }
}

/// Which mails a list shows.
#[derive(Debug, Deserialize)]
struct Range {
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<usize>,
}

impl Range {
    fn list(&self, state: &CatcherState) -> List {
        List::of(&state.inbox, self.after, self.before)
    }

    fn mails(&self, state: &CatcherState) -> Vec<Arc<CaughtMail>> {
        let (after, before) = (self.after.unwrap_or(0), self.before.unwrap_or(u64::MAX));
        state.inbox.between(after, before, self.limit.unwrap_or(usize::MAX))
    }
}

#[derive(Debug, Deserialize)]
struct Shown {
    view: Option<View>,
}

async fn index(State(state): Shared, Query(range): Query<Range>) -> Html<String> {
    Html(pages::page(&state, &range.list(&state), None))
}

async fn help(State(state): Shared) -> Html<String> {
    Html(pages::help(&state))
}

async fn rows(State(state): Shared, Query(range): Query<Range>) -> Html<String> {
    Html(pages::rows(&range.list(&state), None))
}

async fn mail(
    State(state): Shared,
    Path(number): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Gone> {
    if let Some(number) = number.strip_suffix(".json") {
        return Ok(Json(Detail::of(&*find(&state, number)?)).into_response());
    }
    let mail = find(&state, &number)?;
    let list = List::newest(&state.inbox);
    Ok(Html(pages::page(&state, &list, Some((&mail, shown.view)))).into_response())
}

async fn pane(
    State(state): Shared,
    Path(number): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Html<String>, Gone> {
    Ok(Html(pages::pane(&*find(&state, &number)?, shown.view)))
}

async fn html(State(state): Shared, Path(number): Path<String>) -> Result<Response, Gone> {
    let mail = find(&state, &number)?;
    let html = pages::with_links_in_new_tabs(mail.html().ok_or(Gone)?);
    Ok(([(header::CONTENT_SECURITY_POLICY, MAIL_POLICY)], Html(html)).into_response())
}

async fn text(State(state): Shared, Path(number): Path<String>) -> Result<Response, Gone> {
    Ok(plain(find(&state, &number)?.text().ok_or(Gone)?.to_owned()))
}

async fn source(State(state): Shared, Path(number): Path<String>) -> Result<Response, Gone> {
    Ok(plain(find(&state, &number)?.bytes.clone()))
}

fn plain(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn asset(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], body)
}

async fn clear(State(state): Shared) -> StatusCode {
    state.inbox.clear();
    StatusCode::NO_CONTENT
}

async fn mails_json(State(state): Shared, Query(range): Query<Range>) -> Response {
    let mails = range.mails(&state);
    Json(mails.iter().map(|mail| Summary::of(mail)).collect::<Vec<_>>()).into_response()
}

/// Tells a page what changed, at once and then at most every [`CALM`], until the catcher stops.
async fn events(State(state): Shared) -> impl IntoResponse {
    Sse::new(news(state)).keep_alive(sse::KeepAlive::default())
}

fn news(state: Arc<CatcherState>) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let mut tally = state.inbox.watch();
    tally.mark_changed();
    stream::unfold((tally, state.stop.clone(), Instant::now()), async |(mut tally, stop, calm)| {
        let next = async {
            tally.changed().await.ok()?;
            tokio::time::sleep_until(calm).await;
            let Tally { caught, cleared } = *tally.borrow_and_update();
            Some(sse::Event::default().data(format!(r#"{{"caught":{caught},"cleared":{cleared}}}"#)))
        };
        let event = stop.run_until_cancelled(next).await??;
        Some((Ok(event), (tally, stop, Instant::now() + CALM)))
    })
}

/// A mail that is not there, or not any more, or has no such part.
struct Gone;

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, plain("There is no such mail, or not any more.\n")).into_response()
    }
}

fn find(state: &CatcherState, number: &str) -> Result<Arc<CaughtMail>, Gone> {
    number.parse().ok().and_then(|number| state.inbox.mail(number)).ok_or(Gone)
}

/// A mail in the list.
#[derive(Serialize)]
struct Summary<'a> {
    number: u64,
    at: Timestamp,
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    message_id: Option<&'a str>,
    size: usize,
    tls: bool,
    answered: bool,
    sender: &'a str,
    recipient: &'a str,
    queue_id: &'a str,
}

impl<'a> Summary<'a> {
    fn of(mail: &'a CaughtMail) -> Self {
        Self {
            number: mail.number,
            at: mail.at,
            from: mail.from(),
            to: mail.to(),
            subject: mail.subject(),
            message_id: mail.message_id(),
            size: mail.bytes.len(),
            tls: mail.tls,
            answered: mail.answered,
            sender: &mail.sender,
            recipient: &mail.recipient,
            queue_id: &mail.queue_id,
        }
    }
}

/// A mail by itself.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    helo: &'a str,
    authenticated_as: Option<&'a str>,
    html: Option<&'a str>,
    text: Option<&'a str>,
    headers: &'a [(String, String)],
    attachments: &'a [Attachment],
}

impl<'a> Detail<'a> {
    fn of(mail: &'a CaughtMail) -> Self {
        Self {
            summary: Summary::of(mail),
            helo: &mail.helo,
            authenticated_as: mail.authenticated_as.as_deref(),
            html: mail.html(),
            text: mail.text(),
            headers: mail.headers(),
            attachments: mail.attachments(),
        }
    }
}

/// Adds the headers that keep a browser strict to every response that does not say otherwise.
async fn guarded(mut response: Response) -> Response {
    const GUARDS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in GUARDS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests under a foreign name: a website could point its own name here and read the mails (DNS rebinding).
async fn addressed_locally(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_local(host) {
        return next.run(request).await;
    }
    let explanation = "The catcher answers to its address and to localhost only.\n";
    (StatusCode::MISDIRECTED_REQUEST, plain(explanation)).into_response()
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_addresses_and_localhost_are_local_names() {
        for host in
            ["127.0.0.1:8080", "127.0.0.1", "[::1]:80", "[::1]", "localhost:1", "localhost", "a.localhost:1"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "shop.test", "shop.test:80", "localhost.shop.test", "127.0.0.1.shop.test:80"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
