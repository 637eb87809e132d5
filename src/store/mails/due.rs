//! What the scheduler asks of mails: which are due, so that a job is to be enqueued for them.

use std::{sync::LazyLock, time::Duration};

use crate::{
    mail::{MailId, MailLane, MerchantId},
    store::{
        claimable::{Due, DueOf},
        database::Store,
        error::StoreError,
        row::Columns,
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
}

static DUE: LazyLock<Due> = LazyLock::new(|| {
    Due::new(&DueOf {
        table: "mails",
        has_lanes: true,
        // A mail that is being sent has a `wake_at` too: see `claim`.
        waits: " AND state IN {mail states before claimed}",
        job: "id, lane, merchant_id",
        since: "due_at",
    })
});

impl Store {
    /// Marks the mails of a lane that are due and returns them. Those that nobody claims are due again after `again`.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn mark_due_mails(&self, lane: MailLane, again: Duration) -> Result<Vec<DueMail>, StoreError> {
        let rows = DUE.mark(self, Some(lane.into()), again).await?;
        rows.iter().map(|row| read_due(&Columns { table: "mails", row })).collect()
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
    Ok(DueMail {
        mail: columns.parsed("id")?,
        lane: columns.parsed("lane")?,
        merchant: columns.parsed("merchant_id")?,
    })
}
