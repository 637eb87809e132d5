//! Fragments that are sent while a page is open, as server-sent events.
//!
//! What a page shows is drawn once for all who look at it with the same rights, every two seconds, and only while somebody
//! looks. A viewer's stream ends with the session, and with this process.

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, Sse, sse},
    routing::get,
};
use futures_util::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    form::Asked,
    hub::{Drawing, Drawn, Key},
    page_error::PageError,
    pages, session,
    state::DashboardState,
    viewer::Viewer,
};
use crate::auth::new_secret;

/// Between two drawings of a page.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a drawing may take.
const DRAWING_TIMEOUT: Duration = Duration::from_millis(2_800);
/// After so long a drawing is slow, and those who look are told: with the interval that is less than three seconds after
/// the database began to hang.
const SLOW: Duration = Duration::from_millis(900);
/// How often a stream looks whether its session goes on.
const CHECK: Duration = Duration::from_secs(5);
/// Stands for the token of a session in what is drawn for many. Nobody can write it into what is drawn.
static TOKEN: LazyLock<String> = LazyLock::new(new_secret);

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/live", get(follow))
}

/// Draws a page while somebody looks.
async fn draw(board: Arc<DashboardState>, viewer: Viewer, drawing: Drawing) {
    let stopping = &board.app.worker.stopping;
    loop {
        let begun = Instant::now();
        let mut fragments = std::pin::pin!(pages::fragments(&board, &viewer, &drawing.key.page));
        let mut drawn = timeout_at(begun + SLOW, &mut fragments).await;
        if drawn.is_err() {
            drawing.show(Drawn::Slow);
            drawn = timeout_at(begun + DRAWING_TIMEOUT, &mut fragments).await;
        }
        drawing.show(match drawn {
            Ok(Ok(html)) => Drawn::Html(html.into()),
            Ok(Err(_)) | Err(_) => Drawn::Slow,
        });
        let is_stopping = stopping.run_until_cancelled(sleep(INTERVAL)).await.is_none();
        if is_stopping || drawing.end_if_unwatched() {
            return;
        }
    }
}

async fn follow(
    State(board): State<Arc<DashboardState>>,
    headers: HeaderMap,
    Asked(fields): Asked,
    viewer: Result<Viewer, PageError>,
) -> Result<Response, PageError> {
    let viewer = timeout(DRAWING_TIMEOUT, async { viewer }).await.map_err(|_| PageError::slow())?;
    // A stream does not follow to the form.
    let viewer = viewer.map_err(PageError::stays)?;
    let page = fields.need("page")?.to_owned();
    if !pages::is_live(&viewer, &page) {
        return Err(PageError::not_found("page"));
    }
    let hash = session::secret(&headers).map(session::hash).unwrap_or_default();
    let key = Key { page, merchant: viewer.merchant.clone(), role: viewer.role };
    let (receiver, new) = board.hub.look(key);
    if let Some(drawing) = new {
        tokio::spawn(draw(Arc::clone(&board), viewer.for_many(&TOKEN), drawing));
    }
    let check = Instant::now() + CHECK;
    let following = Following { board, viewer, hash, receiver, check, is_over: false };
    Ok(Sse::new(events(following)).keep_alive(sse::KeepAlive::default()).into_response())
}

struct Following {
    board: Arc<DashboardState>,
    viewer: Viewer,
    hash: String,
    receiver: watch::Receiver<Drawn>,
    /// When it is to be looked whether the session goes on.
    check: Instant,
    is_over: bool,
}

fn events(following: Following) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold(following, async |mut following| {
        if following.is_over {
            return None;
        }
        let event = following.next().await?;
        Some((Ok(event), following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<sse::Event> {
        let stopping = self.board.app.worker.stopping.clone();
        loop {
            tokio::select! {
                changed = self.receiver.changed() => {
                    changed.ok()?;
                    let drawn = self.receiver.borrow_and_update().clone();
                    match drawn {
                        Drawn::NotYet => {}
                        Drawn::Html(html) => {
                            // An event's lines end with a line feed.
                            let html = html.replace(&*TOKEN, &self.viewer.csrf).replace('\r', "");
                            return Some(sse::Event::default().event("swap").data(html));
                        }
                        Drawn::Slow => return Some(sse::Event::default().event("slow").data("slow")),
                    }
                }
                () = sleep_until(self.check) => {
                    self.check = Instant::now() + CHECK;
                    if self.has_ended().await {
                        self.is_over = true;
                        return Some(sse::Event::default().event("end").data("end"));
                    }
                }
                () = stopping.cancelled() => return None,
            }
        }
    }

    /// Whether the session has ended, or its operator may something else now. A database that does not answer ends nothing.
    async fn has_ended(&self) -> bool {
        match timeout(DRAWING_TIMEOUT, self.board.app.store.session(&self.hash)).await {
            Ok(Ok(Some(signed_in))) => {
                signed_in.role != self.viewer.role || signed_in.merchant != self.viewer.merchant
            }
            Ok(Ok(None)) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
