//! The versions of templates and partials: listed, shown as they were written and made, and restored.
//!
//! Restoring stores what a version was made from once more, so it makes a new version, with the partials as they are now.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    composed::{self, NotStored},
    error::{Page, Refusal},
    pagination::{PageQuery, QueryOf, cut_to_page},
    resources,
};
use crate::{
    app::App,
    mail::{MerchantId, Timestamp},
    shop::{Ability, Partial, ResourceKind, mailing::Template},
    store::{Store, StoreError, Stored, TemplateVersionRecord, WrittenVersion},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/templates/{id}/versions", get(list_of_template))
        .route("/api/v1/templates/{id}/versions/{version}", get(show_of_template))
        .route("/api/v1/templates/{id}/versions/{version}/restore", post(restore_template))
        .route("/api/v1/partials/{id}/versions", get(list_of_partial))
        .route("/api/v1/partials/{id}/versions/{version}", get(show_of_partial))
        .route("/api/v1/partials/{id}/versions/{version}/restore", post(restore_partial))
}

/// A version in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionLine {
    /// Its id.
    id: String,
    /// When it was stored.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Whether new mails are made from it.
    is_current: bool,
    /// The subject, handlebars; empty for a partial.
    subject: String,
}

/// A version, whole.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionView {
    /// Its id.
    id: String,
    /// When it was stored.
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Whether new mails are made from it.
    is_current: bool,
    /// The document as it was given; `null` for versions of before postroom kept it.
    document: Option<Value>,
    /// The partials in it, by name, with the version of each.
    partials: BTreeMap<String, String>,
    /// The subject, handlebars; empty for a partial.
    subject: String,
    /// The HTML that mails are made from: partials in their places, MJML made HTML, styles inlined.
    html: String,
    /// The text that mails are made from, where the template has one.
    text: Option<String>,
}

#[utoipa::path(get, operation_id = "template_versions_list", path = "/api/v1/templates/{id}/versions", tag = "resources",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<VersionLine>)))]
pub(super) async fn list_of_template(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Page<VersionLine>, Refusal> {
    list(&app, &caller, (ResourceKind::Templates, &id), page).await
}

#[utoipa::path(get, operation_id = "template_versions_show", path = "/api/v1/templates/{id}/versions/{version}",
    tag = "resources", params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionView)))]
pub(super) async fn show_of_template(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Refusal> {
    show(&app, &caller, (ResourceKind::Templates, &id), &version).await
}

#[utoipa::path(post, operation_id = "template_versions_restore",
    path = "/api/v1/templates/{id}/versions/{version}/restore", tag = "resources",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Template)))]
pub(super) async fn restore_template(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    restore(&app, &caller, (ResourceKind::Templates, &id), &version).await
}

#[utoipa::path(get, operation_id = "partial_versions_list", path = "/api/v1/partials/{id}/versions", tag = "resources",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<VersionLine>)))]
pub(super) async fn list_of_partial(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Result<Page<VersionLine>, Refusal> {
    list(&app, &caller, (ResourceKind::Partials, &id), page).await
}

#[utoipa::path(get, operation_id = "partial_versions_show", path = "/api/v1/partials/{id}/versions/{version}",
    tag = "resources", params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionView)))]
pub(super) async fn show_of_partial(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Refusal> {
    show(&app, &caller, (ResourceKind::Partials, &id), &version).await
}

#[utoipa::path(post, operation_id = "partial_versions_restore",
    path = "/api/v1/partials/{id}/versions/{version}/restore", tag = "resources",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Partial)))]
pub(super) async fn restore_partial(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    restore(&app, &caller, (ResourceKind::Partials, &id), &version).await
}

async fn list(
    app: &App,
    caller: &Caller,
    (kind, id): (ResourceKind, &str),
    page: PageQuery,
) -> Result<Page<VersionLine>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let page = page.checked()?;
    let (store, merchant) = (&app.store, &caller.merchant.id);
    let current = current(app, merchant, kind, id).await?;
    let after = match &page.after {
        Some(after) => {
            let found = store.listed_version(merchant, kind, id, after).await?;
            Some(found.ok_or_else(|| Refusal::field("after", "must be the id of a version in this list"))?)
        }
        None => None,
    };
    let records = store.versions_of_template(merchant, kind, id, after.as_ref(), page.limit + 1).await?;
    let line = |record: TemplateVersionRecord| VersionLine {
        is_current: current.version.as_deref() == Some(&record.id),
        id: record.id,
        created_at: record.created_at,
        subject: record.subject,
    };
    let mut data: Vec<_> = records.into_iter().map(line).collect();
    let has_more = cut_to_page(&mut data, page.limit);
    Ok(Page { data, has_more })
}

async fn show(
    app: &App,
    caller: &Caller,
    (kind, id): (ResourceKind, &str),
    version: &str,
) -> Result<Json<VersionView>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let (current, written) = tokio::try_join!(
        app.store.resource(&caller.merchant.id, kind, id),
        app.store.written_version(&caller.merchant.id, kind, id, version)
    )?;
    // Mails may wait that were made from it, also when its document is deleted.
    let missing = if current.is_some() { "Version" } else { kind.noun() };
    let written = written.ok_or_else(|| Refusal::not_found(missing))?;
    Ok(Json(VersionView {
        is_current: current.is_some_and(|current| current.version.as_deref() == Some(&written.id)),
        id: written.id,
        created_at: written.created_at,
        document: written.document.and_then(|document| serde_json::from_str(&document).ok()),
        partials: written.partials,
        subject: written.source.subject,
        html: written.source.html,
        text: written.source.text,
    }))
}

async fn restore(
    app: &App,
    caller: &Caller,
    (kind, id): (ResourceKind, &str),
    version: &str,
) -> Result<Response, Refusal> {
    caller.may(Ability::ResourcesWrite)?;
    let given = written(app, &caller.merchant.id, (kind, id), version).await?;
    let given = given.ok_or_else(|| Refusal::not_found("Version"))?;
    resources::put_composed(app, caller, (kind, id), given).await
}

async fn current(app: &App, merchant: &MerchantId, kind: ResourceKind, id: &str) -> Result<Stored, Refusal> {
    let stored = app.store.resource(merchant, kind, id).await?;
    stored.ok_or_else(|| Refusal::not_found(kind.noun()))
}

/// The document that a version was made from; `None` where there is no such version of a document that is still there.
async fn written(
    app: &App,
    merchant: &MerchantId,
    (kind, id): (ResourceKind, &str),
    version: &str,
) -> Result<Option<Map<String, Value>>, StoreError> {
    let (stored, written) = tokio::try_join!(
        app.store.resource(merchant, kind, id),
        app.store.written_version(merchant, kind, id, version)
    )?;
    let (Some(stored), Some(WrittenVersion { document, source, .. })) = (stored, written) else {
        return Ok(None);
    };
    let read = |document: &str| serde_json::from_str::<Map<String, Value>>(document).ok();
    if let Some(document) = document {
        return Ok(read(&document));
    }
    // An older version has its parts alone: the rest is as it is now.
    let mut given = read(&stored.body).unwrap_or_default();
    given.insert("subject".to_owned(), source.subject.into());
    given.insert("html".to_owned(), source.html.into());
    match source.text {
        Some(text) => given.insert("text".to_owned(), text.into()),
        None => given.remove("text"),
    };
    Ok(Some(given))
}

/// Restores a version of a template for an operator, in whose name the store acts; says why not.
///
/// # Errors
/// When the database does not take it.
pub async fn restore_for_operator(
    app: &App,
    store: &Store,
    merchant: &MerchantId,
    template: &str,
    version: &str,
) -> Result<Result<(), String>, StoreError> {
    let kind = ResourceKind::Templates;
    let Some(given) = written(app, merchant, (kind, template), version).await? else {
        return Ok(Err("There is no such version.".to_owned()));
    };
    match composed::put(app, store, merchant, (kind, template), &given).await {
        Ok(_) => Ok(Ok(())),
        Err(NotStored::Store(error)) => Err(error),
        Err(NotStored::Faults(faults)) => {
            let faults: Vec<_> =
                faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect();
            Ok(Err(format!("It cannot be stored any more: {}.", faults.join("; "))))
        }
        Err(NotStored::Busy | NotStored::Unsettled) => {
            Ok(Err("There is too much to do just now.".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::test_app::TestApp;

    async fn app() -> TestApp {
        let test = TestApp::start("DE").await;
        test.put("brands/tea", json!({"name": "Tea", "sender": {"email": "hello@tea.example"}})).await;
        test
    }

    fn template(html: &str) -> Value {
        json!({"brand_id": "tea", "title": "Hello", "subject": "Hello", "html": html})
    }

    async fn versions(test: &TestApp, of: &str) -> Vec<Value> {
        test.get(&format!("/api/v1/{of}/versions")).await.json()["data"].as_array().unwrap().clone()
    }

    #[tokio::test]
    async fn a_version_is_shown_as_it_was_written_and_as_it_was_made() {
        let test = app().await;
        test.put("partials/footer", json!({"html": "<p>one</p>"})).await;
        test.put("templates/hello", template("<style>p{margin:0}</style>{{> footer}}")).await;
        test.put("partials/footer", json!({"html": "<p>two</p>"})).await;
        let (of_template, of_partial) =
            (versions(&test, "templates/hello").await, versions(&test, "partials/footer").await);
        let is_current =
            |versions: &[Value]| versions.iter().map(|it| it["is_current"].clone()).collect::<Vec<_>>();
        assert_eq!(is_current(&of_template), [json!(true), json!(false)]);
        assert_eq!(is_current(&of_partial), [json!(true), json!(false)]);
        let older = of_template[1]["id"].as_str().unwrap();
        let shown = test.get(&format!("/api/v1/templates/hello/versions/{older}")).await.json();
        assert_eq!(shown["document"]["html"], "<style>p{margin:0}</style>{{> footer}}");
        assert_eq!(shown["html"], "<style>p{margin:0}</style><p style=\"margin: 0\">one</p>");
        assert_eq!(shown["partials"], json!({"footer": of_partial[1]["id"]}));
        // A template and a partial of one id have versions of their own.
        test.put("partials/hello", json!({"html": "x"})).await;
        assert_eq!(versions(&test, "templates/hello").await.len(), 2);
        assert_eq!(test.get(&format!("/api/v1/partials/hello/versions/{older}")).await.status, 404);
        assert_eq!(test.get("/api/v1/templates/nobody/versions").await.status, 404);
        let page = test.get("/api/v1/templates/hello/versions?limit=1").await.json();
        assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&of_template[0]["id"], &json!(true)));
        let newest = of_template[0]["id"].as_str().unwrap();
        let page = test.get(&format!("/api/v1/templates/hello/versions?limit=1&after={newest}")).await.json();
        assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&of_template[1]["id"], &json!(false)));
        let lost = test.get("/api/v1/templates/hello/versions?after=nobody").await;
        assert_eq!((lost.status, &lost.json()["errors"][0]["path"]), (422, &json!("after")));
        let foreign =
            format!("/api/v1/templates/hello/versions?after={}", of_partial[0]["id"].as_str().unwrap());
        assert_eq!(test.get(&foreign).await.status, 422);
    }

    #[tokio::test]
    async fn versions_are_listed_however_many_there_are() {
        let test = app().await;
        let line = |number: usize| json!({"kind": "templates", "id": "hello", "brand_id": "tea", "title": "t", "subject": number.to_string(), "html": "h"});
        let lines: Vec<_> = (0..1_003).map(|number| line(number).to_string()).collect();
        let headers = [&*test.bearer("tea"), "content-type: application/x-ndjson"];
        let answer = test.request("POST /api/v1/import", &headers, &lines.join("\n")).await.json();
        assert_eq!(answer["accepted"], 1_003, "{answer}");
        let page = async |query: String| {
            let page = test.get(&format!("/api/v1/templates/hello/versions?{query}")).await.json();
            let ids: Vec<_> = page["data"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
            (ids, page["has_more"] == true)
        };
        let (mut ids, has_more) = page("limit=1000".to_owned()).await;
        assert_eq!((ids.len(), has_more), (1_000, true));
        let (rest, has_more) = page(format!("limit=1000&after={}", ids[999].as_str().unwrap())).await;
        assert_eq!((rest.len(), has_more), (3, false));
        ids.extend(rest);
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 1_003);
    }

    #[tokio::test]
    async fn a_version_is_shown_also_when_its_template_is_deleted() {
        let test = app().await;
        test.put("templates/hello", template("<p>one</p>")).await;
        let version = versions(&test, "templates/hello").await[0]["id"].as_str().unwrap().to_owned();
        let deleted = test.request("DELETE /api/v1/templates/hello", &[&test.bearer("tea")], "").await;
        assert_eq!(deleted.status, 204);
        let shown = test.get(&format!("/api/v1/templates/hello/versions/{version}")).await;
        assert_eq!((shown.status, &shown.json()["html"]), (200, &json!("<p>one</p>")));
        assert_eq!(shown.json()["is_current"], false);
        assert_eq!(test.get("/api/v1/templates/hello/versions/nobody").await.status, 404);
        let of_partial = test.get(&format!("/api/v1/partials/hello/versions/{version}")).await;
        assert_eq!(of_partial.status, 404);
    }

    #[tokio::test]
    async fn a_version_is_restored_as_a_new_one() {
        let test = app().await;
        test.put("partials/footer", json!({"html": "one"})).await;
        test.put("templates/hello", template("old {{> footer}}")).await;
        test.put("templates/hello", template("new")).await;
        test.put("partials/footer", json!({"html": "two"})).await;
        let before = versions(&test, "templates/hello").await;
        let path = format!("/api/v1/templates/hello/versions/{}/restore", before[1]["id"].as_str().unwrap());
        let restored = test.json(&format!("POST {path}"), &json!({})).await;
        assert_eq!((restored.status, &restored.json()["html"]), (200, &json!("old {{> footer}}")));
        let preview = test.json("POST /api/v1/templates/hello/preview", &json!({})).await.json();
        assert_eq!(preview["html"], "old two");
        assert_eq!(versions(&test, "templates/hello").await.len(), 3);
        // A partial too, and with it the templates that have it in them.
        let of_partial = versions(&test, "partials/footer").await;
        let path =
            format!("/api/v1/partials/footer/versions/{}/restore", of_partial[1]["id"].as_str().unwrap());
        assert_eq!(test.json(&format!("POST {path}"), &json!({})).await.status, 200);
        let preview = test.json("POST /api/v1/templates/hello/preview", &json!({})).await.json();
        assert_eq!(preview["html"], "old one");
        let nobody = test.json("POST /api/v1/templates/hello/versions/nobody/restore", &json!({})).await;
        assert_eq!(nobody.status, 404);
    }
}
