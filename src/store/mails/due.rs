//! What the scheduler asks of mails: which are due, so that a job is to be enqueued for them.

use std::{sync::LazyLock, time::Duration};

use serde::Serialize;

use crate::{
    clock,
    mail::{MailId, MailLane, MailState, Mailbox, MerchantId, Timestamp},
    store::{
        claimable::{Due, DueOf},
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

/// A mail that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMail {
    /// The mail.
    pub mail: MailId,
    /// Its lane.
    pub lane: MailLane,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// Where it comes from.
    pub sender_domain: String,
    /// Where it goes.
    pub recipient_domain: String,
    /// Whether it goes to the sandbox.
    pub is_test: bool,
    /// When it was due.
    pub due_at: Timestamp,
    /// When it is due again unless a worker claims it.
    pub again_at: Timestamp,
    /// What its age is counted from, where it was tried and waits for another attempt.
    pub tried_since: Option<Timestamp>,
}

pub(in crate::store) static DUE: LazyLock<Due> = LazyLock::new(|| {
    Due::new(&DueOf {
        table: "mails",
        has_lanes: true,
        // A mail that is being sent has a `wake_at` too: see `claim`.
        waits: " AND state IN {mail states before claimed}",
        job: COLUMNS,
        since: "due_at",
        postpones: true,
    })
});

/// What a job is made of, and what the scheduler has to know of a mail besides.
const COLUMNS: &str =
    "id, lane, merchant_id, sender, recipient, wake_at, due_at, test, state, recorded_at, send_at";

static WAITING: LazyLock<Sql> = LazyLock::new(|| {
    Sql::made(format!(
        "SELECT {COLUMNS} FROM mails WHERE id = $1 AND due_at <= $2 AND state IN {{mail states before claimed}}"
    ))
});

// Guarded: what was claimed or moved since has another time. What another transaction has is moved by that, and two that
// locked the same rows in different orders would wait for each other.
static POSTPONE: Sql = Sql::new(
    "UPDATE mails SET wake_at = $2 WHERE id IN (
        SELECT mails.id FROM {rows: id text, wake_at bigint} JOIN mails ON mails.id = rows.id
        WHERE mails.wake_at = rows.wake_at AND mails.state IN {mail states before claimed} {skip_locked})",
);

#[derive(Serialize)]
struct Marked {
    id: String,
    wake_at: i64,
}

impl Store {
    /// Marks the mails of a lane that are due, but for those of some merchants, and returns them in the order of their times, and
    /// of their ids where those are the same. Those that nobody claims are due again after `again`.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn mark_due_mails(
        &self,
        lane: MailLane,
        again: Duration,
        but_of: &[MerchantId],
    ) -> Result<Vec<DueMail>, StoreError> {
        let rows = DUE.mark(self, Some(lane.into()), again, but_of).await?;
        let due = rows.iter().map(|row| read_due(&Columns { table: "mails", row }));
        let mut due = due.collect::<Result<Vec<_>, _>>()?;
        // What a statement returns has no order.
        due.sort_by_key(|mail| (mail.due_at, mail.mail.0));
        Ok(due)
    }

    /// Makes mails that were marked due again later, unless anything became of them since.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn postpone_mails(&self, mails: &[DueMail], by: Duration) -> Result<(), StoreError> {
        if mails.is_empty() {
            return Ok(());
        }
        let marked = |mail: &DueMail| Marked { id: mail.mail.to_string(), wake_at: mail.again_at.millis() };
        let postpone = POSTPONE.with(self.dialect, &mails.iter().map(marked).collect::<Vec<_>>());
        let update = postpone.bind((clock::now() + by).millis());
        self.writer.execute(update, "postpone mails that are set aside").await.map(drop)
    }

    /// A mail that waits and may go, with what a job for it has to know.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_mail(&self, mail: MailId) -> Result<Option<DueMail>, StoreError> {
        let row = query(WAITING.on(self.dialect))
            .bind(mail.to_string())
            .bind(clock::now().millis())
            .fetch_optional(&self.readers)
            .await
            .doing("find a mail that waits")?;
        row.map(|row| read_due(&Columns { table: "mails", row: &row })).transpose()
    }

    /// Makes every mail that waits due in the next round: the queue lost its jobs.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn make_all_mails_due(&self) -> Result<u64, StoreError> {
        DUE.make_all(self).await
    }
}

pub(super) fn read_due(columns: &Columns<'_>) -> Result<DueMail, StoreError> {
    let is_tried = columns.parsed::<MailState>("state")? == MailState::Deferred;
    let meant_for = columns.optional_time("send_at")?.map_or_else(|| columns.time("recorded_at"), Ok)?;
    Ok(DueMail {
        tried_since: is_tried.then_some(meant_for),
        mail: columns.parsed("id")?,
        lane: columns.parsed("lane")?,
        merchant: columns.parsed("merchant_id")?,
        // One that cannot be read must not keep all others waiting; its claim will tell.
        sender_domain: columns
            .json::<Mailbox>("sender")
            .map(|sender| sender.email.domain().to_owned())
            .unwrap_or_default(),
        recipient_domain: domain_of(&columns.text("recipient")?),
        is_test: columns.integer("test")? != 0,
        due_at: columns.time("due_at")?,
        again_at: columns.time("wake_at")?,
    })
}

/// The domain of an address that is on record, and so has one.
fn domain_of(recipient: &str) -> String {
    recipient.rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.to_owned())
}
