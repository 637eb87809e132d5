//! Postroom's own API for mails: where each is, why, and taking it back or trying it again.

pub(super) mod search;
mod view;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;

pub use view::{MailStory, MailView};

use super::{
    auth::Caller,
    body,
    error::{Refusal, json_answer},
    idempotency::{Idempotency, IdempotencyKey},
    pagination::QueryOf,
    waiting::Waiting,
};
use crate::{
    app::App,
    mail::{MailEvent, MailId},
    shop::Ability,
    store::Moved,
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/mails", get(search::list))
        .route("/api/v1/mails/{id}", get(show))
        .route("/api/v1/mails/{id}/cancel", post(cancel))
        .route("/api/v1/mails/{id}/retry", post(retry))
}

#[utoipa::path(get, path = "/api/v1/mails/{id}", tag = "mails", params(("id" = String, Path), ShowQuery),
    responses((status = 200, body = MailStory)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<ShowQuery>,
) -> Result<Json<MailStory>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let mut story = story(&app, &caller, id_of(&id)?).await?;
    for attempt in &mut story.attempts {
        attempt.transcript = attempt.transcript.take().filter(|_| query.transcript).and_then(for_merchants);
    }
    Ok(Json(story))
}

/// What a merchant may read of a transcript: from MAIL on. What was said before is between the relay and us.
fn for_merchants(transcript: String) -> Option<String> {
    let from = ["C: RSET", "C: MAIL"].iter().filter_map(|command| transcript.find(command)).min()?;
    Some(transcript[from..].to_owned())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    /// Whether to show what was said on the wire in attempts that failed.
    #[serde(default)]
    transcript: bool,
}

async fn story(app: &App, caller: &Caller, id: MailId) -> Result<MailStory, Refusal> {
    let mail =
        app.store.mail(Some(&caller.merchant.id), id).await?.ok_or_else(|| Refusal::not_found("Mail"))?;
    let attempts = app.store.attempts(id).await?;
    let waiting = Waiting::of(app, &mail).await;
    Ok(MailStory::of(mail, waiting, attempts))
}

fn id_of(text: &str) -> Result<MailId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("Mail"))
}

#[utoipa::path(post, path = "/api/v1/mails/{id}/cancel", tag = "mails", params(("id" = String, Path)),
    responses((status = 200, body = MailStory)))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<MailStory>, Refusal> {
    move_mail(&app, &caller, &id, MailEvent::Cancelled).await
}

#[utoipa::path(post, path = "/api/v1/mails/{id}/retry", tag = "mails",
    params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = MailStory)))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    caller.may(Ability::MailsManage)?;
    let (body, _room) = body::read(request, &app).await?;
    idempotency
        .run_and_keep(&app, &caller, &body, async || {
            let Json(story) = move_mail(&app, &caller, &id, MailEvent::Retried).await?;
            Ok(json_answer(StatusCode::OK, &story))
        })
        .await
}

fn wrong_state(message: String) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "wrong_state", message)
}

/// Refuses to send a mail again that would go to a relay: test mode delivers nothing.
async fn may_be_tried_out(app: &App, caller: &Caller, id: MailId) -> Result<(), Refusal> {
    let mail = app.store.mail(Some(&caller.merchant.id), id).await?;
    if mail.is_some_and(|mail| !mail.is_test) {
        let message = "In test mode only mails in test mode are sent again.";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    Ok(())
}

async fn move_mail(
    app: &App,
    caller: &Caller,
    id: &str,
    event: MailEvent,
) -> Result<Json<MailStory>, Refusal> {
    caller.may(Ability::MailsManage)?;
    let id = id_of(id)?;
    if event == MailEvent::Retried && caller.merchant.is_test {
        may_be_tried_out(app, caller, id).await?;
    }
    match app.store.acting_for(caller.author()).move_mail(Some(&caller.merchant.id), id, event).await? {
        Moved::Unknown => Err(Refusal::not_found("Mail")),
        Moved::Refused(state) => Err(wrong_state(format!("A mail that is {state} cannot be {event}."))),
        Moved::ToNobody => Err(wrong_state(format!("A mail whose recipient is gone cannot be {event}."))),
        Moved::Now(_) => {
            let story = story(app, caller, id).await?;
            if let Some(due) = app.store.due_mail(id).await? {
                app.enqueue(due.into());
            }
            Ok(Json(story))
        }
    }
}

#[cfg(test)]
mod tests;
