//! `/builtin-mails`: a gallery of the built-in mails in a language, each as it looks with the values of a sample, and with the
//! look of a brand where one is named.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use serde_json::Value;

use super::content::framed;
use crate::{
    cpu_pool::Share,
    dashboard::{form::Asked, layout, page_error::PageError, state::DashboardState, viewer::Viewer},
    shop::{
        builtin_mails::{BuiltinMail, sample_values},
        language::Language,
    },
};

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/builtin-mails", get(gallery)).route("/builtin-mails/{name}/preview", get(preview))
}

#[derive(Template)]
#[template(path = "dashboard/builtin_mails.html")]
struct Page {
    language: &'static str,
    languages: Vec<&'static str>,
    mails: Vec<&'static str>,
}

/// The language that is asked for; English where none is.
fn language_of(fields: &crate::dashboard::form::Fields) -> Result<Language, PageError> {
    match fields.get("language")? {
        Some(tag) => Language::from_regional_tag(tag).ok_or_else(|| PageError::not_found("language")),
        None => Ok(Language::En),
    }
}

async fn gallery(viewer: Viewer, Asked(fields): Asked) -> Result<Response, PageError> {
    let page = Page {
        language: language_of(&fields)?.as_str(),
        languages: Language::OF_BUILTIN_MAILS.iter().map(|language| language.as_str()).collect(),
        mails: BuiltinMail::ALL.iter().map(|mail| mail.as_str()).collect(),
    };
    Ok(layout::page(&viewer, "Built-in mails", &page))
}

async fn preview(
    State(board): State<Arc<DashboardState>>,
    _viewer: Viewer,
    Path(name): Path<String>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let mail: BuiltinMail = name.parse().map_err(|_| PageError::not_found("mail"))?;
    let version = board.app.templates.builtin(mail, language_of(&fields)?).await?;
    let renderer = Arc::clone(&board.app.renderer);
    let values = Value::Object(sample_values(mail));
    let work = move || renderer.preview(&version.source, version.language.as_deref(), &values.into());
    let made = board.app.cpu.run(Share::Own, work).await;
    let made = made.map_err(|_busy| PageError::conflict("There is too much to do just now.".to_owned()))?;
    let (content, _) = made.map_err(|error| PageError::conflict(error.to_string()))?;
    Ok(framed(content.html))
}
