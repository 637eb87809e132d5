//! Records mails with the answer that their request gets.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::{
    claim::{CLAIM_FACTS, HAS_CLAIM_FACTS, claim_facts},
    precondition::{self, Precondition},
};
use crate::{
    mail::{ClaimFacts, MailId, MailState, NewMail, WorkerId},
    store::{
        attachments,
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        group::{Grouped, WriteOrder},
        idempotency::{self, Answer, KeyHolder},
        mail_row::MailRow,
        orders::{self, NewAuditEntry},
        passes::{self, NewPass},
        row::Columns,
        sql::Sql,
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
    /// The worker that has the mails as soon as they are recorded, as if it had claimed them then.
    pub claimed_by: Option<WorkerId>,
}

/// The result of recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The rows are committed.
    Committed,
    /// The same, and the mail is the worker's that the recording named: see [`Claim::Granted`](super::Claim::Granted).
    Claimed(Box<ClaimFacts>),
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
    wake_at bigint, send_at bigint, expires_at bigint, test bigint, extras text, traceparent text, worker text";

/// Inserts mails and returns of each what is learned of it.
fn insert_statement() -> String {
    let kept =
        "id, merchant_id, lane, template, template_version, sender, reply_to, recipient_name, recipient,
        recipient_key, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash,
        recorded_at, due_at, traceparent, promotional, unsubscribe_token, unsubscribe_language,
        send_at, expires_at, test, extras";
    format!(
        "INSERT {{or_fail}}INTO mails ({kept}, state, wake_at, settled_at, error, worker, claimed_at, attempt)
         {} SELECT {kept},
            CASE WHEN suppressed IS NOT NULL THEN 'suppressed' WHEN worker IS NOT NULL THEN 'sending' ELSE 'queued' END,
            CASE WHEN suppressed IS NULL THEN wake_at END, CASE WHEN suppressed IS NOT NULL THEN recorded_at END,
            '{}' || suppressed,
            CASE WHEN suppressed IS NULL THEN worker END,
            CASE WHEN suppressed IS NULL AND worker IS NOT NULL THEN recorded_at END,
            CASE WHEN suppressed IS NULL AND worker IS NOT NULL THEN 1 ELSE 0 END
         FROM recorded
         RETURNING id, state, {}, unsubscribe_token",
        suppressions::with_recorded(COLUMNS),
        suppressions::KEPT_BACK,
        *CLAIM_FACTS
    )
}

/// SQLite, which can only return all that it inserts.
static INSERT: LazyLock<Sql> = LazyLock::new(|| Sql::made(insert_statement()));

/// Postgres: the same, but it returns only mails of which there is something to say.
static INSERT_RETURNING_NOTABLE: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "WITH inserted AS ({}) SELECT * FROM inserted WHERE state = 'suppressed' OR (state = 'sending' AND ({HAS_CLAIM_FACTS}))",
        insert_statement()
    ))
});

impl Grouped for Recording {
    type Answer = Recorded;

    const ORDER: WriteOrder = WriteOrder::RecordMails;

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
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
        let that_are = |wanted: &'static Recorded| {
            let with_outcome = recordings.iter().zip(&outcomes);
            with_outcome.filter(move |(_, outcome)| *outcome == wanted).map(|(recording, _)| recording)
        };
        let standing = || that_are(&Recorded::Committed);
        let Inserted { suppressed, mut claim_facts } = insert(dialect, on, standing()).await?;
        attachments::record(dialect, on, standing().flat_map(|recording| &recording.mails)).await?;
        orders::audit(dialect, on, standing().filter_map(|recording| recording.audit.as_ref())).await?;
        let is_refused =
            |recording: &&Recording| recording.refuses_suppressed && recording.is_among(&suppressed);
        let taken = standing().filter(|recording| !is_refused(recording));
        passes::insert(dialect, on, taken.flat_map(|recording| &recording.passes)).await?;
        let without_answer = that_are(&Recorded::Outdated).chain(standing().filter(is_refused));
        let without_answer: Vec<_> =
            without_answer.filter_map(|recording| recording.answer.as_ref()).collect();
        idempotency::take_back(dialect, on, &without_answer).await?;
        if !suppressed.is_empty() {
            follow(dialect, on, standing().flat_map(|recording| &recording.mails), &suppressed).await?;
        }
        let outcome = |(recording, outcome): (&Recording, Recorded)| match outcome {
            Recorded::Committed if recording.is_among(&suppressed) => Recorded::Suppressed,
            Recorded::Committed => match (recording.claimed_by, recording.mails.first()) {
                (Some(_), Some(mail)) => {
                    Recorded::Claimed(Box::new(claim_facts.remove(&mail.id).unwrap_or_default()))
                }
                _ => outcome,
            },
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

/// What there is to say of mails that were inserted.
#[derive(Default)]
struct Inserted {
    /// Their recipients are suppressed.
    suppressed: HashSet<MailId>,
    /// This was learned of them; nothing of those that are not here.
    claim_facts: HashMap<MailId, ClaimFacts>,
}

/// Inserts the mails of these, with the links that they carry.
async fn insert<'a>(
    dialect: Dialect,
    on: &mut Connection,
    recordings: impl Iterator<Item = &'a Recording> + Clone,
) -> Result<Inserted, StoreError> {
    suppressions::insert_links(dialect, on, recordings.clone().flat_map(|recording| &recording.mails))
        .await?;
    let rows_of = |recording: &'a Recording| {
        recording.mails.iter().map(move |mail| MailRow::of(mail).claimed_by(recording.claimed_by))
    };
    let rows: Vec<_> = recordings.flat_map(rows_of).collect();
    let mut inserted = Inserted::default();
    if rows.is_empty() {
        return Ok(inserted);
    }
    let insert = match dialect {
        Dialect::Sqlite => &INSERT,
        Dialect::Postgres => &INSERT_RETURNING_NOTABLE,
    };
    for row in &insert.with(dialect, &rows).fetch_all(on).await.doing("record mails")? {
        let columns = Columns { table: "mails", row };
        let id = columns.parsed("id")?;
        match columns.parsed("state")? {
            MailState::Suppressed => drop(inserted.suppressed.insert(id)),
            MailState::Sending => drop(inserted.claim_facts.insert(id, claim_facts(&columns)?)),
            _ => {}
        }
    }
    Ok(inserted)
}

/// Lets orders and callbacks know of mails that are suppressed from the start.
async fn follow<'a>(
    dialect: Dialect,
    on: &mut Connection,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::webhooks_fixture as fixture;

    #[tokio::test]
    async fn a_recipient_is_looked_up_once_among_the_suppressed() {
        let (store, _folder) = fixture::open().await;
        let plan = fixture::plan_of(&store, &INSERT).await;
        let looks_up = |line: &&String| line.starts_with("SEARCH suppressions ");
        assert_eq!(plan.iter().filter(looks_up).count(), 1, "{plan:#?}");
    }
}
