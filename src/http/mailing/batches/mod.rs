//! Many mails from one request, and what became of them.
//!
//! The body is written to a file that has no name any more and read from there twice: once to judge it whole, once to
//! stage its users, at most a thousand at a time. So a million users take no more memory than a thousand, but for the
//! answer and for knowing who came before.

mod identifiers;
pub(in crate::http) mod manage;
pub(in crate::http) mod preflight;
pub(in crate::http) mod results;
mod seen;
mod spool;
mod user_stream;
mod users;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::single::MailUser;
use crate::{
    app::App,
    http::{
        auth::Caller,
        body,
        error::{FieldError, Refusal, fault, json_answer},
        fields::selected,
        idempotency::{Idempotency, IdempotencyKey},
        passes::PassRequest,
        request_note::note_batch,
        stored::{document, pinned},
    },
    jobs,
    mail::BatchId,
    shop::{Ability, ResourceKind, mailing::Brand},
    store::{BatchRecorded, NewBatch, StagedChunk, StoreError},
    telemetry::chain,
};
use identifiers::Identifiers;
use spool::Spool;
use user_stream::Limits;
use users::{Head, User};

pub use manage::{BatchView, limit_of};

/// A body of at most so many bytes does not wait for those of others to be read.
const SMALL: usize = 1 << 20;
/// Chunks that are staged in one transaction.
const CHUNKS_AT_ONCE: usize = 8;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/mails", post(send_mails))
        .route("/webhooks/mails/{batch_id}", get(results::show_results))
        .merge(manage::router())
}

/// A request for many mails.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described: the body is read as a stream")]
pub(in crate::http) struct MailsRequest {
    brand_id: String,
    template_id: String,
    /// The URL that is notified when the batch is over.
    webhook_url: Option<String>,
    /// Makes a pass for each member, to which `link_to_pass` leads.
    coupon_id: Option<String>,
    /// No mail goes before this time, at most 30 days ahead; one in the past means at once.
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// Mails that were not sent by this time expire; it is later than `send_at`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// 1 to `batches.max_users` objects, each with an `identifier` and the tags of this member.
    #[schema(value_type = Vec<MailUser>)]
    users: Vec<Value>,
}

/// A success of the mailing family.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BatchAnswer {
    message: &'static str,
    data: QueuedBatch,
}

/// What happened to the users.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct QueuedBatch {
    webhook_url: Option<String>,
    batch_id: String,
    /// Members who get a mail, in the order of the request.
    #[schema(value_type = Vec<String>)]
    queued: Identifiers,
    /// Those that are no members of the brand.
    #[schema(value_type = Vec<String>)]
    not_found: Identifiers,
}

#[utoipa::path(post, path = "/mails", tag = "mailing", request_body = MailsRequest,
    params(IdempotencyKey),
    responses((status = 200, body = BatchAnswer)))]
pub(in crate::http) async fn send_mails(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    request: Request,
) -> Result<Response, Refusal> {
    caller.may(Ability::TemplatesStore)?;
    body::expect_json(request.headers())?;
    let spool = Spool::of(
        request,
        &caller.merchant.id,
        app.config.http.max_body.0,
        app.config.batches.spooled_per_merchant.0,
    )
    .await?;
    // Reading takes a thread, and the identifiers memory; the body of a request that has to wait is on the disk meanwhile.
    let merchant = Some(&caller.merchant.id);
    let _turn = if spool.length() > SMALL {
        Some(app.batch_requests.hold(merchant, 1, app.config.batches.timeout).await.map_err(body::full)?)
    } else {
        None
    };
    let limits = Limits { users: app.config.batches.max_users, user: app.config.http.max_user.0 };
    let fingerprint = idempotency.fingerprint(async |query| spool.fingerprint(query).await).await?;
    idempotency
        .run_for(&app, &caller, fingerprint, async |holder| {
            let head = spool.head(limits).await?;
            let mut batch = judge(&app, &caller, &head).await?;
            let mut staging = Staging { app: Arc::clone(&app), batch: batch.id, may_be_recorded: false };
            let staged = stage(&app, &mut batch, &spool, limits).await;
            let recorded = match staged {
                Ok(queued) => {
                    let data = QueuedBatch {
                        webhook_url: head.webhook_url,
                        batch_id: batch.id.to_string(),
                        queued: queued.found,
                        not_found: queued.not_found,
                    };
                    let answer =
                        json_answer(StatusCode::OK, &BatchAnswer { message: "Request successful", data });
                    let kept = holder.map(|holder| (holder, answer.clone()));
                    staging.may_be_recorded = true;
                    let recorded = app.store.record_batch(&batch, kept).await;
                    staging.may_be_recorded = matches!(
                        recorded,
                        Ok(BatchRecorded::Committed) | Err(StoreError::OutcomeUnknown { .. })
                    );
                    match recorded {
                        Ok(BatchRecorded::Committed) => Ok(answer),
                        Ok(BatchRecorded::KeyLost) => Err(Refusal::key_lost()),
                        Err(error) => Err(error.into()),
                    }
                }
                Err(refusal) => Err(refusal),
            };
            if recorded.is_ok() {
                note_batch(batch.id);
                app.enqueue(jobs::fan_out_batch_job(batch.id, batch.merchant));
            }
            recorded
        })
        .await
}

/// Users that are staged for a batch. Unless the batch is recorded they are thrown away, also when the request is
/// dropped half-way: because it took too long, or because its caller hung up. Where the commit is under way and nobody
/// knows, they are left to the sweep, which asks later.
struct Staging {
    app: Arc<App>,
    batch: BatchId,
    may_be_recorded: bool,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.may_be_recorded {
            return;
        }
        let (app, batch) = (Arc::clone(&self.app), self.batch);
        tokio::spawn(async move {
            if let Err(error) = app.store.discard_chunks(batch).await {
                tracing::warn!(error = %chain(&error), "staged users are left for the maintenance jobs");
            }
        });
    }
}

/// The rules: all that is named exists and belongs together.
async fn judge(app: &App, caller: &Caller, head: &Head) -> Result<NewBatch, Refusal> {
    let merchant = &caller.merchant.id;
    let brand = app.store.resource(merchant, ResourceKind::Brands, &head.brand_id).await?;
    let brand = brand.ok_or_else(|| selected("brand_id"))?;
    document::<Brand>(&brand)?;
    let template = app.store.resource(merchant, ResourceKind::Templates, &head.template_id).await?;
    let template = template
        .filter(|template| template.brand_id.as_deref() == Some(&*head.brand_id))
        .ok_or_else(|| selected("template_id"))?;
    let version = pinned(app, template.version.as_deref()).await?;
    let wish = PassRequest { coupon: head.coupon_id.clone(), ..PassRequest::default() };
    wish.judge(app, caller, &head.brand_id, "").await?;
    if let Some(url) = &head.webhook_url {
        judge_url(app, url).map_err(|fault| Refusal::invalid(vec![fault]))?;
    }
    let id = BatchId::new();
    Ok(NewBatch {
        id,
        merchant: merchant.clone(),
        brand_id: head.brand_id.clone(),
        brand: brand.body,
        template: head.template_id.clone(),
        template_version: version.id.clone(),
        coupon: head.coupon_id.clone(),
        webhook_url: head.webhook_url.clone(),
        link: app.config.http.link_to(&format!("webhooks/mails/{id}")),
        mails: 0,
        schedule: head.schedule,
        is_test: caller.merchant.is_test,
    })
}

fn judge_url(app: &App, url: &str) -> Result<(), FieldError> {
    app.callbacks
        .address_policy()
        .judge_url(url)
        .map(drop)
        .map_err(|why| fault("webhook_url", &format!("The webhook_url field {why}.")))
}

/// Which users are members, in the order of the request.
#[derive(Default)]
struct Queued {
    found: Identifiers,
    not_found: Identifiers,
}

/// Stages the members among the users; counts them in `batch.mails`.
async fn stage(app: &App, batch: &mut NewBatch, spool: &Spool, limits: Limits) -> Result<Queued, Refusal> {
    let mut queued = Queued::default();
    let mut users = spool.users(limits);
    let (mut waiting, mut number) = (Vec::with_capacity(CHUNKS_AT_ONCE), 0);
    while let Some(chunk) = users.recv().await {
        let users = chunk?.users;
        let ids: Vec<&str> = users.iter().map(|user| user.identifier.as_str()).collect();
        let known = app.store.members_among(&batch.merchant, &batch.brand_id, &ids).await?;
        let (found, not_found): (Vec<User>, Vec<User>) =
            users.into_iter().partition(|user| known.contains(&user.identifier));
        queued.not_found.extend(not_found.iter().map(|user| &*user.identifier));
        if !found.is_empty() {
            waiting.push(StagedChunk { number, users: array_of(&found)? });
            number += 1;
        }
        queued.found.extend(found.iter().map(|user| &*user.identifier));
        if waiting.len() == CHUNKS_AT_ONCE {
            app.store.stage_chunks(batch.id, &waiting).await?;
            waiting.clear();
        }
    }
    if !waiting.is_empty() {
        app.store.stage_chunks(batch.id, &waiting).await?;
    }
    batch.mails = queued.found.len() as u64;
    Ok(queued)
}

fn array_of(users: &[User]) -> Result<Box<RawValue>, Refusal> {
    let users: Vec<&RawValue> = users.iter().map(|user| &*user.json).collect();
    serde_json::value::to_raw_value(&users)
        .map_err(|error| Refusal::failed("the users of a batch cannot be written as JSON", &error))
}

#[cfg(test)]
mod tests;
