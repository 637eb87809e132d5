//! How requests make mails: built-in mails from a draft, the check of what a template needs, and recording.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    error::{FieldError, Refusal},
    request_note::{note_mail, trace_parent},
};
use crate::{
    app::App,
    cpu_pool::Share,
    jobs,
    mail::{MailDraft, MailLane, MailState, Mailbox, MerchantId, NewMail, Origin, Schedule},
    render::{RenderError, Values},
    shop::{
        Look, TemplateVersion,
        builtin_mails::{self, BuiltinMail},
        consent::Consent,
        language::Language,
        mailing::Brand,
    },
    store::{LookUps, Merchant, Recorded, Recording},
    telemetry::METRICS,
};

/// A built-in mail that the rules allow.
pub(super) struct BuiltinMailDraft {
    pub(super) mail: BuiltinMail,
    pub(super) language: Language,
    pub(super) recipient: Mailbox,
    pub(super) values: Map<String, Value>,
    pub(super) origin: Origin,
    pub(super) schedule: Schedule,
    /// What it looks like.
    pub(super) brand: Option<Arc<Brand>>,
}

impl BuiltinMailDraft {
    /// The mail, from the merchant's own template where it has one for this built-in mail.
    ///
    /// # Errors
    /// 422 when that template cannot be rendered, or needs a value that this built-in mail does not have: the merchant must
    /// change the template. 429 when too many of the merchant's requests wait for a thread, 503 when the database does not
    /// answer: the same request may be made again after `Retry-After`.
    pub(super) async fn into_mail(
        self,
        app: &App,
        merchant: &Merchant,
        look_ups: &LookUps,
    ) -> Result<NewMail, Refusal> {
        let version = app.templates.own_or_builtin(look_ups, self.mail, self.language).await?;
        let mut values = self.values;
        let look = self.brand.as_ref().map(|brand| brand.look());
        let of_brand = self.brand.as_ref().filter(|_| merchant.sender.is_none());
        let of_brand = of_brand.map(|brand| Mailbox::from(brand.sender.clone()));
        values.extend(look.map(Look::mail_values).unwrap_or_default());
        if let Some(linked) = builtin_mails::linked_data(self.mail, self.language, &values) {
            values.insert("json_ld".to_owned(), linked.into());
        }
        let consent = Consent::of(&version, self.mail.class(version.class), None, self.language);
        consent.put_link(&mut values, |path| app.config.http.link_to(path));
        let values = Values::from(values);
        check_tags(app, merchant, &version, &values).await?;
        Ok(consent.applied_to(NewMail::new(MailDraft {
            merchant: merchant.id.clone(),
            lane: MailLane::Transactional,
            template: version.pinned(),
            sender: match version.sender.clone().or(of_brand) {
                Some(sender) => sender,
                None => sender_of(app, merchant).map_err(|why| Refusal::field("sender", why))?,
            },
            reply_to: look.and_then(Look::answers_to),
            recipient: self.recipient,
            values: values.as_json(),
            origin: self.origin,
            schedule: self.schedule,
            is_test: merchant.is_test,
        })))
    }
}

/// The sender of a merchant's mails that have no other.
///
/// # Errors
/// Why there is none, for people: the mail would go out from an address that does not exist.
pub(super) fn sender_of(app: &App, merchant: &Merchant) -> Result<Mailbox, &'static str> {
    let http = &app.config.http;
    if merchant.sender.is_none() && !http.has_no_reply() && !http.is_for_trying_out() {
        return Err(
            "the merchant has no sender, and `http.public_url` has no domain name to stand in for one; \
            set one with `postroom merchant update --sender`",
        );
    }
    Ok(merchant.sender_or(|| http.no_reply()))
}

async fn check_tags(
    app: &App,
    merchant: &Merchant,
    version: &Arc<TemplateVersion>,
    values: &Values,
) -> Result<(), Refusal> {
    let path = || format!("templates.{}", version.template);
    let missing = missing(app, &merchant.id, version, values)
        .await?
        .map_err(|error| Refusal::field(path(), format!("The template cannot be rendered: {error}.")))?;
    if missing.is_empty() {
        return Ok(());
    }
    let fault =
        |tag: &String| FieldError { path: path(), message: format!("The template needs a value for {tag}.") };
    Err(Refusal::invalid(missing.iter().map(fault).collect()))
}

/// Whether what the rules allowed was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsRecorded {
    Yes,
    /// On record, and not sent: the recipient is suppressed.
    Suppressed,
    /// What the rules saw has changed meanwhile: ask them again.
    Outdated,
}

/// Names the placeholders that a mail would miss with these values.
///
/// # Errors
/// 429 when too many of the merchant's requests wait for a thread; the inner error says what is wrong with the
/// template.
pub(super) async fn missing(
    app: &App,
    merchant: &MerchantId,
    version: &Arc<TemplateVersion>,
    values: &Values,
) -> Result<Result<Vec<String>, RenderError>, Refusal> {
    match app.templates.missing(|| Share::Request(merchant.clone()), version, values).await {
        Err(RenderError::Busy) => Err(Refusal::busy()),
        missing => Ok(missing),
    }
}

/// Records mails with all that belongs to them. A mail that is not [handed over](jobs::record) is enqueued then.
///
/// # Errors
/// 503 when the database cannot commit it: `outcome_unknown` when nobody knows whether it did, which the same request
/// with the same key finds out. 409 when its idempotency key is another request's by now; then nothing was recorded.
pub(super) async fn record(app: &Arc<App>, mut recording: Recording) -> Result<IsRecorded, Refusal> {
    if let Some(trace_parent) = trace_parent() {
        recording.mails.iter_mut().for_each(|mail| mail.trace_parent = Some(trace_parent.clone()));
    }
    let first = recording.mails.first().map(|mail| mail.id);
    // The scheduler enqueues those that wait for their time.
    let due_now = |mail: &NewMail| (!mail.is_scheduled()).then(|| jobs::send_mail_job(mail));
    let jobs: Vec<_> = recording.mails.iter().map(|mail| (mail.lane, mail.is_test, due_now(mail))).collect();
    let recorded = jobs::record(app, recording).await?;
    match recorded {
        Recorded::Committed | Recorded::Claimed { .. } => {
            first.into_iter().for_each(note_mail);
            let is_queued = recorded == Recorded::Committed;
            for (lane, _, due_now) in jobs {
                METRICS.count_recorded(lane, 1);
                due_now.filter(|_| is_queued).into_iter().for_each(|job| app.enqueue(job));
            }
            Ok(IsRecorded::Yes)
        }
        Recorded::Suppressed => {
            first.into_iter().for_each(note_mail);
            jobs.iter().for_each(|(lane, is_test, _)| count_suppressed(*lane, *is_test));
            Ok(IsRecorded::Suppressed)
        }
        Recorded::Outdated => Ok(IsRecorded::Outdated),
        Recorded::KeyLost => Err(Refusal::key_lost()),
    }
}

/// Counts a mail that is settled as soon as it is recorded.
pub(super) fn count_suppressed(lane: MailLane, is_test: bool) {
    METRICS.count_recorded(lane, 1);
    METRICS.count_settled(lane, MailState::Suppressed, is_test, 1);
}
