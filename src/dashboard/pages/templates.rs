//! `/templates` and `/templates/{merchant}/{id}`: a merchant's templates, their versions with what differs, and how each
//! looks with sample data; the built-in mails in each language.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use serde_json::{Map, Value};

use super::content::framed;
use crate::{
    cpu_pool::Share,
    dashboard::{
        form::{Act, Asked},
        layout,
        page_error::PageError,
        parts::{Button, More, NoMore, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
    },
    http::{cut_to_page, restore_for_operator},
    mail::MerchantId,
    render::{Content, RenderError},
    shop::{ResourceKind, TemplateVersion, builtin_mails::BuiltinMail, language::Language},
    store::TemplateVersionRecord,
};

/// Templates on a page.
const LISTED: u32 = 100;
/// The versions that are listed.
const VERSIONS: u32 = 50;
/// Lines of a difference.
const MOST_LINES: usize = 2_000;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/templates", get(list))
        .route("/templates/{merchant}/{id}", get(show))
        .route("/templates/{merchant}/{id}/preview", get(preview))
        .route("/templates/{merchant}/{id}/restore", post(restore))
}

#[derive(Template)]
#[template(path = "dashboard/templates.html")]
struct ListPage {
    for_all: bool,
    merchant: String,
    no_more: Option<NoMore>,
    templates: Vec<Row>,
    builtins: Vec<Coverage>,
    languages: Vec<&'static str>,
    more: More,
}

struct Row {
    id: String,
    segment: String,
    brand: String,
    stored: Time,
}

/// A built-in mail and where it comes from, language by language.
struct Coverage {
    name: &'static str,
    own: Vec<bool>,
}

#[derive(Template)]
#[template(path = "dashboard/template.html")]
struct Page {
    merchant: String,
    id: String,
    segment: String,
    subject: String,
    tags: String,
    fault: Option<String>,
    version: String,
    versions: Vec<Version>,
    acts: bool,
    difference: Option<Vec<Line>>,
}

struct Version {
    id: String,
    stored: Time,
    subject: String,
    is_shown: bool,
    /// Of those that are not the newest.
    restore: Option<Button>,
}

struct Line {
    tone: &'static str,
    text: String,
}

/// The merchant that a page is about, where this operator may see it.
fn merchant_of(viewer: &Viewer, text: &str) -> Result<MerchantId, PageError> {
    let id: MerchantId = text.parse().map_err(|_| PageError::not_found("merchant"))?;
    let is_seen = viewer.merchant.as_ref().is_none_or(|own| *own == id);
    is_seen.then_some(id).ok_or_else(|| PageError::not_found("merchant"))
}

async fn list(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let store = &board.app.store;
    let asked = fields.get("merchant")?.map(|merchant| merchant_of(&viewer, merchant)).transpose()?;
    let first = match (&viewer.merchant, asked) {
        (_, Some(asked)) => Some(asked),
        (Some(own), None) => Some(own.clone()),
        (None, None) => store.merchants("", 1).await?.pop().map(|merchant| merchant.id),
    };
    let after = fields.get("after")?.unwrap_or_default();
    let mut templates = match &first {
        Some(merchant) => store.resources(merchant, ResourceKind::Templates, None, after, LISTED + 1).await?,
        None => Vec::new(),
    };
    let has_more = cut_to_page(&mut templates, LISTED);
    let merchant = first.as_ref().map(ToString::to_string).unwrap_or_default();
    let next = templates.last().filter(|_| has_more).map(|last| {
        format!("/templates?merchant={merchant}&after={}", crate::dashboard::page_error::encoded(&last.id))
    });
    let no_more =
        NoMore::when(templates.is_empty() && !after.is_empty(), format!("/templates?merchant={merchant}"));
    let builtins = match &first {
        Some(merchant) => coverage(&board, merchant).await?,
        None => Vec::new(),
    };
    let rows = templates.into_iter().map(|template| Row {
        segment: super::mail::segment(&template.id),
        id: template.id,
        brand: template.brand_id.unwrap_or_default(),
        stored: Time(template.updated_at),
    });
    let page = ListPage {
        for_all: viewer.merchant.is_none(),
        merchant,
        no_more,
        templates: rows.collect(),
        builtins,
        languages: Language::ALL.iter().map(|language| language.as_str()).collect(),
        more: More { href: next, label: "Next page" },
    };
    Ok(layout::page(&viewer, "Templates", &page))
}

/// Which built-in mails a merchant replaced with templates of its own.
async fn coverage(board: &DashboardState, merchant: &MerchantId) -> Result<Vec<Coverage>, PageError> {
    let names: Vec<String> = BuiltinMail::ALL
        .iter()
        .flat_map(|mail| {
            let in_languages = Language::ALL.iter().map(move |language| format!("{mail}.{language}"));
            in_languages.chain([mail.to_string()])
        })
        .collect();
    let own = board.app.store.templates_among(merchant, &names).await?;
    let rows = BuiltinMail::ALL.iter().map(|mail| {
        let for_all = own.contains(mail.as_str());
        let own = Language::ALL.iter().map(|language| for_all || own.contains(&format!("{mail}.{language}")));
        Coverage { name: mail.as_str(), own: own.collect() }
    });
    Ok(rows.collect())
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path((merchant, id)): Path<(String, String)>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let merchant = merchant_of(&viewer, &merchant)?;
    let versions =
        board.app.store.versions_of_template(&merchant, ResourceKind::Templates, &id, None, VERSIONS).await?;
    let newest = versions.first().ok_or_else(|| PageError::not_found("template"))?;
    let shown = match fields.get("version")? {
        Some(asked) => versions.iter().find(|version| version.id == asked),
        None => Some(newest),
    };
    let shown = shown.ok_or_else(|| PageError::not_found("version"))?;
    let version = board.app.templates.version(&shown.id).await?;
    let version = version.ok_or_else(|| PageError::not_found("version"))?;
    let before = versions.iter().skip_while(|each| each.id != shown.id).nth(1);
    let difference = match before {
        Some(before) => {
            let before = board.app.templates.version(&before.id).await?;
            before.map(|before| difference(&before, &version))
        }
        None => None,
    };
    let sample = sampled(&board, &merchant, &version).await;
    let page = Page {
        segment: super::mail::segment(&id),
        merchant: merchant.to_string(),
        subject: sample
            .as_ref()
            .map_or_else(|_| version.source.subject.clone(), |(content, _)| content.subject.clone()),
        tags: version.tags.join(", "),
        fault: sample.err().map(|error| error.to_string()),
        version: shown.id.clone(),
        versions: versions
            .iter()
            .map(|each| {
                let restore = (each.id != newest.id).then(|| {
                    let to = format!("/templates/{merchant}/{}/restore", super::mail::segment(&id));
                    Button::new(&viewer, to, "Restore").with("version", each.id.clone())
                });
                Version { restore, ..Version::of(each, &shown.id) }
            })
            .collect(),
        acts: viewer.acts(),
        difference,
        id,
    };
    Ok(layout::page(&viewer, &format!("Template {}", page.id), &page))
}

impl Version {
    fn of(version: &TemplateVersionRecord, shown: &str) -> Self {
        Self {
            is_shown: version.id == shown,
            id: version.id.clone(),
            stored: Time(version.created_at),
            subject: version.subject.clone(),
            restore: None,
        }
    }
}

async fn restore(
    State(board): State<Arc<DashboardState>>,
    Path((merchant, id)): Path<(String, String)>,
    Act { viewer, fields }: Act,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let merchant = merchant_of(&viewer, &merchant)?;
    let version = fields.need("version")?;
    let store = viewer.store(&board.app);
    let said = match restore_for_operator(&board.app, &store, &merchant, &id, version).await? {
        Ok(()) => Flash::done("The version is restored, as a new one: new mails are made from it."),
        Err(why) => Flash::not(why),
    };
    Ok(back_to(&format!("/templates/{merchant}/{}", super::mail::segment(&id)), said))
}

/// What a template makes with values that are the names of its placeholders.
async fn sampled(
    board: &DashboardState,
    merchant: &MerchantId,
    version: &Arc<TemplateVersion>,
) -> Result<(Content, Vec<String>), RenderError> {
    let values: Map<String, Value> =
        version.tags.iter().map(|tag| (tag.clone(), Value::String(tag.replace('_', " ")))).collect();
    let (renderer, version) = (Arc::clone(&board.app.renderer), Arc::clone(version));
    let share = Share::Request(merchant.clone());
    let sample = board
        .app
        .cpu
        .run(share, move || renderer.preview(&version.source, version.language.as_deref(), &values.into()))
        .await;
    sample.map_err(|_busy| RenderError::Busy)?
}

async fn preview(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path((merchant, id)): Path<(String, String)>,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let merchant = merchant_of(&viewer, &merchant)?;
    let versions =
        board.app.store.versions_of_template(&merchant, ResourceKind::Templates, &id, None, VERSIONS).await?;
    let asked = fields.get("version")?;
    let found = versions.iter().find(|version| asked.is_none_or(|asked| version.id == asked));
    let found = found.ok_or_else(|| PageError::not_found("version"))?;
    let version = board.app.templates.version(&found.id).await?;
    let version = version.ok_or_else(|| PageError::not_found("version"))?;
    let sample = sampled(&board, &merchant, &version).await;
    let (content, _) = sample.map_err(|error| PageError::conflict(error.to_string()))?;
    Ok(framed(content.html))
}

/// The lines that one version has and the other has not: what both begin and end with is left out but for three lines.
fn difference(before: &TemplateVersion, after: &TemplateVersion) -> Vec<Line> {
    let lines = |version: &TemplateVersion| {
        let text = version.source.text.as_deref().unwrap_or_default();
        let all = format!("Subject: {}\n{}\n{text}", version.source.subject, version.source.html);
        all.replace("><", ">\n<").lines().take(MOST_LINES).map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, after) = (lines(before), lines(after));
    let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let rest = before.len().min(after.len()) - same;
    let same_end = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let line = |tone, sign: &str, text: &String| Line { tone, text: format!("{sign} {text}") };
    let mut difference = Vec::new();
    difference.extend(after[same.saturating_sub(3)..same].iter().map(|text| line("", " ", text)));
    difference.extend(before[same..before.len() - same_end].iter().map(|text| line("removed", "−", text)));
    difference.extend(after[same..after.len() - same_end].iter().map(|text| line("added", "+", text)));
    let end = after.len() - same_end;
    difference.extend(after[end..(end + 3).min(after.len())].iter().map(|text| line("", " ", text)));
    difference
}
