//! Postroom's own API for batches: how far each is, and stopping it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admission::Speed,
    app::App,
    clock,
    http::{auth::Caller, error::Refusal},
    jobs,
    mail::{BatchAction, BatchId, BatchState, Lane, MailState, Schedule, Timestamp},
    shop::Ability,
    store::{BatchMoved, BatchRecord, Merchant},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/batches/{id}", get(show))
        .route("/api/v1/batches/{id}/pause", post(pause))
        .route("/api/v1/batches/{id}/resume", post(resume))
        .route("/api/v1/batches/{id}/cancel", post(cancel))
}

/// A batch as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchView {
    /// UUIDv7.
    pub id: String,
    /// `queued`, `processing`, `finished`, `cancelled` or `failed`.
    #[schema(value_type = String)]
    pub state: BatchState,
    /// Whether it is paused: nothing of it is made or sent until it is resumed.
    pub paused: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// The name of its template.
    pub template: String,
    /// The URL that is notified when it is over.
    pub webhook_url: Option<String>,
    /// How many mails it is of.
    pub mails: u64,
    /// How many are in each state; those that are not made yet are `queued`.
    pub counts: BTreeMap<&'static str, u64>,
    /// Mails settled in a second, over the last ten.
    pub rate: f64,
    /// When it will be over, at this rate or as fast as the limits in force allow.
    pub forecast: Forecast,
    /// The same as `forecast.ends_at`.
    #[schema(value_type = Option<String>)]
    pub forecast_end: Option<Timestamp>,
    /// The same as `forecast.limited_by`.
    pub limited_by: Option<LimitView>,
    /// When its mails may go, where a time was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub send_at: Option<Timestamp>,
    /// When those expire that were not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// Whether it is only tried out: its mails go to the sandbox and never to a relay.
    pub test: bool,
    /// When it was recorded.
    #[schema(value_type = String)]
    pub requested_at: Timestamp,
    /// When its first mails were made.
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
}

/// When a batch will be over.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Forecast {
    /// Null where nothing tells.
    #[schema(value_type = Option<String>)]
    pub ends_at: Option<Timestamp>,
    /// The lowest limit that all of its mails have to keep.
    pub limited_by: Option<LimitView>,
}

/// A limit of the rate of mails.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitView {
    /// What it is the limit of: `all`, `merchant` or `route`.
    pub scope: &'static str,
    /// Which of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Mails a second.
    pub per_second: f64,
}

/// A rate that was observed for less than this tells little.
const OBSERVED: Duration = Duration::from_secs(10);

/// When a batch will be over: as fast as its mails were settled lately, and never faster than limits allow. One that waits
/// for its time begins then.
fn forecast_end(
    batch: &BatchRecord,
    left: u64,
    rate: f64,
    limit: Option<&Speed>,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_observed = rate > 0.0 && batch.started_at.is_some_and(|at| now.since(at) >= OBSERVED);
    let allowed = limit.map(|limit| limit.per_second);
    let speed = if is_observed { Some(rate.min(allowed.unwrap_or(rate))) } else { allowed };
    let speed = speed.or((rate > 0.0).then_some(rate))?;
    Some(end_of(&batch.schedule, left, speed, now))
}

/// When so many mails are over that go as fast as this, at once or from their time on.
pub(super) fn end_of(schedule: &Schedule, mails: u64, per_second: f64, now: Timestamp) -> Timestamp {
    let begins = schedule.send_at.map_or(now, |at| at.max(now));
    begins + Duration::from_secs_f64((mails as f64 / per_second).min(3e9))
}

impl BatchView {
    /// Shows a batch, of whose mails so many are in each state that is not settled, and which go at most so fast.
    pub fn of(batch: BatchRecord, under_way: &[(MailState, u64)], limit: Option<&Speed>) -> Self {
        let now = clock::now();
        let is_open = batch.state.is_open();
        let rate = if is_open { batch.rate(now) } else { 0.0 };
        let settled = batch.settled_mails();
        let left = batch.mails.saturating_sub(settled);
        let paused = batch.paused_at().is_some();
        let goes_on = is_open && !paused;
        let forecast = Forecast {
            ends_at: goes_on.then(|| forecast_end(&batch, left, rate, limit, now)).flatten(),
            limited_by: limit.filter(|_| is_open).map(LimitView::of),
        };
        let mut counts: BTreeMap<_, _> =
            batch.settled.iter().map(|(state, mails)| (state.as_str(), *mails)).collect();
        let of = |state| {
            under_way.iter().filter(|(other, _)| *other == state).map(|(_, mails)| mails).sum::<u64>()
        };
        let (sending, deferred) = (of(MailState::Sending), of(MailState::Deferred));
        counts.insert(MailState::Sending.as_str(), sending);
        counts.insert(MailState::Deferred.as_str(), deferred);
        let queued = if is_open { left.saturating_sub(sending + deferred) } else { of(MailState::Queued) };
        counts.insert(MailState::Queued.as_str(), queued);
        Self {
            id: batch.id.to_string(),
            state: batch.state,
            paused,
            error: batch.error,
            template: batch.template,
            webhook_url: batch.webhook_url,
            mails: batch.mails,
            counts,
            rate: rounded(rate),
            forecast_end: forecast.ends_at,
            limited_by: forecast.limited_by.clone(),
            forecast,
            send_at: batch.schedule.send_at,
            expires_at: batch.schedule.expires_at,
            test: batch.is_test,
            requested_at: batch.requested_at,
            started_at: batch.started_at,
            finished_at: batch.finished_at,
        }
    }
}

impl LimitView {
    pub(super) fn of(limit: &Speed) -> Self {
        Self {
            scope: limit.scope.kind(),
            name: limit.scope.name().map(str::to_owned),
            per_second: rounded(limit.per_second),
        }
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

#[utoipa::path(get, path = "/api/v1/batches/{id}", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = BatchView)))]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Refusal> {
    caller.may(Ability::MailsRead)?;
    view(&app, &caller, id_of(&id)?).await
}

async fn view(app: &App, caller: &Caller, id: BatchId) -> Result<Json<BatchView>, Refusal> {
    let batch = app.store.batch(Some(&caller.merchant.id), id).await?.ok_or_else(missing)?;
    let under_way = app.store.batch_under_way(id).await?;
    let limit = limit_of(app, &caller.merchant);
    Ok(Json(BatchView::of(batch, &under_way, limit.as_ref())))
}

/// How fast a merchant's batches go at most.
pub fn limit_of(app: &App, merchant: &Merchant) -> Option<Speed> {
    let own_rate = merchant.mails_rate.as_ref().and_then(|rate| rate.parse().ok());
    app.admission.fastest(&merchant.id, own_rate, Lane::Bulk)
}

fn id_of(text: &str) -> Result<BatchId, Refusal> {
    text.parse().map_err(|_| missing())
}

fn missing() -> Refusal {
    Refusal::not_found("Batch")
}

#[utoipa::path(post, path = "/api/v1/batches/{id}/pause", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = BatchView)))]
pub(in crate::http) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Refusal> {
    move_batch(&app, &caller, &id, BatchAction::Pause).await
}

#[utoipa::path(post, path = "/api/v1/batches/{id}/resume", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = BatchView)))]
pub(in crate::http) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Refusal> {
    move_batch(&app, &caller, &id, BatchAction::Resume).await
}

#[utoipa::path(post, path = "/api/v1/batches/{id}/cancel", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = BatchView)))]
pub(in crate::http) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Refusal> {
    move_batch(&app, &caller, &id, BatchAction::Cancel).await
}

async fn move_batch(
    app: &App,
    caller: &Caller,
    id: &str,
    action: BatchAction,
) -> Result<Json<BatchView>, Refusal> {
    caller.may(Ability::MailsManage)?;
    let (merchant, id) = (&caller.merchant.id, id_of(id)?);
    let store = app.store.acting_for(caller.author());
    match store.move_batch(Some(merchant), id, action).await? {
        BatchMoved::Unknown => Err(missing()),
        BatchMoved::Over(state) => {
            let message = format!("A batch that is {state} cannot be {}.", action.participle());
            Err(Refusal::new(StatusCode::CONFLICT, "wrong_state", message))
        }
        BatchMoved::Now | BatchMoved::Unchanged => {
            app.enqueue(jobs::fan_out_batch_job(id, merchant.clone()));
            view(app, caller, id).await
        }
    }
}
