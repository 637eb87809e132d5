//! Whether anything is due, in one look at all tables. Most looks find nothing: they cost one statement that reads. A table
//! that somebody has locked keeps the others' rows from nobody: then each table is looked at by itself.

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

static COUNT_DUE: LazyLock<Sql> = LazyLock::new(|| Sql::made(looks().join(" UNION ALL ")));
static LOOKS_APART: LazyLock<Vec<Sql>> = LazyLock::new(|| looks().into_iter().map(Sql::made).collect());

/// The look at each table.
fn looks() -> Vec<String> {
    let tables = Lane::ALL.iter().flat_map(|&lane| match lane {
        Lane::Transactional | Lane::Bulk => vec![mails::DUE.is_any(lane)],
        Lane::Callback => vec![webhooks::DUE.is_any(lane)],
        Lane::Batch => vec![batches::DUE.is_any(lane), actions::DUE.is_any(lane)],
    });
    tables.chain([mails::is_any_expired(EXPIRED)]).collect()
}

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
    /// Beside what was found: why not all of it was, such as a table that is locked; or, when the database does not answer, why
    /// nothing was.
    pub async fn due_lanes(&self) -> (DueLanes, Result<(), StoreError>) {
        let (named, looked) = match self.look(&COUNT_DUE).await {
            Ok(named) => (named, Ok(())),
            Err(error) if error.is_about_the_database() => (Vec::new(), Err(error)),
            Err(error) => (self.look_apart().await, Err(error)),
        };
        let is_named = |word| named.iter().any(|name| name == word);
        let lanes = Lane::ALL.iter().filter(|lane| is_named(lane.as_str())).copied().collect();
        (DueLanes { lanes, has_expired: is_named(EXPIRED) }, looked)
    }

    async fn look_apart(&self) -> Vec<String> {
        let mut named = Vec::new();
        for look in LOOKS_APART.iter() {
            // What fails has failed together with the others too.
            named.extend(self.look(look).await.unwrap_or_default());
        }
        named
    }

    async fn look(&self, look: &Sql) -> Result<Vec<String>, StoreError> {
        let look = query(look.on(self.dialect)).bind(clock::now().millis());
        let rows = look.fetch_all(&self.readers).await.doing("look for what is due")?;
        rows.iter().map(|row| Columns { table: "due rows", row }.text("lane")).collect()
    }
}
