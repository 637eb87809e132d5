//! What the rules say about a request to send a mail of an order again, in the source document's order: template,
//! switched off, state, needless, payment, definition, recipient.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    loaded::LoadedOrder,
    refusals::refuse,
    request::{FORCE, Resend},
    view::{EmailView, OrderView},
};
use crate::{
    clock,
    http::{
        error::Refusal,
        new_mail,
        stored::{document, version_called},
    },
    mail::{MailDraft, MailLane, MailState, Mailbox, NewMail, Origin, Schedule, Timestamp},
    render::Values,
    shop::{
        ResourceKind, SingleLine, TemplateClass, TemplateVersion,
        consent::Consent,
        language::Language,
        order::{OrderTemplate, Payment, StoreSettings, WorkflowState, mail_values},
    },
    store::{NewOrderEmail, OrderEmail, OrderStep, WorkflowRow, WorkflowStep},
};

/// What a request comes to: the answer, and what must be recorded with it.
pub(super) struct Decision {
    pub(super) status: StatusCode,
    pub(super) view: OrderView,
    pub(super) step: Option<OrderStep>,
    pub(super) mail: Option<NewMail>,
}

impl Resend<'_> {
    /// Asks the rules.
    pub(super) async fn judge(&self, found: &LoadedOrder) -> Result<Decision, Refusal> {
        let (order, now) = (&found.order, clock::now());
        let template = self.template()?;
        let settings = self.settings(found).await?;
        if settings.switches_off(template) {
            return Ok(Decision { status: StatusCode::OK, view: found.view(), step: None, mail: None });
        }
        template.check(order, now)?;
        if template.is_needless(order, now) {
            return Ok(self.not_required(found, template));
        }
        let payment = template.payment(order, self.asked_payment()?)?;

        let merchant = &self.caller.merchant;
        let tag = order.language.as_ref().map(SingleLine::as_str);
        let language = merchant.locale().language_of_mail(tag);
        let definition = settings.definition(template, order, tag.unwrap_or(language.as_str()));
        let recipient = self.recipient(found)?;
        let quiet_since = self.quiet_since(&settings, now);
        self.check_cool_down(&settings, found, template, &recipient, now)?;

        let version = self.version(found, definition, template, language).await?;
        let store_name = settings.sender.as_ref().and_then(|sender| sender.name.as_ref());
        let store_name = store_name.map_or(merchant.name.as_str(), SingleLine::as_str);
        let mut values = mail_values(self.id, order, payment, store_name, settings.look(), language);
        // No advertising, whatever its template says.
        let consent = Consent::of(&version, TemplateClass::Transactional, None, language);
        if let Some(values) = values.as_object_mut() {
            consent.put_link(values, |path| self.app.config.http.link_to(path));
        }
        let values = Values::from(values);
        self.check_values(&version, &values).await?;
        let mail = consent.applied_to(self.mail(&settings, &version, recipient, values.as_json())?);
        let mut decision = self.send(found, template, definition, payment, mail);
        decision.step.iter_mut().for_each(|step| step.quiet_since = quiet_since);
        Ok(decision)
    }

    async fn settings(&self, found: &LoadedOrder) -> Result<StoreSettings, Refusal> {
        let Some(id) = &found.order.store_id else { return Ok(StoreSettings::default()) };
        match found.look_ups.document(ResourceKind::Stores, id.as_str()).await? {
            Some(stored) => document(&stored),
            None => Ok(StoreSettings::default()),
        }
    }

    /// Since when no like mail may have been recorded, where the store has a cool-down that is not overridden.
    fn quiet_since(&self, settings: &StoreSettings, now: Timestamp) -> Option<Timestamp> {
        let cooldown = settings.resend_cooldown.filter(|_| !self.audit.entry.forced);
        cooldown.map(|cooldown| now - cooldown.length())
    }

    /// The same mail to the same recipient has to wait until the store's cool-down is over.
    fn check_cool_down(
        &self,
        settings: &StoreSettings,
        found: &LoadedOrder,
        template: OrderTemplate,
        recipient: &Mailbox,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some((since, cooldown)) = self.quiet_since(settings, now).zip(settings.resend_cooldown) else {
            return Ok(());
        };
        let key = recipient.email.search_key();
        let is_like_it = |email: &&OrderEmail| {
            email.entry.template == template
                && email.is_test == self.caller.merchant.is_test
                && email.entry.recipient.search_key() == key
                && email.entry.created_at > since
                && email.state.went_or_may_go() // what was not sent keeps nothing waiting
        };
        match found.record.emails.iter().filter(is_like_it).map(|email| email.entry.created_at).max() {
            None => Ok(()),
            Some(last) => {
                let again = last + cooldown.length();
                let why = format!(
                    "{template} was sent to this recipient at {last}; it may be sent again at {again}, or with the header {FORCE}: true"
                );
                Err(refuse("resend_cooldown", why))
            }
        }
    }

    /// The version behind a definition: the merchant's template of that name, else its template of the
    /// built-in mail's name, else the built-in one.
    async fn version(
        &self,
        found: &LoadedOrder,
        definition: &str,
        template: OrderTemplate,
        language: Language,
    ) -> Result<Arc<TemplateVersion>, Refusal> {
        let builtin = template.builtin_mail();
        match found.look_ups.newest_version_of(&[definition, builtin.as_str()]).await? {
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
    ) -> Result<NewMail, Refusal> {
        let of_store = || settings.sender.clone().map(Mailbox::from);
        let sender = match version.sender.clone().or_else(of_store) {
            Some(sender) => sender,
            None => new_mail::sender_of(self.app, &self.caller.merchant)
                .map_err(|why| refuse("sender_missing", why))?,
        };
        Ok(NewMail::new(MailDraft {
            merchant: self.caller.merchant.id.clone(),
            lane: MailLane::Transactional,
            template: version.pinned(),
            sender,
            reply_to: settings.look().answers_to(),
            recipient,
            values,
            origin: Origin { order: Some(self.id.to_owned()), ..Origin::default() },
            schedule: Schedule::default(),
            is_test: self.caller.merchant.is_test,
        }))
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
        view.emails.push(EmailView::new(&email, MailState::Queued, None, mail.is_test));
        let mut step = self.step(found);
        step.email = Some(email);
        if let Some(workflow) = template.workflow() {
            let becomes = WorkflowRow { workflow, state: WorkflowState::Pending, mail: Some(mail.id) };
            step.workflow = self.moving(found, becomes);
            view.order.set_workflow(workflow, becomes.state);
        }
        Decision { status: StatusCode::ACCEPTED, view, step: Some(step), mail: Some(mail) }
    }

    /// No mail is needed any more: the workflow goes on without one.
    fn not_required(&self, found: &LoadedOrder, template: OrderTemplate) -> Decision {
        let (mut view, mut step) = (found.view(), self.step(found));
        if let Some(workflow) = template.workflow() {
            let becomes = WorkflowRow { workflow, state: WorkflowState::NotRequired, mail: None };
            step.workflow = self.moving(found, becomes);
            view.order.set_workflow(workflow, becomes.state);
        }
        Decision { status: StatusCode::OK, view, step: Some(step), mail: None }
    }

    /// The move of a workflow. What a live merchant only tries out moves none: the answer alone shows where it would be.
    fn moving(&self, found: &LoadedOrder, becomes: WorkflowRow) -> Option<WorkflowStep> {
        (!self.caller.is_trying_out).then(|| found.moving(becomes))
    }

    fn step(&self, found: &LoadedOrder) -> OrderStep {
        OrderStep {
            merchant: self.caller.merchant.id.clone(),
            order: self.id.to_owned(),
            was: found.record.document.body.clone(),
            document_updated_at: found.record.document.updated_at,
            workflow: None,
            email: None,
            is_test: self.caller.merchant.is_test,
            quiet_since: None,
        }
    }
}

impl LoadedOrder {
    fn moving(&self, becomes: WorkflowRow) -> WorkflowStep {
        let was = self.record.workflows.iter().find(|row| row.workflow == becomes.workflow);
        WorkflowStep { was: was.copied(), becomes }
    }
}
