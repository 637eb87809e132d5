//! What the scheduler asks of actions: which are due, so that a job is to be enqueued for them.

use std::{sync::LazyLock, time::Duration};

use crate::{
    mail::{ActionId, MerchantId},
    store::{
        claimable::{Due, DueOf},
        database::Store,
        error::StoreError,
        row::Columns,
    },
};

/// An action that a worker has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAction {
    /// The action.
    pub action: ActionId,
    /// Whose it is; `None`: an operator's.
    pub merchant: Option<MerchantId>,
}

pub(in crate::store) static DUE: LazyLock<Due> = LazyLock::new(|| {
    Due::new(&DueOf {
        table: "bulk_actions",
        has_lanes: false,
        waits: "",
        job: "id, merchant_id",
        since: "drafted_at", // an action is worked on at once
        postpones: false,
    })
});

impl Store {
    /// Marks the actions that are due and returns them. Those that nobody works on are due again after `again`.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn mark_due_actions(&self, again: Duration) -> Result<Vec<DueAction>, StoreError> {
        let rows = DUE.mark(self, None, again, &[]).await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "bulk_actions", row };
                let merchant = columns.optional_parsed("merchant_id")?;
                Ok(DueAction { action: columns.parsed("id")?, merchant })
            })
            .collect()
    }

    /// Makes every action that is running due in the next round: the queue lost its jobs.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn make_all_actions_due(&self) -> Result<u64, StoreError> {
        DUE.make_all(self).await
    }
}
