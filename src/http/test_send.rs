//! `POST /api/v1/templates/{id}/test-send`: one mail from a template to one address, to look at it in a mail program.
//!
//! It goes the way of every mail and is one on record; its subject begins with `[Test]`. A merchant or token in test mode
//! delivers nothing, as ever.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::post,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, value::RawValue};
use utoipa::ToSchema;

use super::{
    auth::Caller,
    body::JsonBody,
    error::{FieldError, Refusal, json_answer},
    fields::read_user,
    idempotency::{Idempotency, IdempotencyKey},
    new_mail::{self, IsRecorded},
    stored::{document, pinned},
};
use crate::{
    app::App,
    mail::{Address, Extras, MailDraft, MailLane, Mailbox, NewMail, Origin, Schedule},
    render::Values,
    shop::{
        Ability, ResourceKind,
        filled_mail::{FilledMail, Filling},
        mailing::{Brand, Member},
    },
    store::{Recording, Stored},
};

/// The lane of the mail.
const LANE: MailLane = MailLane::Transactional;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/api/v1/templates/{id}/test-send", post(test_send))
}

/// Where a test goes, and what the template is filled with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestSendRequest {
    /// The address that gets it.
    #[schema(value_type = String, format = "email")]
    to: Address,
    /// Values by tag, at most `http.max_user` bytes of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    user: Option<Box<RawValue>>,
}

/// The mail that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct TestSendAnswer {
    /// The mail's id.
    id: String,
    /// `queued`.
    state: &'static str,
}

#[utoipa::path(post, path = "/api/v1/templates/{id}/test-send", tag = "resources", request_body = TestSendRequest,
    params(("id" = String, Path), IdempotencyKey),
    responses((status = 202, body = TestSendAnswer)))]
pub(super) async fn test_send(
    State(app): State<Arc<App>>,
    caller: Caller,
    idempotency: Idempotency,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.may(Ability::TemplatesStore)?;
    idempotency
        .run(&app, &caller, &body.0, async |holder| {
            let mail = mail(&app, &caller, &id, body.parse()?).await?;
            let view = TestSendAnswer { id: mail.id.to_string(), state: "queued" };
            let answer = json_answer(StatusCode::ACCEPTED, &view);
            let recording = Recording {
                mails: vec![mail],
                answer: holder.map(|holder| (holder, answer.clone())),
                refuses_suppressed: true,
                ..Recording::default()
            };
            match new_mail::record(&app, recording).await? {
                IsRecorded::Suppressed => {
                    Err(Refusal::field("to", "is suppressed: this mail is not sent to it"))
                }
                IsRecorded::Yes | IsRecorded::Outdated => Ok(answer),
            }
        })
        .await
}

async fn mail(app: &App, caller: &Caller, id: &str, request: TestSendRequest) -> Result<NewMail, Refusal> {
    let merchant = &caller.merchant;
    let missing = || Refusal::not_found("Template");
    let template =
        app.store.resource(&merchant.id, ResourceKind::Templates, id).await?.ok_or_else(missing)?;
    let Stored { brand_id, version, .. } = template;
    let brand = app.store.resource(&merchant.id, ResourceKind::Brands, &brand_id.unwrap_or_default()).await?;
    let brand: Brand =
        document(&brand.ok_or_else(|| Refusal::field("brand_id", "names no brand any more"))?)?;
    let version = pinned(app, version.as_deref()).await?;
    let user =
        request.user.map_or_else(|| Ok(Map::new()), |user| read_user(&user, app.config.http.max_user.0));
    let user = user.map_err(|message| Refusal::field("user", message))?;
    let member = Member::at(request.to.clone(), brand.name.clone());
    let filling = Filling { user, link_to_pass: None, of_merchant: merchant.locale() };
    let link_to = |path: &str| app.config.http.link_to(path);
    let filled = FilledMail::of(&version, LANE, (&brand, &member), filling, link_to);
    let FilledMail { values, consent, sender, reply_to } = filled;
    let values = Values::from(values);
    let missing = new_mail::missing(app, &merchant.id, &version, &values).await?;
    let missing = missing
        .map_err(|error| Refusal::field("user", format!("the template cannot be rendered: {error}")))?;
    if !missing.is_empty() {
        let fault = |tag: &String| FieldError {
            path: format!("user.{tag}"),
            message: "has no value, and the template needs one".to_owned(),
        };
        return Err(Refusal::invalid(missing.iter().map(fault).collect()));
    }
    let mail = NewMail::new(MailDraft {
        merchant: merchant.id.clone(),
        lane: LANE,
        template: version.pinned(),
        sender,
        reply_to,
        recipient: Mailbox { name: None, email: request.to },
        values: values.as_json(),
        origin: Origin::default(),
        schedule: Schedule::default(),
        is_test: merchant.is_test,
    });
    let extras = Some(Extras { test_send: true, ..Extras::default() }.into());
    Ok(consent.applied_to(NewMail { extras, ..mail }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::test_app::TestApp;

    const PATH: &str = "POST /api/v1/templates/hello/test-send";

    #[tokio::test]
    async fn a_test_goes_to_one_address_and_says_what_it_is() {
        let test = TestApp::start("DE").await;
        let template = json!({"brand_id": "tea", "title": "Hello", "subject": "Hello {{first_name}}",
            "html": "<p>{{brand_name}} {{voucher}} {{email}}</p>"});
        test.put_mailing(template).await;
        let refused = test.json(PATH, &json!({"to": "me@shop.example", "user": {"first_name": "Ann"}})).await;
        let errors = json!([{"path": "user.voucher", "message": "has no value, and the template needs one"}]);
        assert_eq!((refused.status, &refused.json()["errors"]), (422, &errors));
        let user = json!({"first_name": "Ann", "voucher": "TEA-10", "email": "x@evil.example"});
        let sent = test.json(PATH, &json!({"to": "Me@shop.example", "user": user})).await;
        assert_eq!((sent.status, &sent.json()["state"]), (202, &json!("queued")), "{sent:?}");
        let id = sent.json()["id"].as_str().unwrap().to_owned();
        let shown = test.get(&format!("/api/v1/mails/{id}")).await.json();
        assert_eq!((&shown["recipient"], &shown["template"]), (&json!("Me@shop.example"), &json!("hello")));
        let mail = test.app.store.mail_to_look_at(None, id.parse().unwrap()).await.unwrap().unwrap();
        let share = || crate::cpu_pool::Share::Own;
        let content = test.app.templates.render_mail(share, &mail, None).await.unwrap().unwrap();
        assert_eq!(content.subject, "[Test] Hello Ann");
        assert_eq!(content.html, "<p>Tea TEA-10 Me@shop.example</p>");
    }

    #[tokio::test]
    async fn a_test_is_refused_like_any_mail() {
        let test = TestApp::start("DE").await;
        let template = json!({"brand_id": "tea", "title": "Hello", "subject": "Hello", "html": "<p>{{money n \"EUR\"}}</p>"});
        test.put_mailing(template).await;
        for (body, path) in [
            (json!({}), "to"),
            (json!({"to": "nobody"}), "to"),
            (json!({"to": "a@b.example", "cc": "x"}), "cc"),
            (json!({"to": "a@b.example", "user": []}), "user"),
            (json!({"to": "nobody", "cc": "x", "user": {}}), "to"),
            (json!({"to": "a@b.example", "user": {"n": "many"}}), "user"),
        ] {
            let refused = test.json(PATH, &body).await;
            assert_eq!(
                (refused.status, &refused.json()["errors"][0]["path"]),
                (422, &json!(path)),
                "{body}: {refused:?}"
            );
        }
        test.add_token("tea", "reader", "templates.get,resources.read").await;
        let headers = [test.bearer("reader"), "content-type: application/json".to_owned()];
        let body = json!({"to": "a@b.example", "user": {"n": 1}}).to_string();
        assert_eq!(test.request(PATH, &headers.each_ref().map(String::as_str), &body).await.status, 403);
        assert_eq!(
            test.json("POST /api/v1/templates/no/test-send", &json!({"to": "a@b.example"})).await.status,
            404
        );
        let suppressed =
            test.json("PUT /api/v1/suppressions/a@b.example", &json!({"reason": "manual"})).await;
        assert!(matches!(suppressed.status, 200 | 201), "{suppressed:?}");
        let refused = test.json(PATH, &json!({"to": "a@b.example", "user": {"n": 1}})).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["path"]), (422, &json!("to")));
    }
}
