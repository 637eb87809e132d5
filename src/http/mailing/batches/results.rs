//! `GET /webhooks/mails/{batch_id}`: the outcome of each mail of a batch, page by page out of the database.

use std::sync::Arc;

use anyhow::Context;
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{auth::Caller, error::Refusal, pagination::QueryOf},
    mail::{BatchId, BatchState, MailId, MailState, Timestamp},
    shop::Ability,
    store::{BatchRecord, MailFilter, MailRecord, StoreError},
    telemetry::chain,
};

/// Mails in one piece of a streamed answer.
const PAGE: u32 = 1_000;

/// A success of the mailing family.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ResultsAnswer {
    message: &'static str,
    data: BatchResults,
}

/// How far a batch is, with its mails.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BatchResults {
    #[serde(flatten)]
    batch: BatchLine,
    mails: Vec<MailResult>,
}

/// How far a batch is.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BatchLine {
    #[schema(value_type = String)]
    requested_at: Timestamp,
    #[schema(value_type = Option<String>)]
    started_processing_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    finished_processing_at: Option<Timestamp>,
    /// `queued`, `processing`, `finished`, `cancelled` or `failed`.
    #[schema(value_type = String)]
    status: BatchState,
}

/// The outcome of one mail.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MailResult {
    /// UUIDv7.
    uuid: String,
    mailing_error: Option<String>,
    #[schema(value_type = String)]
    mailing_status: MailState,
    /// The id that the relay gave it.
    provider_id: Option<String>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = String)]
    updated_at: Timestamp,
    /// Whether it is only tried out; absent where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
}

impl From<MailRecord> for MailResult {
    fn from(mail: MailRecord) -> Self {
        let moved_at = [Some(mail.recorded_at), mail.claimed_at, mail.settled_at];
        Self {
            uuid: mail.id.to_string(),
            mailing_error: mail.error,
            mailing_status: mail.state,
            provider_id: mail.provider_id,
            created_at: mail.recorded_at,
            updated_at: moved_at.into_iter().flatten().max().unwrap_or(mail.recorded_at),
            test: mail.is_test,
        }
    }
}

impl From<&BatchRecord> for BatchLine {
    fn from(batch: &BatchRecord) -> Self {
        Self {
            requested_at: batch.requested_at,
            started_processing_at: batch.started_at,
            finished_processing_at: batch.finished_at,
            status: batch.state,
        }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ResultsQuery {
    /// The most mails, 1 to 1,000; where neither this nor `after` is given, all.
    limit: Option<u32>,
    /// Begin after this mail.
    after: Option<String>,
}

#[utoipa::path(get, path = "/webhooks/mails/{batch_id}", tag = "mailing",
    params(("batch_id" = String, Path), ResultsQuery),
    responses((status = 200, body = ResultsAnswer)))]
pub(in crate::http) async fn show_results(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<ResultsQuery>,
) -> Result<Response, Refusal> {
    caller.may(Ability::TemplatesGet)?;
    let missing = || Refusal::not_found("Batch");
    let id: BatchId = id.parse().map_err(|_| missing())?;
    let batch = app.store.batch(Some(&caller.merchant.id), id).await?.ok_or_else(missing)?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Refusal::field("limit", format!("The limit field must be 1 to {PAGE}.")));
    }
    let after = query.after.map(|id| id.parse::<MailId>()).transpose();
    let after = after.map_err(|_| Refusal::field("after", "The after field must be a mail's uuid."))?;
    let is_page = query.limit.is_some() || after.is_some();
    let first = page(&app, id, after, limit).await?;
    if !is_page && first.len() == PAGE as usize {
        return whole(app, &batch, first);
    }
    let mails = first.into_iter().map(Into::into).collect();
    let data = BatchResults { batch: (&batch).into(), mails };
    Ok(axum::Json(ResultsAnswer { message: "Request successful", data }).into_response())
}

async fn page(
    app: &App,
    batch: BatchId,
    after: Option<MailId>,
    limit: u32,
) -> Result<Vec<MailRecord>, StoreError> {
    let filter = MailFilter { batch: Some(batch.to_string()), after, limit, ..MailFilter::default() };
    app.store.mails(&filter).await
}

/// An answer that is written while it is read. A database that goes away breaks it off, as does a mail that cannot be
/// written.
fn whole(app: Arc<App>, batch: &BatchRecord, first: Vec<MailRecord>) -> Result<Response, Refusal> {
    let line = serde_json::to_string(&BatchLine::from(batch))
        .map_err(|error| Refusal::failed("the state of a batch cannot be written as JSON", &error))?;
    let line = line.trim_end_matches('}');
    let head = format!("{{\"message\":\"Request successful\",\"data\":{line},\"mails\":[");
    let id = batch.id;
    let pieces = stream::try_unfold(Writing::First(head, first), move |writing| {
        let app = Arc::clone(&app);
        async move {
            writing.next(&app, id).await.inspect_err(|error| {
                tracing::error!(batch = %id, error = %chain(&**error), "the results of a batch broke off");
            })
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// What comes next.
enum Writing {
    First(String, Vec<MailRecord>),
    After(MailId),
    Nothing,
}

impl Writing {
    async fn next(self, app: &App, batch: BatchId) -> anyhow::Result<Option<(Bytes, Self)>> {
        let (mut text, mails, separator) = match self {
            Self::First(head, mails) => (head, mails, ""),
            Self::After(mail) => (String::new(), page(app, batch, Some(mail), PAGE).await?, ","),
            Self::Nothing => return Ok(None),
        };
        let last = mails.last().filter(|_| mails.len() == PAGE as usize).map(|mail| mail.id);
        let written = mails.into_iter().map(|mail| serde_json::to_string(&MailResult::from(mail)));
        let written = written.collect::<Result<Vec<_>, _>>().context("a mail cannot be written as JSON")?;
        if !written.is_empty() {
            text.push_str(separator);
        }
        text.push_str(&written.join(","));
        Ok(Some(match last {
            Some(last) => (text.into(), Self::After(last)),
            None => ((text + "]}}").into(), Self::Nothing),
        }))
    }
}
