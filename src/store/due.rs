//! Whether anything is due, in one look at all tables. Most looks find nothing: they cost one statement that reads.

use std::sync::LazyLock;

use super::{
    actions, batches,
    database::Store,
    error::{Doing, StoreError},
    mails,
    row::Columns,
    sql::Sql,
    statement::query,
    webhooks,
};
use crate::{
    clock,
    mail::{Lane, MailLane},
};

/// Stands for mails whose time is over, beside the names of lanes.
const EXPIRED: &str = "expired";

static LOOK: LazyLock<Sql> = LazyLock::new(|| {
    let tables = Lane::ALL.iter().flat_map(|&lane| match lane {
        Lane::Transactional | Lane::Bulk => vec![mails::DUE.is_any(lane)],
        Lane::Callback => vec![webhooks::DUE.is_any(lane)],
        Lane::Batch => vec![batches::DUE.is_any(lane), actions::DUE.is_any(lane)],
    });
    let all = tables.chain([mails::is_any_expired(EXPIRED)]);
    Sql::made(all.collect::<Vec<_>>().join(" UNION ALL "))
});

/// In which lanes rows are due, and whether the time of mails is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueLanes {
    lanes: Vec<Lane>,
    has_expired: bool,
}

impl DueLanes {
    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether rows of this lane are due.
    pub fn has(&self, lane: Lane) -> bool {
        self.lanes.contains(&lane)
    }

    /// Whether there are mails that wait and whose time is over.
    pub const fn has_expired(&self) -> bool {
        self.has_expired
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
        let look = query(LOOK.on(self.dialect)).bind(clock::now().millis());
        let rows = look.fetch_all(&self.readers).await.doing("look for what is due")?;
        let is_named = |word| {
            rows.iter()
                .any(|row| Columns { table: "due rows", row }.text("lane").is_ok_and(|name| name == word))
        };
        let lanes = Lane::ALL.iter().filter(|lane| is_named(lane.as_str())).copied().collect();
        Ok(DueLanes { lanes, has_expired: is_named(EXPIRED) })
    }
}
