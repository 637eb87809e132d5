//! Worker processes and their heartbeats: who is alive, and whose claims stand.

use std::time::Duration;

use super::{
    database::Store,
    error::{Doing, StoreError},
    row::Columns,
    statement::query,
};
use crate::{
    clock,
    mail::{Timestamp, WorkerId},
};

/// A worker process as the database knows it.
#[derive(Clone, Debug)]
pub struct WorkerRecord {
    /// One start of one process.
    pub id: WorkerId,
    /// The machine's name.
    pub host: String,
    /// The process's id there.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
}

/// Workers that were not heard lately, as far as heartbeats tell.
#[derive(Debug, Default)]
pub struct OddHeartbeats {
    /// Whether there are workers that have been silent.
    pub are_silent: bool,
    /// Heartbeats from the future, which say nothing: the clocks of these workers are ahead, or were.
    pub ahead: Vec<(WorkerId, Timestamp)>,
}

impl Store {
    /// Records a worker process, or that it still lives.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn beat(&self, worker: WorkerId, host: &str, pid: u32) -> Result<(), StoreError> {
        self.writer.execute(query(
            "INSERT INTO workers (id, host, pid, started_at, heartbeat_at) VALUES ($1, $2, $3, $4, $4)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at",
        )
        .bind(worker.to_string())
        .bind(host)
        .bind(i64::from(pid))
        .bind(clock::now().millis()), "record a heartbeat").await.map(drop)
    }

    /// Notes that a worker has stopped: what it may still hold is given away at once.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn sign_off(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.writer
            .execute(
                query("UPDATE workers SET heartbeat_at = 0 WHERE id = $1").bind(worker.to_string()),
                "sign a worker off",
            )
            .await
            .map(drop)
    }

    /// How many workers were heard within `silence`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn live_workers(&self, silence: Duration) -> Result<usize, StoreError> {
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM workers WHERE heartbeat_at > $1")
            .bind((clock::now() - silence).millis())
            .fetch_one(&self.readers)
            .await
            .map(|live| usize::try_from(live).unwrap_or(usize::MAX))
            .doing("count the live workers")
    }

    /// Which heartbeats are not of the last `silence`. Most looks find none.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn odd_heartbeats(&self, silence: Duration) -> Result<OddHeartbeats, StoreError> {
        let now = clock::now();
        let rows =
            query("SELECT id, heartbeat_at FROM workers WHERE heartbeat_at <= $1 OR heartbeat_at > $2")
                .bind((now - silence).millis())
                .bind((now + silence).millis())
                .fetch_all(&self.readers)
                .await
                .doing("look for dead workers")?;
        let mut odd = OddHeartbeats::default();
        for row in &rows {
            let columns = Columns { table: "workers", row };
            match columns.time("heartbeat_at")? {
                at if at > now => odd.ahead.push((columns.parsed("id")?, at)),
                _ => odd.are_silent = true,
            }
        }
        Ok(odd)
    }

    /// Takes a worker for one that has stopped, unless it was heard since this heartbeat. One that lives all the same is alive
    /// again with its next heartbeat.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn give_up_worker(&self, worker: WorkerId, heartbeat: Timestamp) -> Result<bool, StoreError> {
        let update = query("UPDATE workers SET heartbeat_at = 0 WHERE id = $1 AND heartbeat_at = $2");
        let update = update.bind(worker.to_string()).bind(heartbeat.millis());
        Ok(self.writer.execute(update, "give up a worker").await? > 0)
    }

    /// Forgets workers that have been silent for `silence` and have nothing any more. One that fell silent after its mails were
    /// looked for, or some of whose mails were locked then, is still known to be dead.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_dead_workers(&self, silence: Duration) -> Result<u64, StoreError> {
        let delete = query(
            "DELETE FROM workers WHERE heartbeat_at <= $1
             AND NOT EXISTS (SELECT 1 FROM mails WHERE mails.wake_at IS NOT NULL AND mails.state = 'sending'
                AND mails.worker = workers.id)
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.worker = workers.id)",
        );
        let delete = delete.bind((clock::now() - silence).millis());
        self.writer.execute(delete, "forget dead workers").await
    }

    /// Records a queued job of no known kind, which was dropped.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn record_dropped_job(&self, id: &str, reason: &str) -> Result<(), StoreError> {
        self.writer
            .execute(
                query("INSERT INTO dropped_jobs (id, reason, at) VALUES ($1, $2, $3)")
                    .bind(id)
                    .bind(reason)
                    .bind(clock::now().millis()),
                "record a dropped job",
            )
            .await
            .map(drop)
    }

    /// The workers that are known.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, StoreError> {
        let rows = query("SELECT id, host, pid, started_at, heartbeat_at FROM workers ORDER BY started_at")
            .fetch_all(&self.readers)
            .await
            .doing("list workers")?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: "workers", row };
                Ok(WorkerRecord {
                    id: columns.parsed("id")?,
                    host: columns.text("host")?,
                    pid: u32::try_from(columns.integer("pid")?).unwrap_or(0),
                    started_at: columns.time("started_at")?,
                    heartbeat_at: columns.time("heartbeat_at")?,
                })
            })
            .collect()
    }
}
