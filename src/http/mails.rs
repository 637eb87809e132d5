//! Postroom's own API for mails: where each is, why, and taking it back or trying it again.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    error::{Page, Refusal},
    page::QueryOf,
    waiting::Waiting,
};
use crate::{
    app::App,
    mail::{MailEvent, MailId, MailState, ReplyClass, Timestamp},
    shop::Ability,
    store::{Attempt, MailFilter, MailRecord, Moved},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/mails", get(list))
        .route("/api/v1/mails/{id}", get(show))
        .route("/api/v1/mails/{id}/cancel", post(cancel))
        .route("/api/v1/mails/{id}/retry", post(retry))
}

/// A mail as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailView {
    /// UUIDv7.
    pub id: String,
    /// Where it is on its way.
    pub state: MailState,
    /// The lane it travels in.
    pub lane: &'static str,
    /// The name of its template.
    pub template: String,
    /// Whom it is for.
    pub recipient: String,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// The member it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The order it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The cart it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cart: Option<String>,
    /// The subscription it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The batch it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// When it was recorded.
    #[schema(value_type = String)]
    pub recorded_at: Timestamp,
    /// When the next attempt is due, while it waits.
    #[schema(value_type = Option<String>)]
    pub due_at: Option<Timestamp>,
    /// When it was settled.
    #[schema(value_type = Option<String>)]
    pub settled_at: Option<Timestamp>,
    /// How many attempts were begun.
    pub attempts_made: u32,
    /// The last route.
    pub route: Option<String>,
    /// The id that the relay gave it.
    pub provider_id: Option<String>,
    /// Why the last attempt did not deliver it.
    pub error: Option<String>,
}

/// A mail with its attempts and its timeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailStory {
    /// The mail.
    #[serde(flatten)]
    pub mail: MailView,
    /// Why it waits, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Every try to hand it to a route.
    pub attempts: Vec<AttemptView>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// One try to hand a mail to a route.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub number: u32,
    /// When it began.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The route that was tried.
    pub route: String,
    /// How far it came; null when the worker died.
    pub phase: Option<String>,
    /// What it came to.
    pub outcome: String,
    /// The SMTP code.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced_code: Option<String>,
    /// The relay's words.
    pub reply: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What the reply means.
    pub class: ReplyClass,
    /// What was said on the wire, with `transcript=true`: of an attempt that a relay refused because of the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
}

/// One thing that happened to a mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What.
    pub event: String,
}

impl From<MailRecord> for MailView {
    fn from(mail: MailRecord) -> Self {
        let waits = matches!(mail.state, MailState::Queued | MailState::Deferred);
        Self {
            id: mail.id.to_string(),
            state: mail.state,
            lane: mail.lane.as_str(),
            template: mail.template,
            recipient: mail.recipient,
            message_id: mail.message_id,
            member: mail.origin.member,
            order: mail.origin.order,
            cart: mail.origin.cart,
            subscription: mail.origin.subscription,
            batch: mail.origin.batch.map(|batch| batch.to_string()),
            recorded_at: mail.recorded_at,
            due_at: waits.then_some(mail.due_at),
            settled_at: mail.settled_at,
            attempts_made: mail.attempt,
            route: mail.route,
            provider_id: mail.provider_id,
            error: mail.error,
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at,
            route: attempt.route,
            phase: attempt.phase,
            outcome: attempt.outcome,
            code: attempt.code,
            enhanced_code: attempt.enhanced,
            reply: attempt.reply,
            millis: attempt.millis,
            class: attempt.class,
            transcript: attempt.transcript,
        }
    }
}

impl MailStory {
    /// Tells a mail's story from its rows.
    pub fn of(mail: MailRecord, waiting: Option<Waiting>, attempts: Vec<Attempt>) -> Self {
        let mut timeline = vec![TimelineEntry { at: mail.recorded_at, event: "recorded".to_owned() }];
        for attempt in &attempts {
            let event = format!("attempt {} {}", attempt.number, attempt.outcome);
            timeline.push(TimelineEntry { at: attempt.at, event });
        }
        if let (MailState::Sending, Some(at)) = (mail.state, mail.claimed_at) {
            timeline.push(TimelineEntry { at, event: format!("attempt {} begun", mail.attempt) });
        }
        if let Some(at) = mail.settled_at {
            timeline.push(TimelineEntry { at, event: mail.state.to_string() });
        }
        Self {
            mail: mail.into(),
            waiting,
            attempts: attempts.into_iter().map(Into::into).collect(),
            timeline,
        }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MailsQuery {
    state: Option<String>,
    lane: Option<String>,
    /// In any case.
    recipient: Option<String>,
    order: Option<String>,
    cart: Option<String>,
    subscription: Option<String>,
    batch: Option<String>,
    provider_id: Option<String>,
    /// 1 to 1,000; 100 where not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    after: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/mails", tag = "mails", params(MailsQuery),
    responses((status = 200, body = Page<MailView>)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<MailsQuery>,
) -> Result<Page<MailView>, Refusal> {
    caller.may(Ability::MailsRead)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(Refusal::field("limit", "must be 1 to 1000"));
    }
    let filter = MailFilter {
        merchant: Some(caller.merchant.id.clone()),
        state: parsed("state", query.state)?,
        lane: parsed("lane", query.lane)?,
        recipient: query.recipient,
        order: query.order,
        cart: query.cart,
        subscription: query.subscription,
        batch: query.batch,
        provider_id: query.provider_id,
        after: query
            .after
            .map(|id| id.parse().map_err(|_| Refusal::field("after", "must be a mail's id")))
            .transpose()?,
        limit: limit + 1,
    };
    let mut mails = app.store.mails(&filter).await?;
    let has_more = mails.len() > limit as usize;
    mails.truncate(limit as usize);
    Ok(Page { data: mails.into_iter().map(Into::into).collect(), has_more })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    given: Option<String>,
) -> Result<Option<T>, Refusal> {
    given.map(|word| word.parse().map_err(|error| Refusal::field(field, format!("{error}")))).transpose()
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

#[utoipa::path(post, path = "/api/v1/mails/{id}/retry", tag = "mails", params(("id" = String, Path)),
    responses((status = 200, body = MailStory)))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<MailStory>, Refusal> {
    move_mail(&app, &caller, &id, MailEvent::Retried).await
}

async fn move_mail(
    app: &App,
    caller: &Caller,
    id: &str,
    event: MailEvent,
) -> Result<Json<MailStory>, Refusal> {
    caller.may(Ability::MailsManage)?;
    let id = id_of(id)?;
    match app.store.acting_for(caller.author()).move_mail(Some(&caller.merchant.id), id, event).await? {
        Moved::Unknown => Err(Refusal::not_found("Mail")),
        Moved::Refused(state) => {
            let message = format!("A mail that is {state} cannot be {event}.");
            Err(Refusal::new(StatusCode::CONFLICT, "wrong_state", message))
        }
        Moved::Now(_) => {
            let story = story(app, caller, id).await?;
            if let Some(due) = app.store.due_mail(id).await? {
                app.enqueue(due.into());
            }
            Ok(Json(story))
        }
    }
}
