//! Events: the closed set of them, and the body of each.
//!
//! A body is `{"type", "timestamp", "data"}`. The data is a [`MailSubject`] or a [`BatchSubject`]; the examples in the
//! API are made of the same structs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::mail::{CancelReason, MailState, SuppressionReason, SuppressionScope, Timestamp, closed_set};

closed_set! {
    /// Something that happened and that a merchant can subscribe to.
    EventKind {
        /// A relay took a mail.
        EmailSent = "email.sent",
        /// A mail was refused for good, or is out of attempts.
        EmailFailed = "email.failed",
        /// An attempt failed for now and another one follows.
        EmailDeferred = "email.deferred",
        /// A mail came back after the relay took it.
        EmailBounced = "email.bounced",
        /// A mail was not sent because its recipient is on the suppression list.
        EmailSuppressed = "email.suppressed",
        /// A recipient unsubscribed from promotional mails.
        EmailUnsubscribed = "email.unsubscribed",
        /// A mail was cancelled: by somebody, or because what it was asked for is not so any more.
        EmailCancelled = "email.cancelled",
        /// A mail's time was over before a relay took it.
        EmailExpired = "email.expired",
        /// A person has to decide about a mail.
        EmailHeld = "email.held",
        /// A reminder of an abandoned cart was sent.
        ReminderSent = "reminder.sent",
        /// An order's mail was sent.
        OrderEmailCompleted = "order.email.completed",
        /// An order's mail failed.
        OrderEmailFailed = "order.email.failed",
        /// Every mail of a batch is settled.
        BatchFinished = "batch.finished",
        /// A batch could not be run, or was cancelled.
        BatchFailed = "batch.failed",
        /// Somebody tries an endpoint out.
        WebhookTest = "webhook.test",
    }
}

impl EventKind {
    /// What it means, for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::EmailSent => "A relay took a mail.",
            Self::EmailFailed => "A mail was refused for good, or is out of attempts.",
            Self::EmailDeferred => "An attempt failed for now and another one follows.",
            Self::EmailBounced => "A mail came back after the relay took it.",
            Self::EmailSuppressed => "A mail was not sent: its recipient is on the suppression list.",
            Self::EmailUnsubscribed => "A recipient unsubscribed from promotional mails.",
            Self::EmailCancelled => {
                "A mail was cancelled: by somebody, or because what it was asked for is not so any more."
            }
            Self::EmailExpired => "A mail was not sent: its time was over before a relay took it.",
            Self::EmailHeld => "A mail waits for the decision of a person.",
            Self::ReminderSent => "A reminder of an abandoned cart was sent.",
            Self::OrderEmailCompleted => "An order's mail was sent.",
            Self::OrderEmailFailed => "An order's mail failed.",
            Self::BatchFinished => "Every mail of a batch is settled.",
            Self::BatchFailed => "A batch could not be run, or was cancelled.",
            Self::WebhookTest => "Somebody tries an endpoint out.",
        }
    }

    /// What a mail that came into `state` is an event of; nothing for most states.
    pub fn of_mail(state: MailState, is_about_cart: bool, is_about_order: bool) -> Vec<Self> {
        let (always, cart, order) = match state {
            MailState::Sent => (Self::EmailSent, Some(Self::ReminderSent), Some(Self::OrderEmailCompleted)),
            MailState::Failed => (Self::EmailFailed, None, Some(Self::OrderEmailFailed)),
            MailState::Expired => (Self::EmailExpired, None, Some(Self::OrderEmailFailed)),
            MailState::Cancelled => (Self::EmailCancelled, None, Some(Self::OrderEmailFailed)),
            MailState::Held => (Self::EmailHeld, None, None),
            MailState::Deferred => (Self::EmailDeferred, None, None),
            MailState::Bounced => (Self::EmailBounced, None, None),
            MailState::Suppressed => (Self::EmailSuppressed, None, Some(Self::OrderEmailFailed)),
            MailState::Queued | MailState::Sending => return Vec::new(),
        };
        let cart = cart.filter(|_| is_about_cart);
        let order = order.filter(|_| is_about_order);
        [Some(always), cart, order].into_iter().flatten().collect()
    }

    /// A body as this event would send it.
    pub fn example(self) -> Value {
        let at = Timestamp(1_795_248_000_000);
        let body = match self {
            Self::WebhookTest => body(self, at, &TestSubject::default()),
            Self::BatchFinished | Self::BatchFailed => body(self, at, &BatchSubject::example(self)),
            Self::EmailUnsubscribed => {
                body(self, at, &UnsubscribeSubject::of("ann@example.net".to_owned(), at))
            }
            _ => body(self, at, &MailSubject::example(self)),
        };
        serde_json::from_str(&body).unwrap_or_default()
    }
}

/// Writes an event's body.
pub fn body(kind: EventKind, at: Timestamp, subject: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Body<'a, T> {
        #[serde(rename = "type")]
        kind: EventKind,
        timestamp: Timestamp,
        data: &'a T,
    }
    serde_json::to_string(&Body { kind, timestamp: at, data: subject }).unwrap_or_default()
}

/// What an event about a mail says of it.
#[derive(Clone, Debug, Serialize)]
pub struct MailSubject {
    /// The mail's id.
    pub id: String,
    /// The name of its template.
    pub template: String,
    /// Whom it is for.
    pub recipient: String,
    /// Where it is on its way now.
    pub state: MailState,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// The id that the relay gave it.
    pub provider_id: Option<String>,
    /// The last route.
    pub route: Option<String>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// The relay's last reply code.
    pub code: Option<u16>,
    /// The relay's last enhanced code.
    pub enhanced_code: Option<String>,
    /// The relay's last words.
    pub reply: Option<String>,
    /// What they mean: `bad_address`, `greylist`, ….
    pub class: Option<&'static str>,
    /// What had changed when its reason was asked again, where it was cancelled for that.
    pub cancel_reason: Option<CancelReason>,
    /// Whether it is only tried out: no relay has it.
    pub test: bool,
    /// What its request called it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What its request gave to have it back.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The member it is for.
    pub member: Option<String>,
    /// The order it is about.
    pub order: Option<String>,
    /// The abandoned cart it is about.
    pub cart: Option<String>,
    /// The subscription it is about.
    pub subscription: Option<String>,
    /// The batch it belongs to.
    pub batch: Option<String>,
}

impl MailSubject {
    fn example(kind: EventKind) -> Self {
        let (state, code, enhanced_code, reply) = match kind {
            EventKind::EmailFailed | EventKind::OrderEmailFailed => {
                (MailState::Failed, Some(550), Some("5.1.1"), Some("No such user here"))
            }
            EventKind::EmailDeferred => {
                (MailState::Deferred, Some(451), Some("4.7.1"), Some("Greylisted, try again later"))
            }
            EventKind::EmailBounced => {
                (MailState::Bounced, Some(552), Some("5.2.2"), Some("The mailbox is full"))
            }
            EventKind::EmailSuppressed => (MailState::Suppressed, None, None, None),
            EventKind::EmailCancelled => (MailState::Cancelled, None, None, None),
            EventKind::EmailExpired => (MailState::Expired, None, None, None),
            EventKind::EmailHeld => (MailState::Held, None, None, Some("The relay did not answer in time")),
            _ => (MailState::Sent, Some(250), Some("2.0.0"), Some("Ok: queued as 4XyZ12")),
        };
        let is_sent = state == MailState::Sent;
        let was_stopped = matches!(state, MailState::Suppressed | MailState::Cancelled | MailState::Expired);
        let about = |wanted: &[EventKind], id: &str| wanted.contains(&kind).then(|| id.to_owned());
        let order = about(&[EventKind::OrderEmailCompleted, EventKind::OrderEmailFailed], "ord_1001");
        let cart = about(&[EventKind::ReminderSent, EventKind::EmailCancelled], "cart_77");
        let template = match (&order, &cart) {
            (Some(_), _) => "order_confirmation",
            (_, Some(_)) => "abandoned_cart_reminder",
            _ => "welcome",
        };
        Self {
            id: "019a8f2e-5c1b-7d3a-9c55-2f6f1d0c8e11".to_owned(),
            template: template.to_owned(),
            recipient: "ann@example.net".to_owned(),
            state,
            message_id: "019a8f2e-5c1b-7d3a-9c55-2f6f1d0c8e11@shop.example".to_owned(),
            provider_id: is_sent.then(|| "4XyZ12".to_owned()),
            route: (!was_stopped).then(|| "main".to_owned()),
            attempts: u32::from(!was_stopped),
            code,
            enhanced_code: enhanced_code.map(str::to_owned),
            reply: reply.map(str::to_owned),
            class: code.map(|_| match state {
                MailState::Failed => "bad_address",
                MailState::Deferred => "greylist",
                MailState::Bounced => "mailbox_full",
                _ => "accepted",
            }),
            cancel_reason: (state == MailState::Cancelled).then_some(CancelReason::CartRecovered),
            test: false,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            member: (template == "welcome").then(|| "m_42".to_owned()),
            order,
            cart,
            subscription: None,
            batch: None,
        }
    }
}

/// What an event about a batch says of it.
#[derive(Clone, Debug, Serialize)]
pub struct BatchSubject {
    /// The batch's id.
    pub id: String,
    /// `finished` or `failed`.
    pub status: &'static str,
    /// How many mails it has.
    pub mails: u64,
    /// How many of them a relay took.
    pub sent: u64,
    /// How many of them did not go out.
    pub failed: u64,
    /// Where its result is.
    pub link: Option<String>,
    /// Why it could not be run.
    pub error: Option<String>,
    /// Whether it is only tried out: its mails went to the sandbox and never to a relay. Absent where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
}

impl BatchSubject {
    fn example(kind: EventKind) -> Self {
        let id = "019a8f2e-6a90-7c41-8d11-7be2f0a94c02";
        let is_finished = kind == EventKind::BatchFinished;
        Self {
            id: id.to_owned(),
            status: if is_finished { "finished" } else { "failed" },
            mails: 1_000,
            sent: if is_finished { 997 } else { 0 },
            failed: if is_finished { 3 } else { 1_000 },
            link: is_finished.then(|| format!("https://postroom.example/webhooks/mails/{id}")),
            error: (!is_finished).then(|| "The batch was cancelled.".to_owned()),
            test: false,
        }
    }
}

/// What the event says of a recipient who unsubscribed.
#[derive(Clone, Debug, Serialize)]
pub struct UnsubscribeSubject {
    /// Whose address is suppressed, in lower case.
    pub recipient: String,
    /// Why.
    pub reason: SuppressionReason,
    /// Which mails it does not get any more.
    pub scope: SuppressionScope,
    /// When.
    pub unsubscribed_at: Timestamp,
}

impl UnsubscribeSubject {
    /// What is said of this address.
    pub const fn of(recipient: String, at: Timestamp) -> Self {
        let reason = SuppressionReason::Unsubscribed;
        Self { recipient, reason, scope: reason.usual_scope(), unsubscribed_at: at }
    }
}

/// What a test says.
#[derive(Clone, Debug, Serialize)]
pub struct TestSubject {
    /// For people.
    pub message: &'static str,
}

impl Default for TestSubject {
    fn default() -> Self {
        Self { message: "This is a test: your endpoint works when it answers 2xx." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_an_example_of_its_own_kind() {
        for &kind in EventKind::ALL {
            let example = kind.example();
            assert_eq!(example["type"], kind.as_str());
            assert!(example["timestamp"].as_str().unwrap().ends_with('Z'), "{example}");
            assert!(example["data"].is_object(), "{example}");
        }
    }

    #[test]
    fn a_mail_tells_its_order_and_its_cart_only_when_it_has_them() {
        use EventKind as K;
        assert_eq!(K::of_mail(MailState::Sent, false, false), [K::EmailSent]);
        assert_eq!(K::of_mail(MailState::Sent, true, false), [K::EmailSent, K::ReminderSent]);
        assert_eq!(K::of_mail(MailState::Sent, false, true), [K::EmailSent, K::OrderEmailCompleted]);
        assert_eq!(K::of_mail(MailState::Failed, true, true), [K::EmailFailed, K::OrderEmailFailed]);
        assert_eq!(K::of_mail(MailState::Deferred, true, true), [K::EmailDeferred]);
        assert_eq!(K::of_mail(MailState::Expired, true, true), [K::EmailExpired, K::OrderEmailFailed]);
        assert_eq!(K::of_mail(MailState::Cancelled, true, true), [K::EmailCancelled, K::OrderEmailFailed]);
        assert_eq!(K::of_mail(MailState::Held, true, true), [K::EmailHeld]);
        assert_eq!(K::of_mail(MailState::Queued, true, true), []);
    }
}
