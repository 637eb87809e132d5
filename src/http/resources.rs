//! Postroom's own API for what merchants' systems tell it: one document per thing. `import` takes many at once.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::JsonBody,
    composed,
    documents::{self, DocumentLimits, Loaded},
    error::{Page, Refusal},
    fields::read_user,
    openapi::documents::Document,
    pagination::{PageQuery, QueryOf, cut_to_page},
    stored::{self, document},
};
use crate::{
    app::App,
    cpu_pool::Share,
    mail::UnsubscribeToken,
    render::Values,
    shop::{
        Ability, ResourceKind, TemplateVersion, consent,
        mailing::{Brand, UNSUBSCRIBE_LINK, named_language},
    },
    store::{Quota, Stored},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/{kind}", get(list))
        .route("/api/v1/{kind}/{id}", get(show).put(put).delete(remove))
        .route("/api/v1/templates/{id}/preview", post(preview))
}

/// Kinds that can be stored; a path with another word does not exist.
fn kind_of(word: &str) -> Result<ResourceKind, Refusal> {
    match word.parse() {
        Ok(kind) => Ok(kind),
        Err(_) => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")),
    }
}

#[utoipa::path(get, path = "/api/v1/{kind}", tag = "resources", params(("kind" = String, Path), PageQuery),
    responses((status = 200, body = Page<Document>)))]
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
    let has_more = cut_to_page(&mut stored, page.limit);
    Ok(Page { data: stored.iter().map(view).collect::<Result<_, _>>()?, has_more })
}

#[utoipa::path(get, path = "/api/v1/{kind}/{id}", tag = "resources",
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Document)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesRead)?;
    let stored = app.store.resource(&caller.merchant.id, kind, &id).await?;
    stored.as_ref().map(view).ok_or_else(|| Refusal::not_found(kind.noun()))?.map(Json)
}

#[utoipa::path(put, path = "/api/v1/{kind}/{id}", tag = "resources", request_body = Document,
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Document), (status = 201, body = Document)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesWrite)?;
    let given: Map<String, Value> = body.parse()?;
    if composed::is_composed(kind, &given) {
        return put_composed(&app, &caller, (kind, &id), given).await;
    }
    let limits = DocumentLimits::of(&app);
    let check = move || documents::check(kind, &id, given, &limits, &Loaded::default());
    // A hostile template takes long to check; the others take microseconds.
    let row = match kind {
        ResourceKind::Templates => {
            let checked = app.cpu.run(Share::Request(caller.merchant.id.clone()), check).await;
            checked.map_err(|_busy| Refusal::busy())?
        }
        _ => check(),
    };
    let row = row.map_err(Refusal::invalid)?;
    check_brand(&app, &caller, row.brand_id.as_deref()).await?;
    check_room(&app, &caller, (row.kind, &row.id, row.version.is_some())).await?;
    let (id, body) = (row.id.clone(), row.body.clone());
    let is_new = app.store.acting_for(caller.author()).put_resource(&caller.merchant.id, row).await?;
    stored_answer(is_new, &id, &body)
}

fn stored_answer(is_new: bool, id: &str, body: &RawValue) -> Result<Response, Refusal> {
    let mut shown: Map<String, Value> = stored::read(body.get())?;
    shown.insert("id".to_owned(), Value::from(id));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown)).into_response())
}

/// Stores a partial, or a template that has some in it.
pub(super) async fn put_composed(
    app: &App,
    caller: &Caller,
    (kind, id): (ResourceKind, &str),
    mut given: Map<String, Value>,
) -> Result<Response, Refusal> {
    // What `GET` shows can be put back as it is.
    if given.get("id").is_some_and(|given| given == id) {
        given.remove("id");
    }
    let merchant = &caller.merchant.id;
    if let Some(Value::String(brand)) = given.get("brand_id") {
        check_brand(app, caller, Some(brand)).await?;
    }
    check_room(app, caller, (kind, id, true)).await?;
    if kind == ResourceKind::Templates {
        composed::check_uses(app, merchant, id, &given).await?;
    }
    let store = app.store.acting_for(caller.author());
    let put = composed::put(app, &store, merchant, (kind, id), &given).await?;
    stored_answer(put.is_new, id, &put.body)
}

#[utoipa::path(delete, path = "/api/v1/{kind}/{id}", tag = "resources",
    params(("kind" = String, Path), ("id" = String, Path)),
    responses((status = 204)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((kind, id)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let kind = kind_of(&kind)?;
    caller.may(Ability::ResourcesWrite)?;
    match app.store.acting_for(caller.author()).delete_resource(&caller.merchant.id, kind, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false if kind == ResourceKind::Partials => {
            composed::refuse_used(&app, &caller.merchant.id, &id).await?;
            Err(Refusal::not_found(kind.noun()))
        }
        false => Err(Refusal::not_found(kind.noun())),
    }
}

fn view(stored: &Stored) -> Result<Value, Refusal> {
    let mut shown: Map<String, Value> = document(stored)?;
    shown.insert("id".to_owned(), Value::from(stored.id.as_str()));
    Ok(Value::Object(shown))
}

/// A document's brand must exist: a mail could never be made from it otherwise.
async fn check_brand(app: &App, caller: &Caller, brand: Option<&str>) -> Result<(), Refusal> {
    let Some(brand) = brand else { return Ok(()) };
    match app.store.resource(&caller.merchant.id, ResourceKind::Brands, brand).await? {
        Some(_) => Ok(()),
        None => Err(Refusal::field("brand_id", "names no brand of this merchant")),
    }
}

/// A merchant that has as many of a kind as it may have can change them, but not add to them.
async fn check_room(
    app: &App,
    caller: &Caller,
    (kind, id, is_versioned): (ResourceKind, &str, bool),
) -> Result<(), Refusal> {
    let (merchant, limits) = (&caller.merchant.id, &app.config.stored);
    let most = |what| limits.most(what);
    let what = Quota::Documents(kind);
    if !app.store.reserve_quota(merchant, what, 1, most(what)).await?
        && app.store.resource(merchant, kind, id).await?.is_none()
    {
        let message = format!("A merchant has at most {} {kind}.", most(what));
        return Err(Refusal::new(StatusCode::CONFLICT, "too_many", message));
    }
    let what = Quota::TemplateVersions;
    if is_versioned && !app.store.reserve_quota(merchant, what, 1, most(what)).await? {
        let message = format!("A merchant has at most {} versions of templates.", most(what));
        return Err(Refusal::new(StatusCode::CONFLICT, "too_many", message));
    }
    Ok(())
}

/// What to fill a template with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewRequest {
    /// Values by tag, at most `http.max_user` bytes of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    user: Option<Box<RawValue>>,
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
    responses((status = 200, body = PreviewAnswer)))]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<PreviewAnswer>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let request: PreviewRequest = body.parse()?;
    let template = template(&app, &caller, &id).await?;
    let version = app.templates.version(template.version.as_deref().unwrap_or_default()).await?;
    let version = version.ok_or_else(|| Refusal::not_found("Template"))?;
    let user =
        request.user.map_or_else(|| Ok(Map::new()), |user| read_user(&user, app.config.http.max_user.0));
    let mut user = user.map_err(|message| Refusal::field("user", message))?;
    // A link of the right form, which leads nowhere.
    let link = app.config.http.link_to(&consent::path_of(&UnsubscribeToken::generate()));
    user.insert(UNSUBSCRIBE_LINK.to_owned(), link.into());
    let brand = brand_of(&app, &caller, &template).await?;
    caller.merchant.locale().put_language(&mut user, named_language(&version, (brand.as_ref(), None)));
    preview_of(&app, &caller, version, Values::from(user)).await
}

/// A template filled in for people to look at.
pub(super) async fn preview_of(
    app: &App,
    caller: &Caller,
    version: Arc<TemplateVersion>,
    values: Values,
) -> Result<Json<PreviewAnswer>, Refusal> {
    let renderer = Arc::clone(&app.renderer);
    let preview = move || renderer.preview(&version.source, version.language.as_deref(), &values);
    let previewed = app.cpu.run(Share::Request(caller.merchant.id.clone()), preview).await;
    let (content, missing) = previewed
        .map_err(|_busy| Refusal::busy())?
        .map_err(|error| Refusal::field("user", error.to_string()))?;
    Ok(Json(PreviewAnswer { subject: content.subject, html: content.html, text: content.text, missing }))
}

async fn template(app: &App, caller: &Caller, id: &str) -> Result<Stored, Refusal> {
    let stored = app.store.resource(&caller.merchant.id, ResourceKind::Templates, id).await?;
    stored.ok_or_else(|| Refusal::not_found("Template"))
}

/// The brand of a template, while it is there.
async fn brand_of(app: &App, caller: &Caller, template: &Stored) -> Result<Option<Brand>, Refusal> {
    let id = template.brand_id.as_deref().unwrap_or_default();
    let brand = app.store.resource(&caller.merchant.id, ResourceKind::Brands, id).await?;
    brand.as_ref().map(document).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::test_app::TestApp;

    #[tokio::test]
    async fn an_id_in_a_document_is_that_of_its_path() {
        let test = TestApp::start("DE").await;
        let subscription = json!({"state": "draft", "cart_link": "https://shop.example/", "shopper": {}});
        let partial = json!({"html": "<p>Hello</p>"});
        for (path, mut document) in [("subscriptions/t1", subscription), ("partials/t1", partial)] {
            document["id"] = json!("t1");
            test.put(path, document.clone()).await;
            for (other, more) in [(json!("t2"), None), (json!(5), Some("colour"))] {
                document["id"] = other;
                if let Some(unknown) = more {
                    document[unknown] = json!("red");
                }
                let refused = test.json(&format!("PUT /api/v1/{path}"), &document).await;
                let errors = refused.json()["errors"].clone();
                let fault = json!({"path": "id", "message": "must be the id of the path"});
                assert_eq!((refused.status, &errors[0]), (422, &fault), "{path}: {refused:?}");
                assert_eq!(errors[1]["path"].as_str(), more, "{path}: {errors}");
            }
        }
    }

    #[tokio::test]
    async fn a_missing_resource_is_named_in_the_singular() {
        let test = TestApp::start("DE").await;
        test.put("partials/footer", json!({"html": "<p>Hello</p>"})).await;
        for (path, noun) in [
            ("subscriptions/no", "Subscription"),
            ("abandoned-carts/no", "Abandoned cart"),
            ("storecards/no", "Store card"),
            ("templates/no", "Template"),
            ("templates/no/versions", "Template"),
            ("partials/footer/versions/no", "Version"),
            ("builtin-mails/no", "Built-in mail"),
        ] {
            let missing = test.get(&format!("/api/v1/{path}")).await;
            let detail = json!(format!("{noun} not found"));
            assert_eq!((missing.status, &missing.json()["detail"]), (404, &detail), "{path}");
        }
        let missing = test.json("POST /api/v1/templates/no/preview", &json!({})).await;
        assert_eq!((missing.status, &missing.json()["detail"]), (404, &json!("Template not found")));
    }

    #[tokio::test]
    async fn a_query_and_a_body_are_refused_by_the_field_that_is_wrong() {
        let test = TestApp::start("DE").await;
        for (path, field) in [
            ("/api/v1/brands?limit=abc", "limit"),
            ("/api/v1/suppressions?reason=foo", "reason"),
            ("/api/v1/mails?oldest_first=x", "oldest_first"),
            ("/api/v1/mails?colour=red", "colour"),
        ] {
            let refused = test.get(path).await;
            assert_eq!(
                (refused.status, &refused.json()["errors"][0]["path"]),
                (422, &json!(field)),
                "{path}"
            );
        }
        let refused = test.get("/webhooks/0/deliveries?page=x").await;
        let errors = json!({"page": ["must be a whole number, 0 or more"]});
        assert_eq!((refused.status, &refused.json()["errors"]), (422, &errors));
        let mail = json!({"brand_id": "tea", "user": {"identifier": "ann", "name": "Ann\0"}});
        let refused = test.json("POST /mail", &mail).await;
        let errors = json!({"user.name": ["must not contain the character U+0000"]});
        assert_eq!((refused.status, &refused.json()["errors"]), (422, &errors));
    }
}
