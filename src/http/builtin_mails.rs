//! The built-in mails: listed, shown as templates that one's own can start from, and previewed.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::Caller,
    body::JsonBody,
    error::{Page, Refusal},
    fields::read_user,
    pagination::QueryOf,
    resources::{PreviewAnswer, preview_of},
};
use crate::{
    app::App,
    render::Values,
    shop::{
        Ability, TemplateSource, TemplateVersion,
        builtin_mails::{self, BuiltinMail},
        language::Language,
    },
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/builtin-mails", get(list))
        .route("/api/v1/builtin-mails/{name}", get(show))
        .route("/api/v1/builtin-mails/{name}/preview", post(preview))
}

/// A built-in mail, in short.
#[derive(Serialize, ToSchema)]
pub(super) struct BuiltinMailSummary {
    /// Its name; a template of a merchant with this id is taken instead of it.
    name: &'static str,
    /// The languages that it is written in.
    languages: Vec<&'static str>,
    /// The subject, in English.
    subject: String,
    /// The placeholders it uses.
    tags: Vec<String>,
}

/// A built-in mail as a template.
#[derive(Serialize, ToSchema)]
pub(super) struct BuiltinMailView {
    /// Its name; a template of a merchant with this id is taken instead of it.
    name: &'static str,
    /// The language it is shown in.
    language: &'static str,
    /// The languages that it is written in.
    languages: Vec<&'static str>,
    /// The `Subject`, handlebars.
    subject: String,
    /// The HTML part, handlebars.
    html: String,
    /// The text part, handlebars.
    text: String,
    /// The placeholders it uses.
    tags: Vec<String>,
}

/// The language of a mail.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LanguageQuery {
    /// A language tag; English where absent.
    language: Option<String>,
}

/// What to fill a built-in mail with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuiltinPreviewRequest {
    /// A language tag; English where absent.
    #[serde(default)]
    language: Option<String>,
    /// Values by tag, over those of a sample; at most `http.max_user` bytes of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    user: Option<Box<RawValue>>,
}

#[utoipa::path(get, operation_id = "builtin_mails_list", path = "/api/v1/builtin-mails", tag = "resources",
    responses((status = 200, body = Page<BuiltinMailSummary>)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Page<BuiltinMailSummary>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let mut data = Vec::with_capacity(BuiltinMail::ALL.len());
    for &mail in BuiltinMail::ALL {
        let tags = version(&app, mail, Language::En).await?.tags.clone();
        let subject = builtin_mails::template(mail, Language::En).subject;
        data.push(BuiltinMailSummary { name: mail.as_str(), languages: languages(), subject, tags });
    }
    Ok(Page { data, has_more: false })
}

#[utoipa::path(get, operation_id = "builtin_mails_show", path = "/api/v1/builtin-mails/{name}", tag = "resources",
    params(("name" = String, Path), LanguageQuery),
    responses((status = 200, body = BuiltinMailView)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    QueryOf(query): QueryOf<LanguageQuery>,
) -> Result<Json<BuiltinMailView>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let (mail, language) = (mail_called(&name)?, language_of(query.language.as_deref())?);
    let TemplateSource { subject, html, text } = builtin_mails::template(mail, language);
    Ok(Json(BuiltinMailView {
        name: mail.as_str(),
        language: language.as_str(),
        languages: languages(),
        subject,
        html,
        text: text.unwrap_or_default(),
        tags: version(&app, mail, language).await?.tags.clone(),
    }))
}

#[utoipa::path(post, operation_id = "builtin_mails_preview", path = "/api/v1/builtin-mails/{name}/preview", tag = "resources",
    request_body = BuiltinPreviewRequest, params(("name" = String, Path)),
    responses((status = 200, body = PreviewAnswer)))]
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<PreviewAnswer>, Refusal> {
    caller.may(Ability::ResourcesRead)?;
    let mail = mail_called(&name)?;
    let request: BuiltinPreviewRequest = body.parse()?;
    let language = language_of(request.language.as_deref())?;
    let given =
        request.user.map_or_else(|| Ok(Map::new()), |user| read_user(&user, app.config.http.max_user.0));
    let mut values = builtin_mails::sample_values(mail);
    values.extend(given.map_err(|message| Refusal::field("user", message))?);
    // What is not escaped comes from an order alone.
    values.remove("json_ld");
    let version = version(&app, mail, language).await?;
    preview_of(&app, &caller, version, Values::from(Value::Object(values))).await
}

fn languages() -> Vec<&'static str> {
    Language::OF_BUILTIN_MAILS.iter().map(|language| language.as_str()).collect()
}

fn mail_called(name: &str) -> Result<BuiltinMail, Refusal> {
    name.parse().map_err(|_| Refusal::not_found("Built-in mail"))
}

fn language_of(tag: Option<&str>) -> Result<Language, Refusal> {
    let Some(tag) = tag else { return Ok(Language::En) };
    let unknown = || Refusal::field("language", format!("must be one of {}", languages().join(", ")));
    Language::from_regional_tag(tag).ok_or_else(unknown)
}

async fn version(app: &App, mail: BuiltinMail, language: Language) -> Result<Arc<TemplateVersion>, Refusal> {
    Ok(app.templates.builtin(mail, language).await?)
}
