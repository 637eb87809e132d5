//! Postroom's own API for bulk actions: drafting one, confirming it, and following it. A merchant's actions touch its own
//! mails alone.

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
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::{self, JsonBody},
    error::{FieldError, Page, Refusal, json_answer},
    idempotency::{Idempotency, IdempotencyKey},
    pagination::{PageQuery, QueryOf, cut_to_page},
};
use crate::{
    app::App,
    jobs,
    mail::{ActionId, ActionKind, ActionState, ActionWish, action::SelectionError, search::QueryError},
    shop::Ability,
    store::{ActionMoved, ActionRecord, NewAction},
};

pub use view::{ActionView, MailResultView};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/actions", get(list).post(draft))
        .route("/api/v1/actions/{id}", get(show))
        .route("/api/v1/actions/{id}/results", get(results))
        .route("/api/v1/actions/{id}/confirm", post(confirm))
        .route("/api/v1/actions/{id}/stop", post(stop))
        .route("/api/v1/actions/{id}/resume", post(resume))
}

/// What to do to which mails.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionRequest {
    /// What to do to each mail.
    kind: ActionKind,
    /// Which mails, such as `state:failed class:rate_limited since:1d`. It must not be empty.
    q: String,
}

impl From<SelectionError> for Refusal {
    fn from(error: SelectionError) -> Self {
        let message = error.to_string();
        match error {
            SelectionError::Query(error) => error.into(),
            SelectionError::Everything | SelectionError::WrongState { .. } => {
                let errors = vec![FieldError { path: "q".to_owned(), message: message.clone() }];
                Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "invalid_query", message).about_form() }
            }
        }
    }
}

#[utoipa::path(post, path = "/api/v1/actions", tag = "actions", request_body = ActionRequest,
    responses((status = 201, body = ActionView, description = "a draft: it does nothing until it is confirmed")))]
pub(super) async fn draft(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: JsonBody,
) -> Result<(StatusCode, Json<ActionView>), Refusal> {
    caller.may(Ability::MailsManage)?;
    let ActionRequest { kind, q } = body.parse()?;
    may_do(&caller, kind)?;
    let q = if caller.merchant.is_test && sends(kind) && !q.trim().is_empty() {
        format!("{q} test:true")
    } else {
        q
    };
    let new = NewAction::new(Some(caller.merchant.id.clone()), kind, &q, &caller.actor.to_string())?;
    if new.merchants().next().is_some() {
        let message = "merchant: is for operators; a merchant acts on its own mails";
        return Err(QueryError { at: 1, message: message.to_owned() }.into());
    }
    let selected = app.store.select_for_action(&new).await?;
    if selected.count.count == 0 && !selected.count.more {
        let message = "No mail fits; there is nothing to do.";
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing_fits", message));
    }
    let action = app.store.draft_action(&new, selected.count).await?;
    Ok((StatusCode::CREATED, Json(ActionView::of(action, selected.sample))))
}

/// Whether mails are sent again by it. Test mode delivers nothing: there it finds mails in test mode alone.
const fn sends(kind: ActionKind) -> bool {
    match kind {
        ActionKind::Retry | ActionKind::Release => true,
        ActionKind::Cancel | ActionKind::Discard | ActionKind::Replay | ActionKind::Suppress => false,
    }
}

/// Asks for the ability that an action needs beside `mails.manage`.
fn may_do(caller: &Caller, kind: ActionKind) -> Result<(), Refusal> {
    match kind {
        ActionKind::Replay => caller.may(Ability::WebhooksManage),
        ActionKind::Suppress => caller.may(Ability::ResourcesWrite),
        ActionKind::Retry | ActionKind::Cancel | ActionKind::Release | ActionKind::Discard => Ok(()),
    }
}

#[utoipa::path(get, path = "/api/v1/actions", tag = "actions", params(PageQuery),
    responses((status = 200, body = Page<ActionView>, description = "newest first")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Page<ActionView>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let page = page.checked()?;
    let after = page.after.as_deref().map(id_after).transpose()?;
    let mut actions = app.store.actions(Some(&caller.merchant.id), after, page.limit + 1).await?;
    let has_more = cut_to_page(&mut actions, page.limit);
    Ok(Page {
        data: actions.into_iter().map(|action| ActionView::of(action, Vec::new())).collect(),
        has_more,
    })
}

fn id_after<Id: std::str::FromStr>(text: &str) -> Result<Id, Refusal> {
    text.parse().map_err(|_| Refusal::field("after", "must be the id of the last one of the page before"))
}

#[utoipa::path(get, path = "/api/v1/actions/{id}", tag = "actions", params(("id" = String, Path)),
    responses((status = 200, body = ActionView)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ActionView>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let action = found(&app, &caller, &id).await?;
    let is_draft = action.state == ActionState::Draft;
    let sample = if is_draft { app.store.sample_of_action(&action).await? } else { Vec::new() };
    Ok(Json(ActionView::of(action, sample)))
}

#[utoipa::path(get, path = "/api/v1/actions/{id}/results", tag = "actions", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<MailResultView>, description = "in the order of the mails' ids")))]
pub(super) async fn results(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Page<MailResultView>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let page = page.checked()?;
    let after = page.after.as_deref().map(id_after).transpose()?;
    let action = found(&app, &caller, &id).await?;
    let mut results = app.store.action_results(action.id, after, page.limit + 1).await?;
    let has_more = cut_to_page(&mut results, page.limit);
    Ok(Page { data: results.into_iter().map(Into::into).collect(), has_more })
}

async fn found(app: &App, caller: &Caller, id: &str) -> Result<ActionRecord, Refusal> {
    app.store.action(Some(&caller.merchant.id), id_of(id)?).await?.ok_or_else(missing)
}

fn id_of(text: &str) -> Result<ActionId, Refusal> {
    text.parse().map_err(|_| missing())
}

fn missing() -> Refusal {
    Refusal::not_found("Action")
}

#[utoipa::path(post, path = "/api/v1/actions/{id}/confirm", tag = "actions",
    params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = ActionView, description = "it is running")))]
pub(super) async fn confirm(
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
            let Json(action) = move_action(&app, &caller, &id, ActionWish::Confirm).await?;
            Ok(json_answer(StatusCode::OK, &action))
        })
        .await
}

#[utoipa::path(post, path = "/api/v1/actions/{id}/stop", tag = "actions", params(("id" = String, Path)),
    responses((status = 200, body = ActionView, description = "it is stopped")))]
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ActionView>, Refusal> {
    move_action(&app, &caller, &id, ActionWish::Stop).await
}

#[utoipa::path(post, path = "/api/v1/actions/{id}/resume", tag = "actions", params(("id" = String, Path)),
    responses((status = 200, body = ActionView, description = "it is running again")))]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ActionView>, Refusal> {
    move_action(&app, &caller, &id, ActionWish::Resume).await
}

async fn move_action(
    app: &App,
    caller: &Caller,
    id: &str,
    wish: ActionWish,
) -> Result<Json<ActionView>, Refusal> {
    caller.may(Ability::MailsManage)?;
    let (store, by) = (app.store.acting_for(caller.author()), caller.actor.to_string());
    match store.move_action(Some(&caller.merchant.id), id_of(id)?, wish, &by).await? {
        ActionMoved::Unknown => Err(missing()),
        ActionMoved::NotYours(by) => {
            let message = format!("{by} drafted this action; only who drafted it can confirm it.");
            Err(Refusal::new(StatusCode::CONFLICT, "drafted_by_another", message))
        }
        ActionMoved::Refused(action) => {
            let message = format!("An action that is {} cannot be {}.", action.state, wish.event());
            Err(Refusal::new(StatusCode::CONFLICT, "wrong_state", message))
        }
        ActionMoved::Now(action) => {
            if action.state == ActionState::Running {
                app.enqueue(jobs::run_bulk_action_job(action.id, action.merchant.clone()));
            }
            Ok(Json(ActionView::of(*action, Vec::new())))
        }
    }
}
