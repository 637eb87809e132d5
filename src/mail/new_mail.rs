//! One message to one recipient: before it is recorded, and as a worker claims it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    Address, BatchId, Extras, MailId, MailLane, Mailbox, MerchantId, Schedule, SuppressionReason, Timestamp,
    TraceParent, Unsubscribe, UnsubscribeToken, state::closed_set,
};
use crate::clock;

closed_set! {
    /// What to do with a mail when a crash left it unknown whether the relay took it.
    #[derive(Default)]
    CrashPolicy {
        /// Send it again with the same Message-ID: rather twice than never.
        #[default]
        Resend = "resend",
        /// Hold it for a person: rather late than twice.
        Hold = "hold",
    }
}

/// What a mail is about, so that it can be found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The member it is for (mailing family).
    pub member: Option<String>,
    /// The order it is about.
    pub order: Option<String>,
    /// The abandoned cart it is about.
    pub cart: Option<String>,
    /// The subscription it is about.
    pub subscription: Option<String>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
}

/// The version of a template that a mail pins.
#[derive(Clone, Debug)]
pub struct PinnedTemplate {
    /// The id of the version.
    pub version: String,
    /// The name of the template, for people.
    pub name: String,
    /// What to do when the outcome of a mail is unknown.
    pub on_crash: CrashPolicy,
}

/// What a mail is made from; [`NewMail::new`] adds the rest.
#[derive(Debug)]
pub struct MailDraft<'a> {
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// The lane it travels in.
    pub lane: MailLane,
    /// The template it is written from.
    pub template: PinnedTemplate,
    /// The `From` mailbox.
    pub sender: Mailbox,
    /// The `Reply-To` mailbox.
    pub reply_to: Option<Mailbox>,
    /// The `To` mailbox.
    pub recipient: Mailbox,
    /// What the template is filled with: a JSON object.
    pub values: &'a Value,
    /// What it is about.
    pub origin: Origin,
    /// When it may go, and until when.
    pub schedule: Schedule,
    /// Whether it is only tried out: it goes to the sandbox and never to a relay.
    pub is_test: bool,
}

/// What a mail was asked for, as it is when the mail is claimed: its reason is judged by that once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// An abandoned cart.
    Cart {
        /// The cart's document, where it is still there.
        document: Option<String>,
    },
    /// A subscription whose cart link it carries.
    Subscription {
        /// The subscription's document, where it is still there.
        document: Option<String>,
        /// The merchant's country, ISO 3166-1 alpha-2.
        country: String,
    },
    /// An order.
    Order {
        /// The order's document, where it is still there.
        document: Option<String>,
        /// The name of the order's template.
        template: String,
    },
}

/// A valid mail, ready to be recorded. Everything that ends up in its bytes is fixed here, so rendering it twice gives
/// the same bytes.
#[derive(Clone, Debug)]
pub struct NewMail {
    /// Its id.
    pub id: MailId,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// The lane it travels in.
    pub lane: MailLane,
    /// The version of the template, pinned.
    pub template_version: String,
    /// The name of the template, for people.
    pub template: String,
    /// The `From` mailbox.
    pub sender: Mailbox,
    /// The `Reply-To` mailbox.
    pub reply_to: Option<Mailbox>,
    /// The `To` mailbox.
    pub recipient: Mailbox,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// What the template is filled with: a JSON object.
    pub values: Arc<RawValue>,
    /// What it is about.
    pub origin: Origin,
    /// What to do when its outcome is unknown.
    pub on_crash: CrashPolicy,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Not before this time.
    pub due_at: Timestamp,
    /// What the merchant said of its time.
    pub schedule: Schedule,
    /// Whether it goes to the sandbox and never to a relay.
    pub is_test: bool,
    /// What its request gave it beside the values; `None`: nothing.
    pub extras: Option<Box<Extras>>,
    /// The trace of the request that it came of.
    pub trace_parent: Option<TraceParent>,
    /// Whether it is advertising.
    pub is_promotional: bool,
    /// The unsubscribe link that it carries.
    pub unsubscribe: Option<Unsubscribe>,
}

/// What the statement that claims a mail says of it beyond what the mail was recorded with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// What it was asked for; `None` where it depends on nothing.
    pub facts: Option<Facts>,
    /// Whether a relay said before that there is no such address.
    pub was_bad_address: bool,
    /// The token of its recipient's unsubscribe link, which may be older than the mail.
    pub unsubscribe_token: Option<UnsubscribeToken>,
}

/// A recorded mail that this worker has claimed.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its id.
    pub id: MailId,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// The lane it travels in.
    pub lane: MailLane,
    /// The version of the template, pinned.
    pub template_version: String,
    /// The `From` mailbox.
    pub sender: Mailbox,
    /// The `Reply-To` mailbox.
    pub reply_to: Option<Mailbox>,
    /// The `To` mailbox.
    pub recipient: Mailbox,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// What the template is filled with: the text of a JSON object.
    pub values: String,
    /// The order it is about.
    pub order: Option<String>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// What to do when its outcome is unknown.
    pub on_crash: CrashPolicy,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// What the merchant said of its time.
    pub schedule: Schedule,
    /// Whether it goes to the sandbox and never to a relay.
    pub is_test: bool,
    /// What it was asked for, as it was when it was claimed; `None` where it depends on nothing.
    pub facts: Option<Facts>,
    /// What its request gave it beside the values; `None`: nothing.
    pub extras: Option<Box<Extras>>,
    /// The number of this attempt, from 1. With the worker's id it fences the claim.
    pub attempt: u32,
    /// How often it was sent again although a relay may have had it, or given back after a fault.
    pub rescues: u32,
    /// The trace of the request that it came of.
    pub trace_parent: Option<TraceParent>,
    /// Whether it is advertising: it says in its headers how to unsubscribe.
    pub is_promotional: bool,
    /// The unsubscribe link that it carries.
    pub unsubscribe: Option<Unsubscribe>,
    /// Why its recipient gets no such mail, where a suppression is in force.
    pub suppressed: Option<SuppressionReason>,
    /// Whether a relay said before that there is no such address.
    pub was_bad_address: bool,
}

impl NewMail {
    /// Makes a mail that is recorded now and due now or at its time, with an id and a `Message-ID` of its own.
    pub fn new(draft: MailDraft<'_>) -> Self {
        let MailDraft {
            merchant,
            lane,
            template,
            sender,
            reply_to,
            recipient,
            values,
            origin,
            schedule,
            is_test,
        } = draft;
        let (id, now) = (MailId::new(), clock::now());
        #[expect(clippy::expect_used, reason = "a JSON value has string keys: writing it cannot fail")]
        let values = serde_json::value::to_raw_value(values).expect("a JSON value is writable").into();
        Self {
            id,
            merchant,
            lane,
            template_version: template.version,
            template: template.name,
            message_id: Self::message_id_for(id, &sender.email),
            sender,
            reply_to,
            recipient,
            values,
            origin,
            on_crash: template.on_crash,
            recorded_at: now,
            due_at: schedule.send_at.unwrap_or(now),
            schedule,
            is_test,
            extras: None,
            trace_parent: None,
            is_promotional: false,
            unsubscribe: None,
        }
    }

    /// Whether it waits for a time: then nobody needs to be woken for it now.
    pub fn is_scheduled(&self) -> bool {
        self.due_at > self.recorded_at
    }

    /// The mail for the worker that has it from its recording on: what a claim would return, for the first attempt, less what
    /// it [gains](Mail::with_claim_facts) from the database.
    pub fn as_claimed(&self) -> Mail {
        Mail {
            id: self.id,
            merchant: self.merchant.clone(),
            lane: self.lane,
            template_version: self.template_version.clone(),
            sender: self.sender.clone(),
            reply_to: self.reply_to.clone(),
            recipient: self.recipient.clone(),
            message_id: self.message_id.clone(),
            values: self.values.get().to_owned(),
            order: self.origin.order.clone(),
            batch: self.origin.batch,
            on_crash: self.on_crash,
            recorded_at: self.recorded_at,
            schedule: self.schedule,
            is_test: self.is_test,
            facts: None,
            extras: self.extras.clone(),
            attempt: 1,
            rescues: 0,
            trace_parent: self.trace_parent.clone(),
            is_promotional: self.is_promotional,
            unsubscribe: self.unsubscribe.clone(),
            suppressed: None,
            was_bad_address: false,
        }
    }

    /// The `Message-ID` of a mail, at the sender's domain so that SPF-minded filters see one domain.
    fn message_id_for(id: MailId, sender: &Address) -> String {
        format!("{id}@{}", sender.domain())
    }
}

impl Mail {
    /// Takes over what the statement that claimed it says.
    #[must_use]
    pub fn with_claim_facts(self, claim_facts: ClaimFacts) -> Self {
        let ClaimFacts { facts, was_bad_address, unsubscribe_token } = claim_facts;
        let unsubscribe = self.unsubscribe.zip(unsubscribe_token);
        let unsubscribe = unsubscribe.map(|(link, token)| Unsubscribe { token, ..link });
        Self { facts, was_bad_address, unsubscribe, ..self }
    }

    /// When it was meant to go: its `Date`, and what its age is counted from.
    pub fn meant_for(&self) -> Timestamp {
        self.schedule.send_at.unwrap_or(self.recorded_at)
    }
}
