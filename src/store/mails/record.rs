//! Records mails with the answer that their request gets.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::AnyConnection;

use super::precondition::{self, Precondition};
use crate::{
    mail::{BatchId, Mailbox, NewMail},
    store::{
        Doing, KeyHolder, Store, StoreError,
        dialect::{Dialect, Sql},
        group_commit::{Group, Grouped, Members},
        idempotency::{self, Answer},
        orders::{self, NewAuditEntry},
        passes::{self, NewPass},
        row::to_json,
    },
};

/// How long the scheduler leaves a fresh mail to the job that its ingress enqueues.
const ENQUEUED_BY_INGRESS: Duration = Duration::from_secs(15);

/// What one request records: all of it or nothing.
#[derive(Debug, Default)]
pub struct Recording {
    /// What must still be so; it moves on in the same transaction.
    pub precondition: Option<Precondition>,
    /// The mails.
    pub mails: Vec<NewMail>,
    /// Who asked for the mail of an order.
    pub audit: Option<NewAuditEntry>,
    /// The passes that the mails link to.
    pub passes: Vec<NewPass>,
    /// The answer to keep for the request's idempotency key.
    pub answer: Option<(KeyHolder, Answer)>,
}

/// The result of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The rows are committed.
    Committed,
    /// The precondition did not hold any more; nothing was recorded. Ask the rules again.
    Outdated,
    /// Another request took the idempotency key over meanwhile; nothing was recorded.
    KeyLost,
}

impl Store {
    /// Records what a request asked for, together with its answer.
    ///
    /// # Errors
    /// When the database cannot commit it; then nothing of it is sent later.
    pub async fn record(&self, recording: Recording) -> Result<Recorded, StoreError> {
        self.group.commit(recording).await
    }
}

static INSERT: Sql = Sql::new(
    "INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, reply_to, recipient_name,
        recipient, recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash, recorded_at,
        due_at, wake_at)
     SELECT id, merchant_id, lane, 'queued', template, template_version, sender, reply_to, recipient_name,
        recipient, recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash, recorded_at,
        due_at, wake_at
     FROM {rows: id text, merchant_id text, lane text, template text, template_version text, sender text,
        reply_to text, recipient_name text, recipient text, recipient_key text, message_id text, tags text, member_id text,
        order_id text, cart_id text, subscription_id text, batch_id text, on_crash text, recorded_at bigint,
        due_at bigint, wake_at bigint}",
);

/// A mail as its INSERT reads it.
#[derive(Serialize)]
pub(in crate::store) struct Row<'a> {
    id: String,
    merchant_id: &'a str,
    lane: &'static str,
    template: &'a str,
    template_version: &'a str,
    sender: &'a Mailbox,
    reply_to: Option<&'a Mailbox>,
    recipient_name: Option<&'a str>,
    recipient: String,
    recipient_key: String,
    message_id: &'a str,
    tags: &'a RawValue,
    member_id: Option<&'a str>,
    order_id: Option<&'a str>,
    cart_id: Option<&'a str>,
    subscription_id: Option<&'a str>,
    batch_id: Option<BatchId>,
    on_crash: &'static str,
    recorded_at: i64,
    due_at: i64,
    wake_at: i64,
}

impl<'a> Row<'a> {
    pub(in crate::store) fn of(mail: &'a NewMail) -> Self {
        Self {
            id: mail.id.to_string(),
            merchant_id: mail.merchant.as_str(),
            lane: mail.lane.as_str(),
            template: &mail.template,
            template_version: &mail.template_version,
            sender: &mail.sender,
            reply_to: mail.reply_to.as_ref(),
            recipient_name: mail.recipient.name.as_deref(),
            recipient: mail.recipient.email.to_string(),
            recipient_key: mail.recipient.email.search_key(),
            message_id: &mail.message_id,
            tags: &mail.values,
            member_id: mail.origin.member.as_deref(),
            order_id: mail.origin.order.as_deref(),
            cart_id: mail.origin.cart.as_deref(),
            subscription_id: mail.origin.subscription.as_deref(),
            batch_id: mail.origin.batch,
            on_crash: mail.on_crash.as_str(),
            recorded_at: mail.recorded_at.millis(),
            due_at: mail.due_at.millis(),
            wake_at: (mail.due_at + ENQUEUED_BY_INGRESS).millis(),
        }
    }
}

impl Grouped for Recording {
    type Answer = Recorded;

    fn members(group: &mut Group) -> &mut Members<Self> {
        &mut group.records
    }

    async fn write(
        dialect: Dialect,
        on: &mut AnyConnection,
        recordings: &[Self],
    ) -> Result<Vec<Recorded>, StoreError> {
        // First of all, and locked until the commit: a request that has lost its key to another one records nothing.
        let answers: Vec<_> = recordings.iter().filter_map(|recording| recording.answer.as_ref()).collect();
        let keepers = idempotency::keep(dialect, on, &answers).await?;
        let holds_key = |recording: &Recording| {
            recording.answer.as_ref().is_none_or(|(holder, _)| keepers.contains(&holder.request))
        };
        let preconditions: Vec<_> = recordings
            .iter()
            .map(|recording| recording.precondition.as_ref().filter(|_| holds_key(recording)))
            .collect();
        let holds = precondition::apply(dialect, on, &preconditions).await?;
        let outcome = |(recording, holds): (&Recording, &bool)| match (holds_key(recording), holds) {
            (false, _) => Recorded::KeyLost,
            (true, true) => Recorded::Committed,
            (true, false) => Recorded::Outdated,
        };
        let outcomes: Vec<_> = recordings.iter().zip(&holds).map(outcome).collect();
        let that_are = |wanted: Recorded| {
            let with_outcome = recordings.iter().zip(&outcomes);
            with_outcome.filter(move |(_, outcome)| **outcome == wanted).map(|(recording, _)| recording)
        };
        let standing = || that_are(Recorded::Committed);
        let rows: Vec<_> = standing().flat_map(|recording| &recording.mails).map(Row::of).collect();
        if !rows.is_empty() {
            sqlx::query(INSERT.on(dialect))
                .bind(to_json(&rows))
                .execute(&mut *on)
                .await
                .doing("record mails")?;
        }
        orders::audit(dialect, on, standing().filter_map(|recording| recording.audit.as_ref())).await?;
        passes::insert(dialect, on, standing().flat_map(|recording| &recording.passes)).await?;
        let outdated: Vec<_> =
            that_are(Recorded::Outdated).filter_map(|recording| recording.answer.as_ref()).collect();
        idempotency::take_back(dialect, on, &outdated).await?;
        Ok(outcomes)
    }
}
