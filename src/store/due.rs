//! Whether anything is due, in one look at all tables. Most looks find nothing: they cost one statement that reads.

use std::sync::LazyLock;

use sqlx::Row;

use super::{
    actions, batches,
    database::Store,
    dialect::Sql,
    error::{Doing, StoreError},
    mails, webhooks,
};
use crate::{
    clock,
    mail::{Lane, MailLane},
};

static LOOK: LazyLock<Sql> = LazyLock::new(|| {
    let tables = Lane::ALL.iter().flat_map(|&lane| match lane {
        Lane::Transactional | Lane::Bulk => vec![mails::DUE.is_any(lane)],
        Lane::Callback => vec![webhooks::DUE.is_any(lane)],
        Lane::Batch => vec![batches::DUE.is_any(lane), actions::DUE.is_any(lane)],
    });
    Sql::made(tables.collect::<Vec<_>>().join(" UNION ALL "))
});

/// In which lanes rows are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueLanes(Vec<Lane>);

impl DueLanes {
    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether rows of this lane are due.
    pub fn has(&self, lane: Lane) -> bool {
        self.0.contains(&lane)
    }

    /// The lanes of mails that are due.
    pub fn of_mails(&self) -> Vec<MailLane> {
        MailLane::ALL.iter().copied().filter(|&lane| self.has(lane.into())).collect()
    }
}

impl Store {
    /// Looks where rows are due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_lanes(&self) -> Result<DueLanes, StoreError> {
        let look = sqlx::query(LOOK.on(self.dialect)).bind(clock::now().millis());
        let rows = look.fetch_all(&self.readers).await.doing("look for what is due")?;
        let is_due = |lane: &&Lane| {
            rows.iter().any(|row| row.try_get::<&str, _>(0).is_ok_and(|name| name == lane.as_str()))
        };
        Ok(DueLanes(Lane::ALL.iter().filter(is_due).copied().collect()))
    }
}
