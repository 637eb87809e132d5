//! The templates of a brand, for looking at.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Request, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        auth::Caller,
        body,
        error::Refusal,
        fields::{required, selected},
        pagination::QueryOf,
        stored::{document, pinned},
    },
    mail::Mailbox,
    shop::{
        Ability, ResourceKind,
        mailing::{Brand, RESERVED_TAGS, Template, custom_tags},
    },
    store::Stored,
};

/// How many templates are read at once.
const AT_ONCE: u32 = 500;

/// A template in a list.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TemplateLine {
    identifier: String,
    title: String,
    subject: String,
    sender: String,
}

/// A template, inspected.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TemplateView {
    #[serde(flatten)]
    line: TemplateLine,
    brand_id: String,
    html: String,
    /// Placeholders that postroom fills itself.
    reserved_tags: Vec<String>,
    /// Placeholders that the template uses and the user object must fill.
    custom_tags: Vec<String>,
}

/// A success with its content.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TemplatesAnswer<T> {
    success: bool,
    data: T,
}

#[derive(Deserialize)]
pub(in crate::http) struct BrandQuery {
    brand_id: Option<String>,
}

#[utoipa::path(get, path = "/templates", tag = "mailing", params(("brand_id" = String, Query)),
    responses((status = 200, body = TemplatesAnswer<Vec<TemplateLine>>)))]
pub(in crate::http) async fn list_templates(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<BrandQuery>,
    request: Request,
) -> Result<Json<TemplatesAnswer<Vec<TemplateLine>>>, Refusal> {
    caller.may(Ability::TemplatesGet)?;
    let (body, room) = body::read(request, &app).await?;
    let in_body = brand_in_body(&body)?;
    drop((body, room.map_err(|fault| Refusal::invalid(vec![fault]))?));
    let is_given = |brand: &String| !brand.is_empty();
    let brand_id = query.brand_id.filter(is_given).or(in_body.filter(is_given));
    let brand_id = brand_id.ok_or_else(|| required("brand_id"))?;
    let merchant = &caller.merchant.id;
    let brand = app.store.resource(merchant, ResourceKind::Brands, &brand_id).await?;
    let brand: Brand = document(&brand.ok_or_else(|| selected("brand_id"))?)?;
    let (mut data, mut after) = (Vec::new(), String::new());
    loop {
        let templates =
            app.store.resources(merchant, ResourceKind::Templates, Some(&brand_id), &after, AT_ONCE).await?;
        for stored in &templates {
            data.push(line_of(stored, &document(stored)?, &brand)?);
        }
        match templates.into_iter().nth(AT_ONCE as usize - 1) {
            Some(last) => after = last.id,
            None => return Ok(Json(TemplatesAnswer { success: true, data })),
        }
    }
}

fn brand_in_body(body: &Bytes) -> Result<Option<String>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    body::parse_object::<BrandQuery>(body).map(|query| query.brand_id)
}

#[utoipa::path(get, path = "/templates/{id}", tag = "mailing", params(("id" = String, Path)),
    responses((status = 200, body = TemplatesAnswer<TemplateView>)))]
pub(in crate::http) async fn inspect_template(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TemplatesAnswer<TemplateView>>, Refusal> {
    caller.may(Ability::TemplatesGet)?;
    let merchant = &caller.merchant.id;
    let missing = || Refusal::not_found("Template");
    let stored = app.store.resource(merchant, ResourceKind::Templates, &id).await?.ok_or_else(missing)?;
    let template: Template = document(&stored)?;
    let brand_id = template.brand_id.as_str();
    let brand = app.store.resource(merchant, ResourceKind::Brands, brand_id).await?.ok_or_else(missing)?;
    let version = pinned(&app, stored.version.as_deref()).await?;
    let data = TemplateView {
        line: line_of(&stored, &template, &document(&brand)?)?,
        brand_id: brand_id.to_owned(),
        html: template.html,
        reserved_tags: RESERVED_TAGS.map(str::to_owned).to_vec(),
        custom_tags: custom_tags(&version).into_iter().map(str::to_owned).collect(),
    };
    Ok(Json(TemplatesAnswer { success: true, data }))
}

fn line_of(stored: &Stored, template: &Template, brand: &Brand) -> Result<TemplateLine, Refusal> {
    let sender = template.sender.clone().unwrap_or_else(|| brand.sender.clone());
    Ok(TemplateLine {
        identifier: stored.id.clone(),
        title: template.title.as_str().to_owned(),
        subject: template.subject.clone(),
        sender: Mailbox::from(sender).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::test_app::TestApp;

    #[tokio::test]
    async fn the_brand_is_that_of_the_query_else_that_of_the_body_an_object() {
        let test = TestApp::start("DE").await;
        test.put_mailing(json!({"brand_id": "tea", "title": "Hello", "subject": "Hi", "html": "<p>Hi</p>"}))
            .await;
        let bearer = test.bearer("tea");
        let refused = |message: &str| json!({"success": false, "message": message});
        let required = refused("brand_id: The brand_id field is required.");
        for (query, body, expected) in [
            ("?brand_id=tea", "", None),
            ("?brand_id=tea", "{\"brand_id\":\"oak\"}", None),
            ("?brand_id=", "{\"brand_id\":\"tea\"}", None),
            ("", "{\"brand_id\":\"tea\"}", None),
            ("", "[\"tea\"]", Some(refused("The body must be an object."))),
            ("?brand_id=", "", Some(required.clone())),
            ("", "{\"brand_id\":\"\"}", Some(required)),
        ] {
            let listed = test.request(&format!("GET /templates{query}"), &[&bearer], body).await;
            match expected {
                None => assert_eq!(listed.json()["data"][0]["identifier"], "hello", "{query} {body}"),
                Some(expected) => assert_eq!(listed.whole(), (422, expected), "{query} {body}"),
            }
        }
    }
}
