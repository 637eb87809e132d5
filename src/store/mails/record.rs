//! Records mails with the answer that their request gets.

use sqlx::AnyConnection;

use super::precondition::{self, Precondition};
use crate::{
    mail::NewMail,
    store::{
        database::Store,
        dialect::{Dialect, Sql},
        error::{Doing, StoreError},
        group_commit::{Grouped, Turn},
        idempotency::{self, Answer, KeyHolder},
        mail_row::MailRow,
        orders::{self, NewAuditEntry},
        passes::{self, NewPass},
        row::to_json,
    },
};

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
    /// Those of a write: see [`StoreError`]. Nothing of it is sent later unless [`StoreError::OutcomeUnknown`] says
    /// otherwise.
    pub async fn record(&self, recording: Recording) -> Result<Recorded, StoreError> {
        self.group.commit(recording).await
    }

    /// Records that somebody asked for a mail of an order, where nothing else is recorded.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn audit_order(&self, entry: NewAuditEntry) -> Result<(), StoreError> {
        self.record(Recording { audit: Some(entry), ..Recording::default() }).await.map(drop)
    }
}

static INSERT: Sql = Sql::new(
    "INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, reply_to, recipient_name,
        recipient, recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash, recorded_at,
        due_at, wake_at, send_at, expires_at, test, traceparent)
     SELECT id, merchant_id, lane, 'queued', template, template_version, sender, reply_to, recipient_name,
        recipient, recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash, recorded_at,
        due_at, wake_at, send_at, expires_at, test, traceparent
     FROM {rows: id text, merchant_id text, lane text, template text, template_version text, sender text,
        reply_to text, recipient_name text, recipient text, recipient_key text, message_id text, tags text, member_id text,
        order_id text, cart_id text, subscription_id text, batch_id text, on_crash text, recorded_at bigint,
        due_at bigint, wake_at bigint, send_at bigint, expires_at bigint, test bigint, traceparent text}",
);

impl Grouped for Recording {
    type Answer = Recorded;

    const TURN: Turn = Turn::RecordMails;

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
        let rows: Vec<_> = standing().flat_map(|recording| &recording.mails).map(MailRow::of).collect();
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
