//! The queue of many processes, in Redis. What it holds there and how it changes is in `keys.lua` and the scripts
//! beside it; each runs as a whole or not at all, and moves at most [`CHUNK`] jobs.
//!
//! Redis knows a job's id, lane and merchant, and forgets them when the job is finished.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use redis::{Script, ScriptInvocation, aio::MultiplexedConnection};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Group, LaneStatus, Lease, Queue, QueueError, QueueSettings, QueueStatus, QueuedJob, Room, check_ids,
    redis_connection::Connection,
    room::{MAIL_TURNS, TURNS},
};
use crate::mail::Lane;

/// The most jobs of one script: about 5 ms during which Redis serves nobody else.
const CHUNK: usize = 500;
/// How long the calls that no client waits for may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much longer than asked Redis may block before we think it gone.
const GRACE: Duration = Duration::from_secs(1);

/// A queue in Redis.
pub struct RedisQueue {
    connection: Connection,
    /// Connections on which nobody is blocked just now.
    idle: Mutex<Vec<MultiplexedConnection>>,
    prefix: String,
    lease: Duration,
    enqueue_timeout: Duration,
    scripts: Scripts,
}

struct Scripts {
    enqueue: Script,
    fetch: Script,
    finish: Script,
    release: Script,
    extend: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("keys.lua"), include_str!($file)))
    };
}

impl RedisQueue {
    /// Notes where the server is; the first call connects.
    ///
    /// # Errors
    /// When the URL is not one of a Redis server.
    pub fn new(settings: &QueueSettings) -> Result<Self, QueueError> {
        Ok(Self {
            connection: Connection::new(&settings.url).map_err(QueueError::Url)?,
            idle: Mutex::default(),
            prefix: format!("{{{}}}:", settings.prefix), // a hash tag: all keys are in one slot
            lease: settings.lease,
            enqueue_timeout: settings.enqueue_timeout,
            scripts: Scripts {
                enqueue: script!("enqueue.lua"),
                fetch: script!("fetch.lua"),
                finish: script!("finish.lua"),
                release: script!("release.lua"),
                extend: script!("extend.lua"),
            },
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The list whose elements wake those who wait for a group.
    fn signal(&self, group: Group) -> String {
        self.key(&format!("signal:{}", group.as_str()))
    }

    fn lease_millis(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// Runs a script that takes ids with their tokens.
    async fn settle<'a>(
        &self,
        call: &'static str,
        mut script: ScriptInvocation<'_>,
        leases: impl Iterator<Item = &'a Lease> + Send,
    ) -> Result<usize, QueueError> {
        for lease in leases {
            script.arg(&lease.job.id).arg(lease.token);
        }
        self.connection.run(call, PATIENCE, &script).await
    }

    async fn fetch_chunk(&self, room: Room) -> Result<Vec<Lease>, QueueError> {
        let token: u64 = rand::random();
        let mut script = self.scripts.fetch.key(&self.prefix);
        script.arg(room.in_all()).arg(self.lease_millis()).arg(token);
        script.arg(spelled(Lane::ALL.iter().map(|lane| lane.as_str())));
        script.arg(spelled(TURNS.iter().map(|group| group.as_str())));
        script.arg(spelled(MAIL_TURNS.iter().map(|lane| lane.as_str())));
        for group in Group::ALL {
            script.arg(group.as_str()).arg(room.of(group));
        }
        let fetched: Vec<(String, String, String)> = self.connection.run("fetch", PATIENCE, &script).await?;
        let lease = |(id, lane, merchant): (String, String, String)| {
            // Both are ours; what is not, was put there by somebody else and is left to its lease.
            let job = QueuedJob { id, lane: lane.parse().ok()?, merchant: merchant.parse().ok()? };
            Some(Lease { job, token })
        };
        Ok(fetched.into_iter().filter_map(lease).collect())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn enqueue(&self, jobs: &[QueuedJob]) -> Result<usize, QueueError> {
        check_ids(jobs)?;
        let mut new = 0;
        for chunk in jobs.chunks(CHUNK) {
            let mut script = self.scripts.enqueue.key(&self.prefix);
            for job in chunk {
                script.arg(&job.id).arg(job.lane.as_str()).arg(job.merchant.as_str());
            }
            new += self.connection.run::<usize>("enqueue", self.enqueue_timeout, &script).await?;
        }
        Ok(new)
    }

    async fn fetch(&self, mut room: Room) -> Result<Vec<Lease>, QueueError> {
        let mut fetched = self.fetch_chunk(room.at_most(CHUNK)).await?;
        let mut last = fetched.len();
        fetched.iter().for_each(|lease| room.take(lease.job.lane));
        while last == CHUNK && room.in_all() > 0 {
            // What was fetched before is kept, whatever becomes of the next chunk.
            let Ok(more) = self.fetch_chunk(room.at_most(CHUNK)).await else { break };
            last = more.len();
            more.iter().for_each(|lease| room.take(lease.job.lane));
            fetched.extend(more);
        }
        Ok(fetched)
    }

    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError> {
        let call = "wait";
        let idle = self.idle().pop();
        let failed = |source| QueueError::Redis { call, source };
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connection.open_own().await.map_err(failed)?,
        };
        let mut pop = redis::cmd("BLPOP");
        pop.arg(self.signal(group)).arg(longest.as_secs_f64().max(0.001)); // 0 would be for ever
        let limit = longest + GRACE;
        match timeout(limit, pop.query_async::<redis::Value>(&mut connection)).await {
            Ok(Ok(_)) => self.idle().push(connection),
            Ok(Err(source)) => return Err(failed(source)),
            Err(_) => return Err(QueueError::Silent { call, limit }),
        }
        Ok(())
    }

    async fn finish(&self, done: &[Lease]) -> Result<usize, QueueError> {
        let mut finished = 0;
        for chunk in done.chunks(CHUNK) {
            finished += self.settle("finish", self.scripts.finish.key(&self.prefix), chunk.iter()).await?;
        }
        Ok(finished)
    }

    async fn release(&self, back: &[Lease]) -> Result<usize, QueueError> {
        let mut released = 0;
        for chunk in back.rchunks(CHUNK) {
            let last_first = chunk.iter().rev();
            released += self.settle("release", self.scripts.release.key(&self.prefix), last_first).await?;
        }
        Ok(released)
    }

    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError> {
        let mut extended = 0;
        for chunk in held.chunks(CHUNK) {
            let mut script = self.scripts.extend.key(&self.prefix);
            script.arg(self.lease_millis());
            extended += self.settle("extend", script, chunk.iter()).await?;
        }
        Ok(extended)
    }

    async fn pause(&self, lane: Lane) -> Result<(), QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.sadd(self.key("paused"), lane.as_str()).ignore();
        self.connection.pipe("pause", &pipeline).await
    }

    async fn resume(&self, lane: Lane) -> Result<(), QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.srem(self.key("paused"), lane.as_str()).ignore();
        pipeline.rpush(self.signal(Group::of(lane)), 1).ignore();
        self.connection.pipe("resume", &pipeline).await
    }

    async fn status(&self) -> Result<QueueStatus, QueueError> {
        let mut pipeline = redis::pipe();
        for lane in Lane::ALL {
            let [waiting, leased] = ["waiting", "leased"].map(|what| format!("{what} {lane}"));
            pipeline.cmd("HMGET").arg(self.key("counts")).arg(waiting).arg(leased);
            pipeline.sismember(self.key("paused"), lane.as_str());
        }
        let answers: Vec<redis::Value> = self.connection.pipe("status", &pipeline).await?;
        let counted: Vec<Counted> = redis::from_redis_value(redis::Value::Array(answers))
            .map_err(|error| QueueError::Redis { call: "status", source: error.into() })?;
        let lanes = Lane::ALL.iter().zip(counted);
        let status = |(lane, ((waiting, leased), paused)): (&Lane, Counted)| LaneStatus {
            lane: *lane,
            waiting: waiting.unwrap_or(0),
            leased: leased.unwrap_or(0),
            paused,
        };
        Ok(QueueStatus { lanes: lanes.map(status).collect() })
    }

    async fn generation(&self) -> Result<String, QueueError> {
        let mut pipeline = redis::pipe();
        pipeline.set_nx(self.key("generation"), Uuid::now_v7().to_string()).ignore();
        pipeline.get(self.key("generation"));
        pipeline.cmd("INFO").arg("server");
        let (key, server): (String, String) = self.connection.pipe("generation", &pipeline).await?;
        let run = server.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
        Ok(format!("{key} {run}"))
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}

/// Waiting and leased, and whether the lane is paused.
type Counted = ((Option<u64>, Option<u64>), bool);

fn spelled<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
