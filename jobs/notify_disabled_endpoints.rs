//! Notifies merchants by mail that postroom disabled one of their endpoints, because it answered 410 or took nothing for
//! five days.
//!
//! Comes by itself, every few minutes in every process; running twice is harmless: the mail and the note that it was
//! recorded are one transaction.

use async_trait::async_trait;
use serde_json::json;

use super::{
    job::{Job, Outcome},
    mail_job::send_mail_job,
};
use crate::{
    app::App,
    mail::{MailDraft, MailLane, Mailbox, NewMail, Origin, Schedule},
    shop::{builtin_mails::BuiltinMail, format::format_date},
    store::{DisabledEndpoint, Merchant, StoreError},
};

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
        for endpoint in disabled {
            let merchant = app.store.merchant(&endpoint.merchant).await?;
            let sender = merchant.as_ref().and_then(|merchant| merchant.sender.clone());
            let mail = match (&merchant, sender) {
                (Some(merchant), Some(sender)) => Some(mail(app, merchant, sender, &endpoint).await?),
                _ => None,
            };
            let job = mail.as_ref().map(send_mail_job);
            if app.store.record_notified(endpoint.id, mail).await? {
                tracing::warn!(
                    endpoint = %endpoint.id,
                    merchant = %endpoint.merchant,
                    reason = endpoint.reason,
                    by_mail = job.is_some(),
                    "an endpoint was disabled"
                );
                job.into_iter().for_each(|job| app.enqueue(job));
            }
        }
        Ok(Outcome::Done)
    }
}

/// The notice, from the merchant's sender to itself, in the merchant's language.
async fn mail(
    app: &App,
    merchant: &Merchant,
    sender: Mailbox,
    endpoint: &DisabledEndpoint,
) -> Result<NewMail, StoreError> {
    let language = merchant.locale().language_of_mail(None);
    let version = app.templates.builtin(BuiltinMail::EndpointDisabled, language).await?;
    let mut values = json!({
        "merchant_name": merchant.name,
        "url": endpoint.url,
        "endpoint_id": endpoint.id,
        "disabled_on": format_date(language, endpoint.at),
    });
    if endpoint.reason == "gone" {
        values["status"] = "410 Gone".into();
    }
    Ok(NewMail::new(MailDraft {
        merchant: merchant.id.clone(),
        lane: MailLane::Transactional,
        template: version.pinned(),
        recipient: sender.clone(),
        sender,
        reply_to: None,
        values: &values,
        origin: Origin::default(),
        schedule: Schedule::default(),
        is_test: merchant.is_test,
    }))
}
