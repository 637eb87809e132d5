//! Sending a mail of an order again, in the source document's order of work: load, audit, template, switched off,
//! state, needless, payment, definition, recipient, record, dispatch.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::{EmailView, LoadedOrder, OrderView, SendRequest};
use crate::{
    app::App,
    clock,
    http::{
        auth::Caller,
        body::JsonBody,
        error::{Refusal, json_answer},
        mailing::{document, version_called},
        new_mail,
    },
    jobs,
    mail::{Lane, MailDraft, MailId, MailState, Mailbox, NewMail, Origin},
    queue::QueuedJob,
    render::Values,
    shop::{
        ResourceKind, SingleLine, TemplateVersion,
        language::Language,
        order::{
            NotEligible, OrderTemplate, Payment, PaymentError, StoreSettings, TemplateError, WorkflowState,
            mail_values,
        },
    },
    store::{
        Answer, AuditEntry, KeyHolder, Moved, NewAuditEntry, NewOrderEmail, OrderStep, Precondition,
        Recorded, Recording, WorkflowRow, WorkflowStep,
    },
    telemetry::{
        METRICS,
        metrics::{LaneLabels, MailLabels},
    },
};

/// How often the rules are asked when the order changes meanwhile. Of equal requests at once the second answer decides.
const TRIES: usize = 3;
/// Why a mail was asked for, where the caller does not say.
const DEFAULT_REASON: &str = "MANUAL_RESEND";
/// The most characters of a template's name that the audit keeps.
const AUDITED: usize = 255;

/// A request that is well-formed.
pub(super) struct Resend<'a> {
    app: &'a App,
    caller: &'a Caller,
    id: &'a str,
    asked: SendRequest,
    audit: NewAuditEntry,
}

/// What a request comes to: the answer, and what must be recorded with it.
struct Decision {
    status: StatusCode,
    view: OrderView,
    step: Option<OrderStep>,
    mail: Option<NewMail>,
}

/// A decision that is recorded.
struct Done {
    answer: Answer,
    /// The mail that was recorded, and its job.
    job: Option<(MailId, QueuedJob)>,
}

impl<'a> Resend<'a> {
    pub(super) fn of(
        app: &'a App,
        caller: &'a Caller,
        id: &'a str,
        query: &[(String, String)],
        body: &JsonBody,
    ) -> Result<Self, Refusal> {
        let given = query.iter().find(|(name, reason)| name == "reason" && !reason.is_empty());
        let reason = given.map_or(DEFAULT_REASON, |(_, reason)| reason);
        let reason = SingleLine::<255>::new(reason.to_owned())
            .map_err(|why| refuse("reason_invalid", format!("The reason {why}")).about_form())?;
        // This family answers 400 to whatever is wrong with a body.
        let mut given: serde_json::Map<String, Value> =
            body.parse().map_err(|refusal| Refusal { status: StatusCode::BAD_REQUEST, ..refusal })?;
        let mut take = |field: &str| given.remove(field).filter(|value| !value.is_null());
        let asked = SendRequest { template: take("template"), to: take("to"), payment_id: take("paymentId") };
        let audit = audit(caller, id, asked.template.as_ref(), reason.as_str());
        Ok(Self { app, caller, id, asked, audit })
    }

    /// Does what was asked for, once the rules allow it.
    pub(super) async fn carry_out(&self, holder: Option<&KeyHolder>) -> Result<Answer, Refusal> {
        let found = self.load().await?;
        let Done { answer, job } = match self.decide(found, holder).await {
            Ok(done) => done,
            Err(refusal) => {
                let audited = self.app.store.audit_order(self.audit.clone()).await;
                // What became of the mail matters more than what became of the audit.
                if !refusal.status.is_server_error() {
                    audited?;
                }
                return Err(refusal);
            }
        };
        if let Some((mail, job)) = job {
            METRICS.recorded.get_or_create(&LaneLabels { lane: job.lane.as_str() }).inc();
            self.enqueue(mail, job, holder).await?;
        }
        Ok(answer)
    }

    /// Records what the rules say, with the audit; a refusal is left to be audited.
    async fn decide(&self, mut found: LoadedOrder, holder: Option<&KeyHolder>) -> Result<Done, Refusal> {
        for _ in 0..TRIES {
            let decision = self.judge(&found).await?;
            if let Some(done) = self.record(decision, holder).await? {
                return Ok(done);
            }
            let seen = std::mem::replace(&mut found, self.load().await?);
            found.yield_to_rivals(&seen);
        }
        Err(Refusal::unavailable())
    }

    async fn load(&self) -> Result<LoadedOrder, Refusal> {
        LoadedOrder::load(self.app, &self.caller.merchant.id, self.id).await
    }

    /// Asks the rules, in the source document's order.
    async fn judge(&self, found: &LoadedOrder) -> Result<Decision, Refusal> {
        let (order, now) = (&found.order, clock::now());
        let template = self.template()?;
        let settings = self.settings(found).await?;
        if template.is_switched_off(&settings) {
            return Ok(Decision { status: StatusCode::OK, view: found.view(), step: None, mail: None });
        }
        template.check(order, now)?;
        if template.is_needless(order, now) {
            return Ok(self.not_required(found, template));
        }
        let payment = template.payment(order, self.asked_payment()?)?;

        let merchant = &self.caller.merchant;
        let tag = order.language.as_ref().map(SingleLine::as_str);
        let language = tag
            .and_then(Language::from_tag)
            .unwrap_or_else(|| Language::for_merchant(merchant.language.as_deref(), &merchant.country));
        let definition = settings.definition(template, order, tag.unwrap_or(language.as_str()));
        let recipient = self.recipient(found)?;

        let version = self.version(definition, template, language).await?;
        let store_name = settings.sender.as_ref().and_then(|sender| sender.name.as_ref());
        let store_name = store_name.map_or(merchant.name.as_str(), SingleLine::as_str);
        let values = mail_values(self.id, order, payment, store_name, language);
        let values = Values::from(values);
        self.check_values(&version, &values).await?;
        let mail = self.mail(&settings, &version, recipient, values.as_json());
        Ok(self.send(found, template, definition, payment, mail))
    }

    fn template(&self) -> Result<OrderTemplate, Refusal> {
        let word = match &self.asked.template {
            Some(Value::String(word)) => word.as_str(),
            Some(_) => "",
            None => return Err(refuse("template_missing", "The template field is required")),
        };
        OrderTemplate::named(word).map_err(|error| match error {
            TemplateError::NotSupported => refuse("template_not_supported", error),
            TemplateError::Unknown => refuse("template_unknown", error),
        })
    }

    async fn settings(&self, found: &LoadedOrder) -> Result<StoreSettings, Refusal> {
        let Some(id) = &found.order.store_id else { return Ok(StoreSettings::default()) };
        let merchant = &self.caller.merchant.id;
        match self.app.store.resource(merchant, ResourceKind::Stores, id.as_str()).await? {
            Some(stored) => document(&stored),
            None => Ok(StoreSettings::default()),
        }
    }

    fn asked_payment(&self) -> Result<Option<&str>, Refusal> {
        match &self.asked.payment_id {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => Err(PaymentError::Unknown.into()),
        }
    }

    fn recipient(&self, found: &LoadedOrder) -> Result<Mailbox, Refusal> {
        let user = &found.order.end_user;
        match &self.asked.to {
            Some(to) => match to.as_str().map(str::parse) {
                Some(Ok(email)) => Ok(Mailbox { name: None, email }),
                Some(Err(error)) => {
                    Err(refuse("recipient_invalid", format!("The field to is no address: {error}")))
                }
                None => Err(refuse("recipient_invalid", "The field to must be a string")),
            },
            None => match &user.email {
                Some(email) => Ok(Mailbox { name: user.full_name(), email: email.clone() }),
                None => {
                    Err(refuse("recipient_missing", "The order has no address and the field to gives none"))
                }
            },
        }
    }

    /// The version behind a definition: the merchant's template of that name, else its template of the
    /// built-in mail's name, else the built-in one.
    async fn version(
        &self,
        definition: &str,
        template: OrderTemplate,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, Refusal> {
        let (merchant, builtin) = (&self.caller.merchant.id, template.builtin_mail());
        match self.app.store.newest_version_of(merchant, definition, builtin.as_str()).await? {
            Some(version) => version_called(self.app, &version).await,
            None => Ok(self.app.templates.builtin(builtin, language).await?),
        }
    }

    /// A merchant's own template may ask for what an order does not have.
    async fn check_values(&self, version: &Arc<TemplateVersion>, values: &Values) -> Result<(), Refusal> {
        let refuse = |why: String| {
            refuse(
                "template_incomplete",
                format!("The template {} cannot be filled: {why}", version.template),
            )
        };
        match new_mail::missing(self.app, &self.caller.merchant.id, version, values).await? {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => Err(refuse(format!("the order gives no value for {}", missing.join(", ")))),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    fn mail(
        &self,
        settings: &StoreSettings,
        version: &TemplateVersion,
        recipient: Mailbox,
        values: &Value,
    ) -> NewMail {
        let of_store = || settings.sender.clone().map(Mailbox::from);
        let sender = version.sender.clone().or_else(of_store);
        NewMail::new(MailDraft {
            merchant: self.caller.merchant.id.clone(),
            lane: Lane::Transactional,
            template: version.pinned(),
            sender: sender
                .unwrap_or_else(|| self.caller.merchant.sender_or(|| self.app.config.http.no_reply())),
            reply_to: None,
            recipient,
            values,
            origin: Origin { order: Some(self.id.to_owned()), ..Origin::default() },
        })
    }

    /// The mail goes out and its workflow waits for it.
    fn send(
        &self,
        found: &LoadedOrder,
        template: OrderTemplate,
        definition: &str,
        payment: Option<&Payment>,
        mail: NewMail,
    ) -> Decision {
        let email = NewOrderEmail {
            mail: mail.id,
            template,
            definition: definition.to_owned(),
            recipient: mail.recipient.email.clone(),
            payment: payment.map(|payment| payment.payment_id.as_str().to_owned()),
            created_at: mail.recorded_at,
        };
        let mut view = found.view();
        view.emails.push(EmailView::new(&email, MailState::Queued, None));
        let mut step = self.step(found);
        step.email = Some(email);
        if let Some(workflow) = template.workflow() {
            let becomes = WorkflowRow { workflow, state: WorkflowState::Pending, mail: Some(mail.id) };
            step.workflow = Some(found.moving(becomes));
            view.order.set_workflow(workflow, becomes.state);
        }
        Decision { status: StatusCode::ACCEPTED, view, step: Some(step), mail: Some(mail) }
    }

    /// No mail is needed any more: the workflow goes on without one.
    fn not_required(&self, found: &LoadedOrder, template: OrderTemplate) -> Decision {
        let (mut view, mut step) = (found.view(), self.step(found));
        if let Some(workflow) = template.workflow() {
            let becomes = WorkflowRow { workflow, state: WorkflowState::NotRequired, mail: None };
            step.workflow = Some(found.moving(becomes));
            view.order.set_workflow(workflow, becomes.state);
        }
        Decision { status: StatusCode::OK, view, step: Some(step), mail: None }
    }

    fn step(&self, found: &LoadedOrder) -> OrderStep {
        OrderStep {
            merchant: self.caller.merchant.id.clone(),
            order: self.id.to_owned(),
            was: found.record.document.body.clone(),
            document_updated_at: found.record.document.updated_at,
            workflow: None,
            email: None,
        }
    }

    /// Makes a decision true; `None` when the order is not any more what was judged.
    async fn record(&self, decision: Decision, holder: Option<&KeyHolder>) -> Result<Option<Done>, Refusal> {
        let Decision { status, view, step, mail } = decision;
        let answer = json_answer(status, &view);
        let job = mail.as_ref().map(|mail| (mail.id, jobs::send_mail_job(mail)));
        let recording = Recording {
            precondition: step.map(|step| Precondition::Order(Box::new(step))),
            mails: mail.into_iter().collect(),
            audit: Some(self.audit.clone()),
            answer: holder.map(|holder| (holder.clone(), answer.clone())),
            ..Recording::default()
        };
        Ok(match self.app.store.record(recording).await? {
            Recorded::Committed => Some(Done { answer, job }),
            Recorded::Outdated => None,
            Recorded::KeyLost => return Err(Refusal::key_lost()),
        })
    }

    /// Enqueues the mail. When the queue does not take it in time, the mail fails, unless a worker has it already.
    async fn enqueue(&self, mail: MailId, job: QueuedJob, holder: Option<&KeyHolder>) -> Result<(), Refusal> {
        let lane = job.lane.as_str();
        if self.app.enqueue_in_time(job).await {
            return Ok(());
        }
        tracing::warn!(%mail, "the queue does not take an order's mail");
        let why = "the queue did not take the mail in time";
        let withdrawn = self.app.store.withdraw_order_mail(mail, why, holder).await.map_err(|error| {
            tracing::error!(%mail, error = format!("{:#}", anyhow::Error::from(error)), "a mail could not be withdrawn");
            Refusal::outcome_unknown() // its rows are committed, and it is sent when the queue is back
        });
        match withdrawn? {
            Moved::Refused(_) | Moved::Unknown => Ok(()),
            Moved::Now(state) => {
                METRICS.settled.get_or_create(&MailLabels { lane, state: state.as_str() }).inc();
                let message = "The e-mail could not be dispatched; it failed and will not be sent.";
                Err(Refusal {
                    code: "dispatch_failed",
                    message: message.to_owned(),
                    ..Refusal::unavailable()
                })
            }
        }
    }
}

/// Who asks for which mail of an order, and why.
fn audit(caller: &Caller, order: &str, template: Option<&Value>, reason: &str) -> NewAuditEntry {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entry = AuditEntry {
        actor: caller.actor.to_string(),
        template: template.map(|value| word(value).chars().take(AUDITED).collect()),
        reason: reason.to_owned(),
        at: clock::now(),
    };
    NewAuditEntry { id: Uuid::now_v7(), merchant: caller.merchant.id.clone(), order: order.to_owned(), entry }
}

impl LoadedOrder {
    fn moving(&self, becomes: WorkflowRow) -> WorkflowStep {
        let was = self.record.workflows.iter().find(|row| row.workflow == becomes.workflow);
        WorkflowStep { was: was.copied(), becomes }
    }
}

/// A refusal of this family, its message made a sentence.
fn refuse(code: &'static str, why: impl std::fmt::Display) -> Refusal {
    let why = why.to_string();
    let mut rest = why.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    let message: String = first.into_iter().chain(rest).chain(['.']).collect();
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

impl From<NotEligible> for Refusal {
    fn from(error: NotEligible) -> Self {
        refuse("order_not_eligible", error)
    }
}

impl From<PaymentError> for Refusal {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Unknown => refuse("payment_unknown", error),
            PaymentError::NotEligible(error) => error.into(),
        }
    }
}
