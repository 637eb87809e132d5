//! `/sessions`: where operators are signed in; ending a session, and making one's own last longer.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::Response,
    routing::{get, post},
};

use crate::{
    clock,
    dashboard::{
        form::Act,
        layout,
        page_error::PageError,
        parts::Time,
        session::{LENGTH, is_encrypted, secret, set_cookie},
        sign_in::own_path,
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
    },
    shop::OperatorRole,
    store::SessionRecord,
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/{id}/end", post(end))
        .route("/session/extend", post(extend))
}

#[derive(Template)]
#[template(path = "dashboard/sessions.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    sessions: Vec<Row>,
}

struct Row {
    id: String,
    operator: String,
    is_own: bool,
    began: Time,
    seen: Time,
    ends: Time,
    address: String,
}

async fn list(State(board): State<Arc<DashboardState>>, viewer: Viewer) -> Result<Response, PageError> {
    let only = whose(&viewer);
    let sessions = board.app.store.sessions(only).await?;
    let sessions = sessions.into_iter().map(|session| Row::of(session, &viewer)).collect();
    Ok(layout::page(&viewer, "Sessions", &Page { viewer: &viewer, sessions }))
}

/// Whose sessions somebody may see and end: the own, and an admin of everything all.
fn whose(viewer: &Viewer) -> Option<&str> {
    let sees_all = viewer.role == OperatorRole::Admin && viewer.merchant.is_none();
    (!sees_all).then_some(&*viewer.name)
}

impl Row {
    fn of(session: SessionRecord, viewer: &Viewer) -> Self {
        Self {
            is_own: session.id == viewer.session.id,
            id: session.id,
            operator: session.operator,
            began: Time(session.created_at),
            seen: Time(session.last_seen_at),
            ends: Time(session.expires_at),
            address: session.address.unwrap_or_default(),
        }
    }
}

async fn end(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    let ended = viewer.store(&board.app).end_session(whose(&viewer), &id).await?;
    let said = if ended { Flash::done("The session is ended.") } else { Flash::not("It had ended already.") };
    Ok(back_to("/sessions", said))
}

async fn extend(
    State(board): State<Arc<DashboardState>>,
    headers: HeaderMap,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    board.app.store.extend_session(&viewer.session.id, clock::now() + LENGTH).await?;
    let next = own_path(fields.raw("next"));
    let mut response = back_to(next, Flash::done("Your session lasts twelve hours again."));
    response.headers_mut().append(header::SET_COOKIE, set_cookie(secret(&headers), is_encrypted(&headers)));
    Ok(response)
}
