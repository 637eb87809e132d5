//! Notifies merchants by mail that postroom disabled one of their endpoints, because it answered 410 or took nothing for
//! five days.
//!
//! Comes by itself, every few minutes in every process; running twice is harmless: the mail and the note that it was
//! recorded are one transaction.

use async_trait::async_trait;
use serde_json::{json, value::to_raw_value};
use sha2::{Digest, Sha256};

use super::{Job, Outcome, bell_for_mail};
use crate::{
    app::App,
    clock,
    mail::{CrashPolicy, Lane, MailId, Mailbox, NewMail, Origin},
    render,
    shop::{TemplateClass, TemplateSource},
    store::{DisabledEndpoint, Merchant, NewTemplateVersion},
};

/// The name of the built-in template.
const TEMPLATE: &str = "endpoint_disabled";

/// Notifies of every disabled endpoint whose merchant was not notified yet.
pub struct NotifyDisabledEndpoints;

#[async_trait]
impl Job for NotifyDisabledEndpoints {
    const NAME: &'static str = "notify_disabled_endpoints";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let disabled = app.store.disabled_endpoints().await?;
        if disabled.is_empty() {
            return Ok(Outcome::NothingToDo);
        }
        let version = version(app)?;
        app.store.put_builtin_version(&version).await?;
        for endpoint in disabled {
            let merchant = app.store.merchant(&endpoint.merchant).await?;
            let sender = merchant.as_ref().and_then(|merchant| merchant.sender.clone());
            let mail = match (&merchant, sender) {
                (Some(merchant), Some(sender)) => Some(mail(merchant, sender, &endpoint, &version)?),
                _ => None,
            };
            let bell = mail.as_ref().map(|mail| bell_for_mail(mail.id, mail.lane, mail.merchant.clone()));
            if app.store.record_notified(endpoint.id, mail).await? {
                tracing::warn!(
                    endpoint = %endpoint.id,
                    merchant = %endpoint.merchant,
                    reason = endpoint.reason,
                    by_mail = bell.is_some(),
                    "an endpoint was disabled"
                );
                bell.into_iter().for_each(|bell| app.ring(bell));
            }
        }
        Ok(Outcome::Done)
    }
}

fn version(app: &App) -> anyhow::Result<NewTemplateVersion> {
    let source = TemplateSource {
        subject: include_str!("../templates/notices/endpoint_disabled.subject").trim_end().to_owned(),
        html: include_str!("../templates/notices/endpoint_disabled.html").to_owned(),
        text: Some(include_str!("../templates/notices/endpoint_disabled.txt").to_owned()),
    };
    let checked = render::check(&source, &app.config.render)
        .map_err(|faults| anyhow::anyhow!("the built-in letter is not sound: {faults:?}"))?;
    // Named by its content: a later version of postroom with other words stores another one.
    let content = [&checked.source.subject, &checked.source.html].map(String::as_str).concat();
    let digest: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(NewTemplateVersion {
        id: format!("{TEMPLATE}.{digest}"),
        template: TEMPLATE.to_owned(),
        source: checked.source,
        tags: checked.tags,
        sender: None,
        class: TemplateClass::Transactional,
        on_crash: CrashPolicy::Resend,
        language: Some("en".to_owned()),
    })
}

fn mail(
    merchant: &Merchant,
    sender: Mailbox,
    endpoint: &DisabledEndpoint,
    version: &NewTemplateVersion,
) -> anyhow::Result<NewMail> {
    let why = match endpoint.reason.as_str() {
        "gone" => "it answered 410 Gone, which asks us to stop",
        _ => "it has taken nothing for five days",
    };
    let values = json!({
        "merchant_name": merchant.name,
        "url": endpoint.url,
        "endpoint_id": endpoint.id,
        "why": why,
        "disabled_at": endpoint.at,
    });
    let now = clock::now();
    let id = MailId::new();
    Ok(NewMail {
        id,
        merchant: merchant.id.clone(),
        lane: Lane::Transactional,
        template_version: version.id.clone(),
        template: TEMPLATE.to_owned(),
        message_id: NewMail::message_id_for(id, &sender.email),
        recipient: sender.clone(),
        sender,
        reply_to: None,
        values: to_raw_value(&values)?.into(),
        origin: Origin::default(),
        on_crash: CrashPolicy::Resend,
        recorded_at: now,
        due_at: now,
    })
}
