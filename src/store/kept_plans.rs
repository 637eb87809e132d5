//! Lets Postgres keep the plans of the group commit's statements, instead of making one for each execution.
//!
//! Making plans is a fifth of what a mail costs Postgres. But a plan that is made while a table is empty reads the whole
//! table, and would be kept as the table grows. So plans are kept from the time on when Postgres knows that there are many
//! mails. All these statements look rows up by keys that a JSON document lists; they are told to do nothing else, whatever
//! the statistics of other tables say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    dialect::Dialect,
    error::{Doing, StoreError},
    readers::Readers,
    row::Columns,
    statement::query,
    writer::Writer,
};
use crate::telemetry::chain;

/// From so many mails on looking one up costs less than reading all.
const MANY: i64 = 2_000;
/// So much room the mails take then, in bytes.
const LARGE: i64 = 1 << 20;
/// Between two looks at the statistics.
const INTERVAL: Duration = Duration::from_secs(2);
/// The server gathers statistics by itself, but minutes later; it is asked to not more often than this.
const GATHERING: Duration = Duration::from_secs(60);

/// Whether plans are kept now.
pub(super) struct KeptPlans {
    dialect: Dialect,
    are_kept: Arc<AtomicBool>,
    _watch: Option<AbortOnDropHandle<()>>,
}

impl KeptPlans {
    /// Looks at the statistics from now on.
    pub(super) fn watch(dialect: Dialect, readers: &Readers, writer: &Writer) -> Self {
        let are_kept = Arc::<AtomicBool>::default();
        let watch = (dialect == Dialect::Postgres)
            .then(|| watch(readers.clone(), writer.in_background(), Arc::clone(&are_kept)));
        Self { dialect, are_kept, _watch: watch.map(|watch| AbortOnDropHandle::new(tokio::spawn(watch))) }
    }

    /// What begins a transaction of the group commit.
    pub(super) fn begin(&self) -> &'static str {
        match self.are_kept.load(Ordering::Relaxed) {
            true => self.dialect.begin_looking_up(),
            false => self.dialect.begin(),
        }
    }
}

async fn watch(readers: Readers, writer: Writer, are_kept: Arc<AtomicBool>) {
    let mut gather_at = Instant::now();
    loop {
        sleep(INTERVAL).await;
        // A database that is away says so elsewhere.
        let Ok(mut known) = Known::of(&readers).await else { continue };
        if known.mails < MANY && known.bytes >= LARGE && Instant::now() >= gather_at {
            gather_at = Instant::now() + GATHERING;
            let gathered = writer.execute(query("ANALYZE mails, attempts"), "gather statistics").await;
            if let Err(error) = gathered {
                tracing::debug!(
                    error = %chain(&error),
                    "statistics could not be gathered; the server does it by itself"
                );
            }
            known = Known::of(&readers).await.unwrap_or(known);
        }
        are_kept.store(known.mails >= MANY, Ordering::Relaxed);
    }
}

/// What Postgres knows of the mails.
struct Known {
    /// How many there were when statistics were gathered.
    mails: i64,
    /// The room that they take now.
    bytes: i64,
}

impl Known {
    async fn of(readers: &Readers) -> Result<Self, StoreError> {
        let look = "SELECT reltuples::bigint AS mails, pg_relation_size(oid) AS bytes FROM pg_class \
            WHERE oid = 'mails'::regclass";
        let row = query(look).fetch_one(readers).await.doing("look at statistics")?;
        let columns = Columns { table: "pg_class", row: &row };
        Ok(Self { mails: columns.integer("mails")?, bytes: columns.integer("bytes")? })
    }
}
