//! Postroom's own API for what merchants' systems tell it: one document per thing, and many at once.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::{self, JsonBody},
    documents::{self, Document},
    error::{FieldError, Page, Refusal},
    mailing::document,
    page::{PageQuery, QueryOf},
};
use crate::{
    app::App,
    render::RenderLimits,
    shop::{Ability, ResourceKind, TemplateVersion},
    store::{ResourceRow, Stored},
};

/// The most faults that an import names.
const NAMED_FAULTS: usize = 1_000;
/// How many documents of an import are stored in one transaction.
const IMPORT_CHUNK: usize = 500;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/{kind}", get(list))
        .route("/api/v1/{kind}/{id}", get(show).put(put).delete(remove))
        .route("/api/v1/templates/{id}/preview", post(preview))
        .route("/api/v1/import", post(import))
}

/// Kinds that can be told; a path with another word does not exist.
fn kind_of(word: &str) -> Result<ResourceKind, Refusal> {
    match word.parse() {
        Ok(kind) => Ok(kind),
        Err(_) => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")),
    }
}

#[utoipa::path(get, path = "/api/v1/{kind}", tag = "resources", params(("kind" = String, Path), PageQuery),
    responses((status = 200, body = Page<Document>), (status = "4XX", description = "problem+json")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(kind): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Page<Value>, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesRead)?;
    let page = page.checked()?;
    let after = page.after.as_deref().unwrap_or_default();
    let mut stored = app.store.resources(&caller.merchant.id, kind, None, after, page.limit + 1).await?;
    let has_more = stored.len() > page.limit as usize;
    stored.truncate(page.limit as usize);
    Ok(Page { data: stored.iter().map(view).collect::<Result<_, _>>()?, has_more })
}

#[utoipa::path(get, path = "/api/v1/{kind}/{id}", tag = "resources",
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Document), (status = "4XX", description = "problem+json")))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesRead)?;
    let stored = app.store.resource(&caller.merchant.id, kind, &id).await?;
    stored.as_ref().map(view).ok_or_else(|| Refusal::not_found(kind.as_str()))?.map(Json)
}

#[utoipa::path(put, path = "/api/v1/{kind}/{id}", tag = "resources", request_body = Document,
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Document), (status = 201, body = Document), (status = "4XX", description = "problem+json")))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesWrite)?;
    let given = body.parse()?;
    let limits = app.config.render.clone();
    // A hostile template can take a second to check.
    let row = tokio::task::spawn_blocking(move || documents::check(kind, &id, given, &limits))
        .await
        .map_err(|_| Refusal::unavailable())?
        .map_err(Refusal::invalid)?;
    check_brand(&app, &caller, &row).await?;
    let is_new = app.store.put_resource(&caller.merchant.id, &row).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut shown: Map<String, Value> =
        serde_json::from_str(row.body.get()).map_err(|_| Refusal::unavailable())?;
    shown.insert("id".to_owned(), Value::from(row.id));
    Ok((status, Json(shown)).into_response())
}

#[utoipa::path(delete, path = "/api/v1/{kind}/{id}", tag = "resources",
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = "4XX", description = "problem+json")))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesWrite)?;
    match app.store.delete_resource(&caller.merchant.id, kind, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found(kind.as_str())),
    }
}

fn view(stored: &Stored) -> Result<Value, Refusal> {
    let mut shown: Map<String, Value> = document(stored)?;
    shown.insert("id".to_owned(), Value::from(stored.id.as_str()));
    Ok(Value::Object(shown))
}

/// A document's brand must exist: a mail could never be made from it otherwise.
async fn check_brand(app: &App, caller: &Caller, row: &ResourceRow) -> Result<(), Refusal> {
    let Some(brand) = &row.brand_id else { return Ok(()) };
    match app.store.resource(&caller.merchant.id, ResourceKind::Brands, brand).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::field("brand_id", "names no brand of this merchant")),
    }
}

/// What to fill a template with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewRequest {
    /// Values by tag.
    #[serde(default)]
    #[schema(value_type = Object)]
    user: Map<String, Value>,
}

/// A template, filled by the engine that sends.
#[derive(Serialize, ToSchema)]
pub(super) struct PreviewAnswer {
    subject: String,
    html: String,
    text: String,
    /// Tags that have no value.
    missing: Vec<String>,
}

#[utoipa::path(post, path = "/api/v1/templates/{id}/preview", tag = "resources", request_body = PreviewRequest,
    params(("id" = String, Path)),
    responses((status = 200, body = PreviewAnswer), (status = "4XX", description = "problem+json")))]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<PreviewAnswer>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let request: PreviewRequest = body.parse()?;
    let version = newest_version(&app, &caller, &id).await?;
    // A hostile template can take a second.
    let (content, missing) = tokio::task::spawn_blocking(move || {
        app.renderer.preview(&version.source, &Value::Object(request.user))
    })
    .await
    .map_err(|_| Refusal::unavailable())?
    .map_err(|error| Refusal::field("user", error.to_string()))?;
    Ok(Json(PreviewAnswer { subject: content.subject, html: content.html, text: content.text, missing }))
}

async fn newest_version(app: &App, caller: &Caller, id: &str) -> Result<Arc<TemplateVersion>, Refusal> {
    let stored = app.store.resource(&caller.merchant.id, ResourceKind::Templates, id).await?;
    let version = stored.and_then(|stored| stored.version);
    let missing = || Refusal::not_found("templates");
    app.template_version(&version.ok_or_else(missing)?).await?.ok_or_else(missing)
}

/// What came of an import.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct ImportAnswer {
    /// Lines that were stored.
    accepted: usize,
    /// Lines that were not.
    refused: usize,
    /// The first faults.
    errors: Vec<LineError>,
}

/// What is wrong with a line of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineError {
    /// The line, from 1.
    line: usize,
    /// Where in the line's object.
    path: String,
    /// What is wrong.
    message: String,
}

#[utoipa::path(post, path = "/api/v1/import", tag = "resources",
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = ImportAnswer), (status = "4XX", description = "problem+json")))]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<ImportAnswer>, Refusal> {
    caller.may(Ability::ResourcesWrite)?;
    let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
    if !content_type.is_some_and(|value| value.starts_with(b"application/x-ndjson")) {
        let message = "The body must be application/x-ndjson.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    let body = body::read(request, &()).await?;
    import_lines(&app, &caller, &body).await.map(Json)
}

async fn import_lines(app: &App, caller: &Caller, body: &Bytes) -> Result<ImportAnswer, Refusal> {
    let mut answer = ImportAnswer::default();
    let mut brands = Brands::default();
    let mut chunk = Vec::with_capacity(IMPORT_CHUNK);
    let lines = body.split(|&byte| byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace)) {
        match import_line(line, &app.config.render) {
            Ok((_, row)) => match brands.check(app, caller, &row, &chunk).await? {
                Ok(()) => chunk.push(row),
                Err(fault) => answer.refuse(index + 1, vec![fault]),
            },
            Err(faults) => answer.refuse(index + 1, faults),
        }
        if chunk.len() == IMPORT_CHUNK {
            answer.accept(app, caller, &mut chunk).await?;
        }
    }
    answer.accept(app, caller, &mut chunk).await?;
    Ok(answer)
}

/// Reads one line of an import: the merchant where it names one, and the document.
///
/// # Errors
/// What is wrong with the line.
pub fn import_line(
    line: &[u8],
    limits: &RenderLimits,
) -> Result<(Option<String>, ResourceRow), Vec<FieldError>> {
    let mut given: Map<String, Value> =
        body::parse(line).map_err(|refusal| match refusal.errors.as_slice() {
            [] => vec![FieldError { path: String::new(), message: "is not a JSON object".to_owned() }],
            errors => errors.to_vec(),
        })?;
    let mut take = |field: &str| match given.remove(field) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(vec![FieldError { path: field.to_owned(), message: "must be a string".to_owned() }]),
    };
    let (kind, id) = (take("kind")?, take("id")?);
    let merchant = take("merchant").ok();
    let kind = kind_of(&kind).map_err(|_| {
        vec![FieldError { path: "kind".to_owned(), message: "is not a kind that can be told".to_owned() }]
    })?;
    documents::check(kind, &id, given, limits).map(|row| (merchant, row))
}

/// The brands that an import has met, so that 100,000 members do not ask for theirs 100,000 times.
#[derive(Default)]
struct Brands {
    known: std::collections::HashSet<String>,
}

impl Brands {
    async fn check(
        &mut self,
        app: &App,
        caller: &Caller,
        row: &ResourceRow,
        chunk: &[ResourceRow],
    ) -> Result<Result<(), FieldError>, Refusal> {
        let Some(brand) = &row.brand_id else { return Ok(Ok(())) };
        let waits = |other: &ResourceRow| other.kind == ResourceKind::Brands && other.id == *brand;
        if self.known.contains(brand) || chunk.iter().any(waits) {
            return Ok(Ok(()));
        }
        if app.store.resource(&caller.merchant.id, ResourceKind::Brands, brand).await?.is_none() {
            let message = "names no brand of this merchant".to_owned();
            return Ok(Err(FieldError { path: "brand_id".to_owned(), message }));
        }
        self.known.insert(brand.clone());
        Ok(Ok(()))
    }
}

impl ImportAnswer {
    fn refuse(&mut self, line: usize, faults: Vec<FieldError>) {
        self.refused += 1;
        let room = NAMED_FAULTS.saturating_sub(self.errors.len());
        self.errors.extend(faults.into_iter().take(room).map(|FieldError { path, message }| LineError {
            line,
            path,
            message,
        }));
    }

    async fn accept(
        &mut self,
        app: &App,
        caller: &Caller,
        chunk: &mut Vec<ResourceRow>,
    ) -> Result<(), Refusal> {
        if !chunk.is_empty() {
            app.store.put_resources(&caller.merchant.id, chunk).await?;
            self.accepted += chunk.len();
            chunk.clear();
        }
        Ok(())
    }
}
