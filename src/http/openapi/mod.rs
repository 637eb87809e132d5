//! The OpenAPI document, gathered from the handlers, and a page that people can read.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{Html, IntoResponse},
    routing::get,
};
use serde_json::{Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

use crate::app::App;

pub(super) mod documents;
mod operations;
mod page;
mod refusals;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .route("/docs.js", get(script))
        .route("/docs.css", get(style))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "postroom", description = "postroom records each mail before it answers, delivers it with retries, and reports what happened. A mail can arrive \
        twice only after an attempt whose outcome is on record as `unknown`.\n\n\
        Every request names an account (HTTP Basic) or a token (`Authorization: Bearer …`). Bodies are JSON; times are RFC 3339 \
        in UTC. A POST that sends mail takes an `Idempotency-Key`, which makes it safe to repeat.\n\n\
        In the examples `$TOKEN` is a token, as `postroom token create` prints it."),
    paths(
        super::cart_link::send_cart_link,
        super::abandoned_carts::carts::list,
        super::abandoned_carts::carts::show,
        super::abandoned_carts::reminder::remind,
        super::mailing::templates::list_templates,
        super::mailing::templates::inspect_template,
        super::mailing::single::send_mail,
        super::mailing::batches::send_mails,
        super::mailing::batches::results::show_results,
        super::mailing::batches::preflight::preflight,
        super::mailing::batches::manage::show,
        super::mailing::batches::manage::pause,
        super::mailing::batches::manage::resume,
        super::mailing::batches::manage::cancel,
        super::orders::show,
        super::orders::send_email,
        super::passes::show,
        super::suppressions::list,
        super::suppressions::show,
        super::suppressions::put,
        super::suppressions::remove,
        super::unsubscribe::look,
        super::unsubscribe::unsubscribe,
        super::unsubscribe::undo,
        super::resources::list,
        super::resources::show,
        super::resources::put,
        super::resources::remove,
        super::resources::preview,
        super::test_send::test_send,
        super::template_versions::list_of_template,
        super::template_versions::show_of_template,
        super::template_versions::restore_template,
        super::template_versions::list_of_partial,
        super::template_versions::show_of_partial,
        super::template_versions::restore_partial,
        super::builtin_mails::list,
        super::builtin_mails::show,
        super::builtin_mails::preview,
        super::import::import,
        super::mails::search::list,
        super::mails::show,
        super::mails::cancel,
        super::mails::retry,
        super::actions::draft,
        super::actions::list,
        super::actions::show,
        super::actions::results,
        super::actions::confirm,
        super::actions::stop,
        super::actions::resume,
        super::webhooks::list_events,
        super::webhooks::list,
        super::webhooks::register,
        super::webhooks::change,
        super::webhooks::remove,
        super::webhooks::refresh_secret,
        super::webhooks::verify_signature,
        super::webhooks::list_deliveries,
        super::webhooks::show_delivery,
        super::webhooks::replay,
        super::webhooks::replay_failed,
        super::webhooks::test,
        super::health::alive,
    ),
    security(("basic" = []), ("bearer" = [])),
    modifiers(&Credentials)
)]
struct Api;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, scheme) in [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)] {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document =
        serde_json::to_value(Api::openapi()).unwrap_or_else(|error| json!({"error": error.to_string()}));
    documents::expand(&mut document);
    refusals::add(&mut document);
    name_operations(&mut document);
    operations::describe(&mut document);
    open_free_objects(&mut document);
    document.to_string()
});

/// The page for people, made once.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&DOCUMENT).unwrap_or_default();
    page::written_for(&document)
});

/// Handlers are named within their file, operations within the document.
fn name_operations(document: &mut Value) {
    let items = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in
        items.flat_map(|item| item.as_object_mut().into_iter().flat_map(|item| item.values_mut()))
    {
        let name = format!("{} {}", operation["tags"][0], operation["operationId"]);
        operation["operationId"] = name.replace('"', "").replace([' ', '-'], "_").into();
    }
}

/// An object of which nothing is said may have any properties. Programs that make clients want to be told.
fn open_free_objects(part: &mut Value) {
    match part {
        Value::Object(object) => {
            object.values_mut().for_each(open_free_objects);
            let is_free = object.get("type").is_some_and(|of| of == "object")
                && !["properties", "additionalProperties", "required"]
                    .iter()
                    .any(|it| object.contains_key(*it));
            if is_free {
                object.insert("additionalProperties".to_owned(), true.into());
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(open_free_objects),
        _ => {}
    }
}

async fn document(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], at_home(&DOCUMENT, &app))
}

/// The text with the address at which postroom is reached.
fn at_home(text: &str, app: &App) -> String {
    text.replace(operations::ORIGIN, app.config.http.public_url.as_str().trim_end_matches('/'))
}

async fn page(State(app): State<Arc<App>>) -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(at_home(&PAGE, &app)))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css")], include_str!("../../../templates/docs/page.css"))
}

async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript")], include_str!("../../../templates/docs/page.js"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_pointed_to_is_there_and_none_stands_for_two() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let schemas = &document["components"]["schemas"];
        for pointed in DOCUMENT.split("#/components/schemas/").skip(1) {
            let name = pointed.split('"').next().unwrap();
            assert!(schemas[name].is_object(), "{name}");
        }
        assert!(schemas["CartSubscription"]["properties"]["cart_link"].is_object());
        assert!(schemas["Subscription"]["properties"]["recurring"].is_object());
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        let items = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values());
        let names: Vec<_> = items.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(
            different.contains(&"abandoned_carts_list") && different.contains(&"resources_brands_put"),
            "{names:?}"
        );
    }

    #[test]
    fn every_kind_has_paths_and_a_schema_of_its_own() {
        let document: Value = serde_json::from_str(&DOCUMENT).unwrap();
        for &kind in crate::shop::ResourceKind::ALL {
            let item = &document["paths"][format!("/api/v1/{kind}/{{id}}")];
            let schema = &item["put"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let name = schema.as_str().unwrap().rsplit('/').next().unwrap();
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{kind}: {schema}");
            assert!(schema["properties"]["id"].is_object(), "{kind}");
        }
        assert!(!DOCUMENT.contains("{kind}"));
    }
}
