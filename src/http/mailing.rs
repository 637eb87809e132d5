//! The mailing family: templates, and a mail from one (`mailing.txt`).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::{self, JsonBody},
    error::{FieldError, Refusal, json_answer},
    idempotency::Once,
    new_mail,
    page::QueryOf,
    passes::{self, PassRequest},
};
use crate::{
    app::App,
    mail::{MailDraft, MailLane, Mailbox, NewMail, Origin},
    render::Values,
    shop::{
        Ability, ResourceKind, SingleLine, TemplateVersion,
        mailing::{Brand, Member, RESERVED_TAGS, Template, UNSUBSCRIBE_LINK, custom_tags, tag_values},
    },
    store::{MailingSubjects, NewPass, Recording, Stored},
};

/// The longest identifier of anything, in characters.
pub(super) const LONGEST_IDENTIFIER: usize = 255;
/// The most templates in one list.
const MOST_TEMPLATES: u32 = 1_000;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/templates", get(list_templates))
        .route("/templates/{id}", get(inspect_template))
        .route("/mail", post(send_mail))
}

/// A template in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateLine {
    identifier: String,
    title: String,
    subject: String,
    sender: String,
}

/// A template, inspected.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateView {
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
pub(super) struct TemplatesAnswer<T> {
    success: bool,
    data: T,
}

#[derive(Deserialize)]
pub(super) struct BrandQuery {
    brand_id: Option<String>,
}

#[utoipa::path(get, path = "/templates", tag = "mailing", params(("brand_id" = String, Query)),
    responses((status = 200, body = TemplatesAnswer<Vec<TemplateLine>>)))]
pub(super) async fn list_templates(
    State(app): State<Arc<App>>,
    caller: Caller,
    QueryOf(query): QueryOf<BrandQuery>,
    request: Request,
) -> Result<Json<TemplatesAnswer<Vec<TemplateLine>>>, Refusal> {
    caller.may(Ability::TemplatesGet)?;
    let (body, room) = body::read(request, &app).await?;
    let in_body = brand_in_body(&body)?;
    drop((body, room.map_err(|fault| Refusal::invalid(vec![fault]))?));
    let brand_id = query.brand_id.or(in_body).ok_or_else(|| required("brand_id"))?;
    let merchant = &caller.merchant.id;
    let brand = app.store.resource(merchant, ResourceKind::Brands, &brand_id).await?;
    let brand: Brand = document(&brand.ok_or_else(|| selected("brand_id"))?)?;
    let templates =
        app.store.resources(merchant, ResourceKind::Templates, Some(&brand_id), "", MOST_TEMPLATES).await?;
    let data = templates
        .iter()
        .map(|stored| line_of(stored, &document(stored)?, &brand))
        .collect::<Result<_, Refusal>>()?;
    Ok(Json(TemplatesAnswer { success: true, data }))
}

fn brand_in_body(body: &Bytes) -> Result<Option<String>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    body::parse::<BrandQuery>(body).map(|query| query.brand_id)
}

#[utoipa::path(get, path = "/templates/{id}", tag = "mailing", params(("id" = String, Path)),
    responses((status = 200, body = TemplatesAnswer<TemplateView>)))]
pub(super) async fn inspect_template(
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

/// A request for one mail.
#[derive(Deserialize, ToSchema)]
pub(super) struct MailRequest {
    #[schema(value_type = String)]
    brand_id: Option<Value>,
    #[schema(value_type = String)]
    template_id: Option<Value>,
    /// The `identifier` and values for placeholders, at most `http.max_user` bytes of JSON.
    #[schema(value_type = Object)]
    user: Option<Box<RawValue>>,
    /// Makes a pass for the member, to which `link_to_pass` leads; with `storecard_id`, one pass of both.
    #[schema(value_type = Option<String>)]
    coupon_id: Option<Value>,
    /// Makes a pass for the member, to which `link_to_pass` leads.
    #[schema(value_type = Option<String>)]
    storecard_id: Option<Value>,
    /// What the QR code of the pass says, 1 to 255 characters; the link to the pass where absent.
    #[schema(value_type = Option<String>)]
    pass_identifier: Option<Value>,
}

/// A success of the mailing family.
#[derive(Serialize, ToSchema)]
pub(super) struct MailAnswer {
    message: &'static str,
    /// By the member's identifier.
    data: BTreeMap<String, QueuedMail>,
}

/// The outcome of one mail.
#[derive(Serialize, ToSchema)]
pub(super) struct QueuedMail {
    status: &'static str,
    transaction_id: MailIdText,
}

/// A mail's id, UUIDv7.
#[derive(Serialize, ToSchema)]
pub(super) struct MailIdText(String);

#[utoipa::path(post, path = "/mail", tag = "mailing", request_body = MailRequest,
    responses((status = 200, body = MailAnswer)))]
pub(super) async fn send_mail(
    State(app): State<Arc<App>>,
    caller: Caller,
    once: Once,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::TemplatesStore)?;
    once.run(&app, &caller, &body.0, async |holder| {
        let draft = Draft::of(body.parse()?, app.config.http.max_user.0)?;
        let identifier = draft.identifier.clone();
        let (mail, pass) = draft.judge(&app, &caller).await?;
        let queued = QueuedMail { status: "queued", transaction_id: MailIdText(mail.id.to_string()) };
        let answer = json_answer(
            StatusCode::OK,
            &MailAnswer { message: "Request successful", data: BTreeMap::from([(identifier, queued)]) },
        );
        let answered = holder.map(|holder| (holder, answer.clone()));
        let passes = pass.into_iter().collect();
        let recording = Recording { mails: vec![mail], passes, answer: answered, ..Recording::default() };
        new_mail::record(&app, recording).await?;
        Ok(answer)
    })
    .await
}

/// A request whose fields are there and of the right type.
struct Draft {
    brand_id: String,
    template_id: String,
    identifier: String,
    user: Map<String, Value>,
    pass: PassRequest,
}

impl Draft {
    fn of(request: MailRequest, max_user: usize) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        let brand_id = text("brand_id", request.brand_id, &mut faults);
        let template_id = text("template_id", request.template_id, &mut faults);
        let (mut user, is_read) = match request.user.as_deref().map(|user| read_user(user, max_user)) {
            Some(Ok(user)) => (user, true),
            unread => {
                // What is no object has no identifier either; what was not read may have one.
                let is_object = request.user.as_deref().is_some_and(|user| user.get().starts_with('{'));
                let message = unread.and_then(Result::err);
                faults.push(fault("user", message.as_deref().unwrap_or("The user field is required.")));
                (Map::new(), !is_object)
            }
        };
        let identifier = match user.remove("identifier") {
            None if !is_read => String::new(),
            given => text("user.identifier", given, &mut faults),
        };
        let pass = PassRequest {
            coupon: optional_text("coupon_id", request.coupon_id, LONGEST_IDENTIFIER, &mut faults),
            storecard: optional_text("storecard_id", request.storecard_id, LONGEST_IDENTIFIER, &mut faults),
            identifier: optional_text(
                "pass_identifier",
                request.pass_identifier,
                LONGEST_IDENTIFIER,
                &mut faults,
            )
            .and_then(|text| {
                let taken = SingleLine::new(text);
                taken
                    .map_err(|why| {
                        faults.push(fault("pass_identifier", &format!("The pass_identifier field {why}.")))
                    })
                    .ok()
            }),
        };
        if faults.is_empty() {
            Ok(Self { brand_id, template_id, identifier, user, pass })
        } else {
            Err(Refusal::invalid(faults).about_form())
        }
    }

    /// The rules: all that is named exists and belongs together, and the template gets every value that it needs.
    async fn judge(mut self, app: &App, caller: &Caller) -> Result<(NewMail, Option<NewPass>), Refusal> {
        let merchant = &caller.merchant.id;
        let MailingSubjects { brand, template, member } =
            app.store.mailing_subjects(merchant, &self.brand_id, &self.template_id, &self.identifier).await?;
        let of_brand = |stored: &Stored| stored.brand_id.as_deref() == Some(&self.brand_id);
        let brand = brand.ok_or_else(|| selected("brand_id"))?;
        let template = template
            .filter(|template| template.brand_id.as_deref() == Some(&self.brand_id))
            .ok_or_else(|| selected("template_id"))?;
        let member = member.filter(of_brand).ok_or_else(|| selected("user.identifier"))?;
        let pass = self.pass.judge(app, &caller.merchant, &self.brand_id, &self.identifier).await?;
        let (brand, member): (Brand, Member) = (document(&brand)?, document(&member)?);
        let version = pinned(app, template.version.as_deref()).await?;
        let mut values = tag_values(&brand, &member, std::mem::take(&mut self.user));
        if let Some(pass) = &pass {
            values.entry("link_to_pass").or_insert_with(|| passes::link_to(app, &pass.id).into());
        }
        let values = Values::from(values);
        let missing = new_mail::missing(app, merchant, &version, &values).await?.map_err(|error| {
            Refusal::field("template_id", format!("The template cannot be rendered: {error}."))
        })?;
        if !missing.is_empty() {
            let faults = missing.iter().map(|tag| match tag.as_str() {
                UNSUBSCRIBE_LINK => {
                    fault("template_id", "The template prints an unsubscribe link; there are none yet.")
                }
                tag => fault(&format!("user.{tag}"), &format!("The template needs a value for {tag}.")),
            });
            return Err(Refusal::invalid(faults.collect()));
        }
        Ok((new_mail(caller, &self, &brand, &member, &version, values.as_json()), pass))
    }
}

/// Reads a user object, once it is known to be of a size that may become values.
pub(super) fn read_user(user: &RawValue, max_user: usize) -> Result<Map<String, Value>, String> {
    if !user.get().starts_with('{') {
        return Err("The user field must be an object.".to_owned());
    }
    if user.get().len() > max_user {
        return Err(format!("The user field may be at most {max_user} bytes."));
    }
    serde_json::from_str(user.get()).map_err(|_| "The user field cannot be read.".to_owned())
}

fn new_mail(
    caller: &Caller,
    draft: &Draft,
    brand: &Brand,
    member: &Member,
    version: &TemplateVersion,
    values: &Value,
) -> NewMail {
    NewMail::new(MailDraft {
        merchant: caller.merchant.id.clone(),
        lane: MailLane::Transactional,
        template: version.pinned(),
        sender: version.sender.clone().unwrap_or_else(|| brand.sender.clone().into()),
        reply_to: brand.reply_to.clone().map(|email| Mailbox { name: None, email }),
        recipient: Mailbox { name: member.full_name(), email: member.email.clone() },
        values,
        origin: Origin { member: Some(draft.identifier.clone()), ..Origin::default() },
    })
}

/// The version that a stored template is now.
pub(super) async fn pinned(app: &App, version: Option<&str>) -> Result<Arc<TemplateVersion>, Refusal> {
    version_called(app, version.unwrap_or_default()).await
}

/// The version of this id, which some template is or was.
pub(super) async fn version_called(app: &App, id: &str) -> Result<Arc<TemplateVersion>, Refusal> {
    app.templates.version(id).await?.ok_or_else(|| {
        tracing::error!(version = id, "a template's version is gone");
        Refusal::unavailable()
    })
}

/// A stored document as its type.
pub(super) fn document<T: serde::de::DeserializeOwned>(stored: &Stored) -> Result<T, Refusal> {
    serde_json::from_str(&stored.body).map_err(|error| {
        tracing::error!(line = error.line(), column = error.column(), "a stored document cannot be read");
        Refusal::unavailable()
    })
}

pub(super) fn text(path: &str, given: Option<Value>, faults: &mut Vec<FieldError>) -> String {
    match given {
        Some(Value::String(text)) if text.chars().nth(LONGEST_IDENTIFIER).is_some() => {
            let message =
                format!("The {path} field must not have more than {LONGEST_IDENTIFIER} characters.");
            faults.push(fault(path, &message));
        }
        Some(Value::String(text)) if !text.is_empty() => return text,
        None | Some(Value::Null | Value::String(_)) => {
            faults.push(fault(path, &format!("The {path} field is required.")));
        }
        Some(_) => faults.push(fault(path, &format!("The {path} field must be a string."))),
    }
    String::new()
}

pub(super) fn optional_text(
    path: &str,
    given: Option<Value>,
    longest: usize,
    faults: &mut Vec<FieldError>,
) -> Option<String> {
    match given? {
        Value::Null => None,
        Value::String(text) if text.chars().nth(longest).is_some() => {
            let message = format!("The {path} field must not have more than {longest} characters.");
            faults.push(fault(path, &message));
            None
        }
        Value::String(text) => Some(text),
        _ => {
            faults.push(fault(path, &format!("The {path} field must be a string.")));
            None
        }
    }
}

pub(super) fn fault(path: &str, message: &str) -> FieldError {
    FieldError { path: path.to_owned(), message: message.to_owned() }
}

fn required(path: &str) -> Refusal {
    Refusal::field(path, format!("The {path} field is required."))
}

pub(super) fn selected(path: &str) -> Refusal {
    Refusal::field(path, format!("The selected {path} is invalid."))
}
