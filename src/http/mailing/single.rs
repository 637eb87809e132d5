//! A mail from one of the merchant's templates to one member of its brand.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use crate::{
    app::App,
    cpu_pool::Share,
    http::{
        auth::Caller,
        body::JsonBody,
        error::{Refusal, fault, json_answer},
        fields::{LONGEST_IDENTIFIER, optional_text, read_user, selected, text},
        idempotency::{Idempotency, IdempotencyKey},
        mailing::extras::{ExtraFields, Given},
        new_mail::{self, IsRecorded},
        passes::{self, PassRequest},
        schedule,
        stored::{document, pinned},
    },
    mail::{Extras, MailDraft, MailLane, Mailbox, NewMail, Origin, Schedule},
    render::Values,
    shop::{
        Ability, SingleLine, TemplateVersion,
        filled_mail::{FilledMail, Filling},
        mailing::{Brand, IDENTIFIER, Member},
    },
    store::{AttachmentsStored, MailingSubjects, NewAttachment, NewPass, Recording, Stored},
};

/// The lane of its mails.
const LANE: MailLane = MailLane::Transactional;

/// A request for one mail.
#[derive(Deserialize, ToSchema)]
pub(in crate::http) struct MailRequest {
    #[schema(value_type = String)]
    brand_id: Option<Value>,
    #[schema(value_type = String)]
    template_id: Option<Value>,
    /// The `identifier` and values for placeholders, at most `http.max_user` bytes of JSON.
    #[schema(value_type = MailUser)]
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
    /// Not before this time, at most 30 days ahead; one in the past means at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    send_at: Option<Value>,
    /// Expires when it was not sent by this time, which is later than `send_at`.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Value>,
    #[serde(flatten)]
    extras: ExtraFields,
}

/// A member, and values for the placeholders of the template.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read as it comes")]
pub(in crate::http) struct MailUser {
    /// The member's id.
    identifier: String,
    #[serde(flatten)]
    tags: BTreeMap<String, Value>,
}

/// A success of the mailing family.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MailAnswer {
    message: &'static str,
    /// By the member's identifier.
    data: BTreeMap<String, QueuedMail>,
}

/// The outcome of one mail.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct QueuedMail {
    status: &'static str,
    transaction_id: MailIdText,
}

/// A mail's id, UUIDv7.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MailIdText(String);

#[utoipa::path(post, path = "/mail", tag = "mailing", request_body = MailRequest,
    params(IdempotencyKey),
    responses((status = 200, body = MailAnswer)))]
pub(in crate::http) async fn send_mail(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::TemplatesStore)?;
    idempotency
        .run(&app, &caller, &body.0, async |holder| {
            let mut request: MailRequest = body.parse()?;
            let given = read_extras(&app, &caller, std::mem::take(&mut request.extras)).await?;
            let mut draft = Draft::of(request, given, app.config.http.max_user.0)?;
            let identifier = draft.identifier.clone();
            let files = std::mem::take(&mut draft.files);
            let (mail, pass) = draft.judge(&app, &caller).await?;
            store_files(&app, &caller, files).await?;
            let queued = QueuedMail { status: "queued", transaction_id: MailIdText(mail.id.to_string()) };
            let answer = json_answer(
                StatusCode::OK,
                &MailAnswer { message: "Request successful", data: BTreeMap::from([(identifier, queued)]) },
            );
            let answered = holder.map(|holder| (holder, answer.clone()));
            let passes = pass.into_iter().collect();
            let recording = Recording {
                mails: vec![mail],
                passes,
                answer: answered,
                refuses_suppressed: true,
                ..Recording::default()
            };
            match new_mail::record(&app, recording).await? {
                IsRecorded::Suppressed => Err(suppressed()),
                IsRecorded::Yes | IsRecorded::Outdated => Ok(answer),
            }
        })
        .await
}

fn suppressed() -> Refusal {
    Refusal::field("user.identifier", "The member is suppressed: this mail is not sent to this address.")
}

/// Reads what may be large aside.
async fn read_extras(app: &App, caller: &Caller, fields: ExtraFields) -> Result<Given, Refusal> {
    if !fields.has_files() {
        return Ok(fields.read());
    }
    let share = Share::Request(caller.merchant.id.clone());
    app.cpu.run(share, || fields.read()).await.map_err(|_| Refusal::busy())
}

/// Stores what is in the files, before the mail that has them: a file without a mail is forgotten within a day.
async fn store_files(app: &App, caller: &Caller, files: Vec<NewAttachment>) -> Result<(), Refusal> {
    if files.is_empty() {
        return Ok(());
    }
    let most = app.config.stored.attachments;
    match app.store.store_attachments(&caller.merchant.id, files, most).await? {
        AttachmentsStored::Now => Ok(()),
        AttachmentsStored::NoRoom => {
            let message = format!(
                "The attachments of all mails may have {most} bytes together; there is no room for these."
            );
            Err(Refusal::field("attachments", message))
        }
    }
}

/// A request whose fields are there and of the right type.
struct Draft {
    brand_id: String,
    template_id: String,
    identifier: String,
    user: Map<String, Value>,
    pass: PassRequest,
    schedule: Schedule,
    reply_to: Option<Mailbox>,
    extras: Extras,
    files: Vec<NewAttachment>,
}

impl Draft {
    fn of(request: MailRequest, given: Given, max_user: usize) -> Result<Self, Refusal> {
        let Given { reply_to, extras, files, mut faults } = given;
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
        let identifier = match user.remove(IDENTIFIER) {
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
        let schedule = schedule::read(request.send_at, request.expires_at, &mut faults);
        if faults.is_empty() {
            Ok(Self { brand_id, template_id, identifier, user, pass, schedule, reply_to, extras, files })
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
        let pass = self.pass.judge(app, caller, &self.brand_id, &self.identifier).await?;
        let (brand, member): (Brand, Member) = (document(&brand)?, document(&member)?);
        let version = pinned(app, template.version.as_deref()).await?;
        let pass_link = pass.as_ref().map(|pass| passes::link_to(app, &pass.id));
        self.user.insert(IDENTIFIER.to_owned(), Value::from(self.identifier.as_str()));
        let user = std::mem::take(&mut self.user);
        let of_merchant = caller.merchant.locale();
        let filling = Filling { user, link_to_pass: pass_link, of_merchant };
        let link_to = |path: &str| app.config.http.link_to(path);
        let filled = FilledMail::of(&version, LANE, (&brand, &member), filling, link_to);
        let FilledMail { values, consent, sender, reply_to } = filled;
        let values = Values::from(values);
        let missing = new_mail::missing(app, merchant, &version, &values).await?.map_err(|error| {
            Refusal::field("template_id", format!("The template cannot be rendered: {error}."))
        })?;
        if !missing.is_empty() {
            let faults = missing
                .iter()
                .map(|tag| fault(&format!("user.{tag}"), &format!("The template needs a value for {tag}.")));
            return Err(Refusal::invalid(faults.collect()));
        }
        let mail = new_mail(caller, &self, (sender, reply_to), &member, &version, values.as_json());
        Ok((consent.applied_to(mail), pass))
    }
}

fn new_mail(
    caller: &Caller,
    draft: &Draft,
    (sender, reply_to): (Mailbox, Option<Mailbox>),
    member: &Member,
    version: &TemplateVersion,
    values: &Value,
) -> NewMail {
    let mail = NewMail::new(MailDraft {
        merchant: caller.merchant.id.clone(),
        lane: LANE,
        template: version.pinned(),
        sender,
        reply_to: draft.reply_to.clone().or(reply_to),
        recipient: Mailbox { name: member.full_name(), email: member.email.clone() },
        values,
        origin: Origin { member: Some(draft.identifier.clone()), ..Origin::default() },
        schedule: draft.schedule,
        is_test: caller.merchant.is_test,
    });
    let extras = (!draft.extras.is_empty()).then(|| draft.extras.clone().into());
    NewMail { extras, ..mail }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        cpu_pool::Share,
        http::test_app::TestApp,
        jobs::{FanOutBatch, Job},
        store::MailFilter,
    };

    /// What each way of making a mail from the template `hello` puts into its subject.
    async fn languages(test: &TestApp) -> Vec<String> {
        let single = json!({"brand_id": "tea", "template_id": "hello", "user": {"identifier": "ann"}});
        let sent = test.json("POST /mail", &single).await;
        assert_eq!(sent.status, 200, "{sent:?}");
        let batch = json!({"brand_id": "tea", "template_id": "hello", "users": [{"identifier": "ann"}]});
        let preflight = test.json("POST /api/v1/batches/preflight", &batch).await.json();
        assert_eq!(preflight["missing_tags"], json!([]));
        let queued = test.json("POST /mails", &batch).await.json();
        let batch = queued["data"]["batch_id"].as_str().unwrap().parse().unwrap();
        FanOutBatch { batch }.run(&test.app).await.unwrap();
        let sent =
            test.json("POST /api/v1/templates/hello/test-send", &json!({"to": "ann@example.net"})).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        let mut shown = Vec::new();
        let filter = MailFilter { limit: 1_000, ..MailFilter::default() };
        for record in test.app.store.mails(&filter).await.unwrap() {
            let mail = test.app.store.mail_to_look_at(None, record.id).await.unwrap().unwrap();
            let content = test.app.templates.render_mail(|| Share::Own, &mail, None).await.unwrap().unwrap();
            shown.push(content.subject);
        }
        let preview = test.json("POST /api/v1/templates/hello/preview", &json!({})).await.json();
        assert_eq!(preview["missing"], json!([]));
        shown.push(preview["subject"].as_str().unwrap().to_owned());
        shown
    }

    #[tokio::test]
    async fn every_mail_has_a_language_whether_or_not_the_member_and_the_brand_name_one() {
        let test = TestApp::start("DE").await;
        let brand = json!({"name": "Tea", "sender": {"email": "hello@tea.example"}});
        test.put("brands/tea", brand.clone()).await;
        test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net"})).await;
        let mut template =
            json!({"brand_id": "tea", "title": "Hello", "subject": "{{language}}", "html": "<p>Hello</p>"});
        test.put("templates/hello", template.clone()).await;
        assert_eq!(languages(&test).await, ["de", "de", "[Test] de", "de"]);

        let test = TestApp::start("DE").await;
        let mut with_language = brand;
        with_language["language"] = json!("fr");
        template["language"] = json!("es");
        test.put("brands/tea", with_language).await;
        test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net"})).await;
        test.put("templates/hello", template).await;
        assert_eq!(languages(&test).await, ["fr", "fr", "[Test] fr", "fr"]);
    }

    #[tokio::test]
    async fn money_and_dates_are_written_as_where_the_merchant_is() {
        let test = TestApp::start("BR").await;
        test.put("brands/tea", json!({"name": "Tea", "sender": {"email": "hello@tea.example"}})).await;
        test.put("members/ann", json!({"brand_id": "tea", "email": "ann@example.net"})).await;
        let subject = "{{language}} {{money 1234.5 \"EUR\"}} {{date \"2026-03-01\"}}";
        let template =
            json!({"brand_id": "tea", "title": "Hello", "subject": subject, "html": "<p>Hello</p>"});
        test.put("templates/hello", template).await;
        let written = "pt € 1.234,50 1º de março de 2026";
        assert_eq!(languages(&test).await, [written, written, &format!("[Test] {written}"), written]);
    }
}
