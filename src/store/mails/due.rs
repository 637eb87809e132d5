//! What the scheduler asks of mails: which are due, so that a job is to be enqueued for them.

use std::time::Duration;

use serde::Serialize;

use crate::{
    clock,
    mail::{Lane, MailId, Mailbox, MerchantId, Timestamp},
    store::{
        Doing, Store, StoreError,
        dialect::Sql,
        row::{Columns, to_json},
        steps::{ENQUEUED_AGAIN, STEP, in_steps},
    },
};

/// The most rows in one round, so that any number of processes may take rounds at once.
const ROUND: i64 = 1_000;

/// A mail that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMail {
    /// The mail.
    pub mail: MailId,
    /// Its lane.
    pub lane: Lane,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// Where it comes from.
    pub sender_domain: String,
    /// Where it goes.
    pub recipient_domain: String,
    /// When it is due again unless a worker claims it.
    pub again_at: Timestamp,
}

static DUE: Sql = Sql::new(
    "UPDATE mails SET wake_at = $2 WHERE id IN (
        SELECT id FROM mails WHERE lane = $4 AND wake_at <= $1 AND state IN ('queued', 'deferred')
        ORDER BY wake_at LIMIT $3 {skip_locked})
     RETURNING id, lane, merchant_id, sender, recipient, wake_at",
);

// Most rounds find nothing; those must not wait for the one writer of SQLite.
const IS_ANY_DUE: &str =
    "SELECT 1 FROM mails WHERE lane = $1 AND wake_at <= $2 AND state IN ('queued', 'deferred') LIMIT 1";

// What is enqueued while this runs is due again after $1, but within a minute of it; what was postponed, later.
static ALL_DUE: Sql = Sql::new(
    "UPDATE mails SET wake_at = due_at WHERE id IN (
        SELECT id FROM mails WHERE wake_at > due_at AND (wake_at <= $1 OR wake_at > $3)
            AND state IN ('queued', 'deferred')
        LIMIT $2 {skip_locked})",
);

// Guarded: what was claimed or moved since has another time.
static POSTPONE: Sql = Sql::new(
    "UPDATE mails SET wake_at = $2 FROM {rows: id text, wake_at bigint}
     WHERE mails.id = rows.id AND mails.wake_at = rows.wake_at AND mails.state IN ('queued', 'deferred')",
);

#[derive(Serialize)]
struct Marked {
    id: String,
    wake_at: i64,
}

impl Store {
    /// Marks the mails of a lane that are due and returns them. Those that nobody claims are due again after `again`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mark_due_mails(&self, lane: Lane, again: Duration) -> Result<Vec<DueMail>, StoreError> {
        let now = clock::now();
        let first = sqlx::query(IS_ANY_DUE)
            .bind(lane.as_str())
            .bind(now.millis())
            .fetch_optional(&self.readers)
            .await
            .doing("look for mails that are due")?;
        if first.is_none() {
            return Ok(Vec::new());
        }
        let mark = sqlx::query(DUE.on(self.dialect)).bind(now.millis()).bind((now + again).millis());
        let rows =
            self.writer.fetch_all(mark.bind(ROUND).bind(lane.as_str()), "find mails that are due").await?;
        rows.iter().map(|row| read_due(&Columns { table: "mails", row })).collect()
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
        let rows = to_json(&mails.iter().map(marked).collect::<Vec<_>>());
        let update = sqlx::query(POSTPONE.on(self.dialect)).bind(rows).bind((clock::now() + by).millis());
        self.writer.execute(update, "postpone mails that are set aside").await.map(drop)
    }

    /// A mail that waits, with what a job for it has to know.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_mail(&self, mail: MailId) -> Result<Option<DueMail>, StoreError> {
        let row = sqlx::query(
            "SELECT id, lane, merchant_id, sender, recipient, wake_at FROM mails
             WHERE id = $1 AND state IN ('queued', 'deferred')",
        )
        .bind(mail.to_string())
        .fetch_optional(&self.readers)
        .await
        .doing("find a mail that waits")?;
        row.map(|row| read_due(&Columns { table: "mails", row: &row })).transpose()
    }

    /// Makes every mail that waits due in the next round: the queue lost its jobs.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn make_all_mails_due(&self) -> Result<u64, StoreError> {
        // What is enqueued from now on is not due again.
        let before = clock::now() + ENQUEUED_AGAIN;
        in_steps(STEP, || {
            let postponed = before + ENQUEUED_AGAIN;
            let update = sqlx::query(ALL_DUE.on(self.dialect))
                .bind(before.millis())
                .bind(STEP)
                .bind(postponed.millis());
            self.writer.execute(update, "make all waiting mails due")
        })
        .await
    }
}

pub(super) fn read_due(columns: &Columns<'_>) -> Result<DueMail, StoreError> {
    Ok(DueMail {
        mail: columns.parsed("id")?,
        lane: columns.parsed("lane")?,
        merchant: columns.parsed("merchant_id")?,
        // One that cannot be read must not keep all others waiting; its claim will tell.
        sender_domain: columns
            .json::<Mailbox>("sender")
            .map(|sender| sender.email.domain().to_owned())
            .unwrap_or_default(),
        recipient_domain: domain_of(&columns.text("recipient")?),
        again_at: columns.time("wake_at")?,
    })
}

/// The domain of an address that is on record, and so has one.
fn domain_of(recipient: &str) -> String {
    recipient.rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.to_owned())
}
