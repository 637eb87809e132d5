//! What waits: how much of each lane, merchant and domain, and since when. For operators: it reads all that waits.

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    sql::Sql,
    statement::query,
};
use crate::{
    clock,
    mail::{Lane, MerchantId, Timestamp},
};

/// How much of something waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// What may go now, but for what keeps it back.
    pub due: u64,
    /// What is scheduled, or waits for its next attempt.
    pub later: u64,
    /// Since when the oldest of what is due is.
    pub oldest_due: Option<Timestamp>,
}

impl Depth {
    fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.later += other.later;
        self.oldest_due = match (self.oldest_due, other.oldest_due) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// What waits, sorted in three ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Each lane, in the order of [`Lane::ALL`].
    pub lanes: Vec<(Lane, Depth)>,
    /// The mails of merchants, of whom most is due first.
    pub merchants: Vec<(MerchantId, Depth)>,
    /// The mails to domains, to which most is due first.
    pub domains: Vec<(String, Depth)>,
}

static MAILS: Sql = Sql::new(
    "SELECT lane, merchant_id, COUNT(*) AS mails, MIN(due_at) AS oldest,
        CAST(SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END) AS BIGINT) AS later
     FROM mails WHERE wake_at IS NOT NULL AND state IN {mail states before claimed} GROUP BY lane, merchant_id",
);

static DOMAINS: Sql = Sql::new(
    "SELECT {domain_of recipient_key} AS domain, COUNT(*) AS mails, MIN(due_at) AS oldest,
        CAST(SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END) AS BIGINT) AS later
     FROM mails WHERE wake_at IS NOT NULL AND state IN {mail states before claimed}
     GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2",
);

static OTHERS: Sql = Sql::new(
    "SELECT 'callback' AS lane, COUNT(*) AS mails, MIN(due_at) AS oldest,
        CAST(COALESCE(SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS later
     FROM deliveries WHERE wake_at IS NOT NULL AND state IN ('queued', 'deferred')
     UNION ALL
     SELECT 'batch', COUNT(*), MIN(requested_at), 0 FROM batches WHERE wake_at IS NOT NULL",
);

impl Store {
    /// Counts what waits; of merchants and domains the `most` with most of it.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn backlog(&self, most: u32) -> Result<Backlog, StoreError> {
        let now = clock::now();
        let mut backlog = Backlog {
            lanes: Lane::ALL.iter().map(|lane| (*lane, Depth::default())).collect(),
            ..Backlog::default()
        };
        for statement in [&MAILS, &OTHERS] {
            let rows = query(statement.on(self.dialect))
                .bind(now.millis())
                .fetch_all(&self.readers)
                .await
                .doing("count what waits")?;
            for row in &rows {
                let columns = Columns { table: "mails", row };
                let (lane, depth) = (columns.parsed::<Lane>("lane")?, depth(&columns, now)?);
                for (_, sum) in backlog.lanes.iter_mut().filter(|(each, _)| *each == lane) {
                    sum.add(&depth);
                }
                if matches!(lane, Lane::Transactional | Lane::Bulk) {
                    let merchant: MerchantId = columns.parsed("merchant_id")?;
                    match backlog.merchants.iter_mut().find(|(each, _)| *each == merchant) {
                        Some((_, sum)) => sum.add(&depth),
                        None => backlog.merchants.push((merchant, depth)),
                    }
                }
            }
        }
        backlog.merchants.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.due));
        backlog.merchants.truncate(most as usize);
        let rows = query(DOMAINS.on(self.dialect))
            .bind(now.millis())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await
            .doing("count what waits for each domain")?;
        for row in &rows {
            let columns = Columns { table: "mails", row };
            backlog.domains.push((columns.text("domain")?, depth(&columns, now)?));
        }
        Ok(backlog)
    }
}

fn depth(columns: &Columns<'_>, now: Timestamp) -> Result<Depth, StoreError> {
    let (all, later) = (columns.count("mails")?, columns.count("later")?);
    let oldest_due = columns.optional_time("oldest")?.filter(|oldest| *oldest <= now);
    Ok(Depth { due: all.saturating_sub(later), later, oldest_due })
}
