//! How much waits, for those who watch: counted from indexes, never more rows than a bound, so that it costs the same
//! however many mails there are.

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    row::Row,
    statement::query,
};
use crate::{
    clock,
    mail::{Lane, MailLane, MailState, Timestamp},
};

/// The most rows of a lane that are counted.
pub const MOST_COUNTED: i64 = 20_000;

/// What operators keep back on purpose does not come late.
macro_rules! oldest_unless_kept_back {
    () => {
        "MIN(CASE WHEN merchant_id IN (SELECT id FROM merchants WHERE suspended_at IS NOT NULL
                UNION ALL SELECT name FROM pauses WHERE scope = 'merchant' AND (ends_at IS NULL OR ends_at > $3))
            OR EXISTS (SELECT 1 FROM pauses WHERE scope = 'lane' AND name = $1 AND (ends_at IS NULL OR ends_at > $3))
            THEN NULL ELSE due_at END) AS due_at"
    };
}

const MAILS: &str = concat!(
    "SELECT state, COUNT(*) AS amount, ",
    oldest_unless_kept_back!(),
    " FROM (SELECT state, due_at, merchant_id FROM mails WHERE lane = $1 AND wake_at IS NOT NULL LIMIT $2) AS counted
     GROUP BY state"
);

const CALLBACKS: &str = concat!(
    "SELECT state, COUNT(*) AS amount, ",
    oldest_unless_kept_back!(),
    " FROM (SELECT state, due_at, merchant_id FROM deliveries WHERE wake_at IS NOT NULL LIMIT $2) AS counted
     GROUP BY state"
);

// An index has just these: however many mails were tried out, none of them is read.
const DEAD: &str = "SELECT COUNT(*) FROM
     (SELECT 1 FROM mails WHERE state_after = $1 AND state_after IN ('failed', 'held') AND test = 0 LIMIT $2) AS counted";

/// What waits or is under way in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBacklog {
    /// The lane.
    pub lane: Lane,
    /// How many rows, by state; [`MOST_COUNTED`] in all at most.
    pub rows: Vec<(MailState, u64)>,
    /// When the oldest of those that wait was due; it may be still to come. What is of a merchant that is suspended or
    /// paused, or in a lane that is paused, does not count.
    pub oldest_due_at: Option<Timestamp>,
}

impl Store {
    /// What waits or is under way in the lanes of mails and of callbacks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lane_backlogs(&self) -> Result<Vec<LaneBacklog>, StoreError> {
        let mut lanes = Vec::with_capacity(MailLane::ALL.len() + 1);
        let now = clock::now().millis();
        for &lane in MailLane::ALL {
            let counted = query(MAILS).bind(lane.as_str()).bind(MOST_COUNTED).bind(now);
            let rows = counted.fetch_all(&self.readers).await.doing("count the mails that wait")?;
            lanes.push(of_lane("mails", lane.into(), &rows)?);
        }
        let counted = query(CALLBACKS).bind(Lane::Callback.as_str()).bind(MOST_COUNTED).bind(now);
        let rows = counted.fetch_all(&self.readers).await.doing("count the callbacks that wait")?;
        lanes.push(of_lane("deliveries", Lane::Callback, &rows)?);
        Ok(lanes)
    }

    /// How many mails are failed or held, whichever is asked for; [`MOST_COUNTED`] at most. Those of the sandbox do not count.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn dead_mails(&self, state: MailState) -> Result<u64, StoreError> {
        let counted = sqlx::query_scalar::<_, i64>(DEAD).bind(state.as_str()).bind(MOST_COUNTED);
        let count = counted.fetch_one(&self.readers).await.doing("count settled mails")?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn of_lane(table: &'static str, lane: Lane, rows: &[Row]) -> Result<LaneBacklog, StoreError> {
    let mut backlog = LaneBacklog { lane, rows: Vec::with_capacity(rows.len()), oldest_due_at: None };
    for row in rows {
        let columns = Columns { table, row };
        let state: MailState = columns.parsed("state")?;
        backlog.rows.push((state, columns.count("amount")?));
        // What a worker has does not wait.
        let due_at = columns.optional_time("due_at")?.filter(|_| state != MailState::Sending);
        backlog.oldest_due_at = [backlog.oldest_due_at, due_at].into_iter().flatten().min();
    }
    Ok(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{Origin, PauseScope},
        store::{Recording, webhooks_fixture as fixture},
    };

    async fn oldest(store: &Store) -> Option<Timestamp> {
        store.lane_backlogs().await.unwrap()[0].oldest_due_at
    }

    #[tokio::test]
    async fn mails_that_operators_keep_back_do_not_come_late() {
        let (store, _folder) = fixture::open().await;
        fixture::fill(&store, &fixture::tea()).await;
        let mails = vec![fixture::new_mail(&fixture::tea(), Origin::default())];
        store.record(Recording { mails, ..Recording::default() }).await.unwrap();
        assert!(oldest(&store).await.is_some());
        for scope in [PauseScope::Merchant(fixture::tea()), PauseScope::Lane(Lane::Transactional)] {
            store.pause(&scope, "too much", None).await.unwrap();
            assert_eq!(oldest(&store).await, None, "{scope}");
            store.resume(&scope).await.unwrap();
            assert!(oldest(&store).await.is_some());
        }
        let backlog = &store.lane_backlogs().await.unwrap()[0];
        assert_eq!(backlog.rows, [(MailState::Queued, 1)]);
    }

    #[tokio::test]
    async fn mails_that_were_tried_out_are_not_read_to_count_those_that_failed() {
        let (store, _folder) = fixture::open().await;
        let plan = fixture::plan_of(&store, &crate::store::sql::Sql::new(DEAD)).await;
        assert!(plan.iter().any(|line| line.contains("INDEX mails_dead")), "{plan:#?}");
    }
}
