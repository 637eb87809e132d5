//! `/mails/{id}/content`: what a mail says, as its recipient sees it, as text, and as it goes over the wire.
//!
//! The mail's HTML is somebody else's: it is shown in a frame without rights, under a policy that loads nothing.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::header,
    response::{Html, IntoResponse, Response},
    routing::get,
};

use super::mail::id_of;
use crate::{
    app::App,
    clock,
    cpu_pool::Share,
    dashboard::{form::Asked, layout, page_error::PageError, state::DashboardState, viewer::Viewer},
    mail::Mail,
    render::{self, Content, Headers, RenderError},
    store::StoreError,
};

/// What a mail's HTML may do: show itself.
const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; \
     base-uri 'none'; form-action 'none'";

/// The most bytes of a source that are shown.
const MOST_SHOWN: usize = 400_000;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/mails/{id}/content", get(show)).route("/mails/{id}/preview", get(preview))
}

#[derive(Template)]
#[template(path = "dashboard/content.html")]
struct Page {
    id: String,
    subject: String,
    view: &'static str,
    text: Option<String>,
    fault: Option<String>,
}

/// The ways to look at a mail.
const VIEWS: [&str; 4] = ["preview", "text", "source", "headers"];

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let asked = fields.get("view")?.unwrap_or("preview");
    let view = VIEWS.into_iter().find(|view| *view == asked).ok_or_else(|| PageError::not_found("view"))?;
    let mail = found(&board.app, &viewer, &id).await?;
    let (subject, text, fault) = match rendered(&board.app, &mail).await? {
        Err(error) => (String::new(), None, Some(error.to_string())),
        Ok(content) => match text_of(view, &board.app, &mail, &content) {
            Ok(text) => (content.subject, text, None),
            Err(error) => (content.subject, None, Some(error.to_string())),
        },
    };
    let page = Page { id: mail.id.to_string(), subject, view, text, fault };
    Ok(layout::page(&viewer, "Content of a mail", &page))
}

/// What a view shows as text; the preview has a frame instead.
fn text_of(view: &str, app: &App, mail: &Mail, content: &Content) -> Result<Option<String>, RenderError> {
    let text = match view {
        "text" => content.text.clone(),
        "source" | "headers" => {
            let link = app.unsubscribe_link(mail).filter(|_| mail.is_promotional);
            let headers = Headers::of(mail, clock::now()).with_link(link.as_deref());
            let source = render::compose(&headers, content)?;
            let source = String::from_utf8_lossy(&source.unstuffed()).into_owned();
            match view {
                "headers" => source.split("\r\n\r\n").next().unwrap_or_default().to_owned(),
                _ => source,
            }
        }
        _ => return Ok(None),
    };
    let end = text.floor_char_boundary(MOST_SHOWN);
    let cut = if end < text.len() { "\n…" } else { "" };
    Ok(Some(format!("{}{cut}", &text[..end])))
}

async fn preview(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let mail = found(&board.app, &viewer, &id).await?;
    let content =
        rendered(&board.app, &mail).await?.map_err(|error| PageError::conflict(error.to_string()))?;
    Ok(framed(content.html))
}

/// HTML that is not ours, for a frame without rights.
pub(super) fn framed(html: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(html)).into_response()
}

async fn found(app: &App, viewer: &Viewer, id: &str) -> Result<Mail, PageError> {
    if !viewer.sees_bodies() {
        return Err(PageError::forbidden("Viewers see no content of mails."));
    }
    let mail = app.store.mail_to_look_at(viewer.merchant.as_ref(), id_of(id)?).await?;
    mail.ok_or_else(|| PageError::not_found("mail"))
}

/// Renders a mail as the worker does. What cannot be rendered is the answer too.
async fn rendered(app: &App, mail: &Mail) -> Result<Result<Content, RenderError>, StoreError> {
    let share = || Share::Request(mail.merchant.clone());
    app.templates.render_mail(share, mail, app.unsubscribe_link(mail).as_deref()).await
}
