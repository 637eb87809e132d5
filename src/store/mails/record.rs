//! Records mails with the answer that their request gets.

use std::{collections::HashSet, sync::LazyLock};

use sqlx::AnyConnection;

use super::precondition::{self, Precondition};
use crate::{
    mail::{MailId, MailState, NewMail},
    store::{
        attachments,
        database::Store,
        dialect::{Dialect, Sql},
        error::{Doing, StoreError},
        events::{self, MovedMail},
        group_commit::{Grouped, Turn},
        idempotency::{self, Answer, KeyHolder},
        mail_row::MailRow,
        orders::{self, NewAuditEntry},
        passes::{self, NewPass},
        row::{Columns, to_json},
        suppressions,
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
    /// Whether the request is refused when a recipient is suppressed: then the answer is not kept.
    pub refuses_suppressed: bool,
}

/// The result of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The rows are committed.
    Committed,
    /// The same, but the mail is not sent: its recipient is suppressed.
    Suppressed,
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

const COLUMNS: &str = "id text, merchant_id text, lane text, template text, template_version text, sender text,
    reply_to text, recipient_name text, recipient text, recipient_key text, message_id text, tags text, member_id text,
    order_id text, cart_id text, subscription_id text, batch_id text, on_crash text, recorded_at bigint, due_at bigint,
    wake_at bigint, send_at bigint, expires_at bigint, test bigint, extras text, traceparent text";

static INSERT: LazyLock<Sql> = LazyLock::new(|| {
    let kept =
        "id, merchant_id, lane, template, template_version, sender, reply_to, recipient_name, recipient,
        recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash,
        recorded_at, due_at, traceparent, promotional, unsubscribe_token, unsubscribe_language,
        send_at, expires_at, test, extras";
    Sql::made(format!(
        "INSERT INTO mails ({kept}, state, wake_at, settled_at, error)
         SELECT {kept}, CASE WHEN suppressed IS NULL THEN 'queued' ELSE 'suppressed' END,
            CASE WHEN suppressed IS NULL THEN wake_at END, CASE WHEN suppressed IS NOT NULL THEN recorded_at END,
            '{}' || suppressed
         FROM {}
         RETURNING CASE WHEN state = 'suppressed' THEN id END AS suppressed",
        suppressions::KEPT_BACK,
        suppressions::recorded_rows(COLUMNS)
    ))
});

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
        let suppressed = insert(dialect, on, standing().flat_map(|recording| &recording.mails)).await?;
        attachments::record(dialect, on, standing().flat_map(|recording| &recording.mails)).await?;
        orders::audit(dialect, on, standing().filter_map(|recording| recording.audit.as_ref())).await?;
        passes::insert(dialect, on, standing().flat_map(|recording| &recording.passes)).await?;
        let is_refused =
            |recording: &&Recording| recording.refuses_suppressed && recording.is_among(&suppressed);
        let without_answer = that_are(Recorded::Outdated).chain(standing().filter(is_refused));
        let without_answer: Vec<_> =
            without_answer.filter_map(|recording| recording.answer.as_ref()).collect();
        idempotency::take_back(dialect, on, &without_answer).await?;
        if suppressed.is_empty() {
            return Ok(outcomes);
        }
        follow(dialect, on, standing().flat_map(|recording| &recording.mails), &suppressed).await?;
        let outcome = |(recording, outcome): (&Recording, Recorded)| match outcome {
            Recorded::Committed if recording.is_among(&suppressed) => Recorded::Suppressed,
            outcome => outcome,
        };
        Ok(recordings.iter().zip(outcomes).map(outcome).collect())
    }
}

impl Recording {
    /// Whether one of its mails is among these.
    fn is_among(&self, suppressed: &HashSet<MailId>) -> bool {
        self.mails.iter().any(|mail| suppressed.contains(&mail.id))
    }
}

/// Inserts mails, with the links that they carry; returns those whose recipients are suppressed.
async fn insert<'a>(
    dialect: Dialect,
    on: &mut AnyConnection,
    mails: impl Iterator<Item = &'a NewMail> + Clone,
) -> Result<HashSet<MailId>, StoreError> {
    suppressions::insert_links(dialect, on, mails.clone()).await?;
    let rows: Vec<_> = mails.map(MailRow::of).collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let inserted =
        sqlx::query(INSERT.on(dialect)).bind(to_json(&rows)).fetch_all(on).await.doing("record mails")?;
    let suppressed = |row| Columns { table: "mails", row }.optional_parsed("suppressed").transpose();
    inserted.iter().filter_map(suppressed).collect()
}

/// Lets orders and callbacks know of mails that are suppressed from the start.
async fn follow<'a>(
    dialect: Dialect,
    on: &mut AnyConnection,
    mails: impl Iterator<Item = &'a NewMail> + Clone,
    suppressed: &HashSet<MailId>,
) -> Result<(), StoreError> {
    let state = MailState::Suppressed;
    let mails = mails.filter(|mail| suppressed.contains(&mail.id));
    let of_orders = mails.clone().filter(|mail| mail.origin.order.is_some());
    orders::follow(dialect, on, of_orders.map(|mail| (mail.id, state))).await?;
    let moved: Vec<_> =
        mails.map(|mail| MovedMail::without_reply(mail.id, mail.merchant.clone(), state)).collect();
    events::record_for_mails(dialect, on, &moved).await.map(drop)
}
