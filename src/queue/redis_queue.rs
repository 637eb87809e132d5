//! The queue of many processes, in Redis. What it holds there and how it changes is in `keys.lua` and the scripts
//! beside it; each runs as a whole or not at all, and moves at most [`CHUNK`] jobs.
//!
//! Redis knows a job's id, lane, merchant and domains, and forgets them when the job is finished.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use redis::{Script, ScriptInvocation, aio::MultiplexedConnection};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    FetchBudget, Fetched, Group, Lease, Queue, QueueError, QueueSettings, QueueStatus, QueuedJob, SetAside,
    Whereabouts, check_ids, check_names,
    lane_groups::{MAIL_TURNS, TURNS},
    lines::{ASKING, InsertAt, LINES_AT_ONCE, LOOK_AGAIN},
    redis_connection::Connection,
    redis_setup, redis_status,
    redis_text::{job_of, text_of, whereabouts_of},
};
use crate::mail::{Lane, MerchantId};

/// The most jobs of one script: about 5 ms during which Redis serves nobody else.
const CHUNK: usize = 500;
/// How long the calls that no client waits for may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than asked Redis may block before we think it gone.
const GRACE: Duration = Duration::from_secs(1);

/// Instead of a line, of what was at the front of the main line; `fetch.lua` has the same.
const AT_THE_FRONT: &str = "^";

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
    set_aside: Script,
    wake: Script,
    where_are: Script,
    status: Script,
    crowding: Script,
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
    /// When the URL is not one of a Redis server, or the certificates cannot be read.
    pub fn new(settings: &QueueSettings) -> Result<Self, QueueError> {
        Ok(Self {
            connection: Connection::new(settings)?,
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
                set_aside: script!("set_aside.lua"),
                wake: script!("wake.lua"),
                where_are: script!("where_are.lua"),
                status: script!("status.lua"),
                crowding: script!("crowding.lua"),
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
        millis(self.lease)
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
        self.connection.run(call, CALL_TIMEOUT, &script).await
    }

    async fn fetch_chunk(&self, budget: FetchBudget) -> Result<Fetched, QueueError> {
        let token: u64 = rand::random();
        let mut script = self.scripts.fetch.key(&self.prefix);
        script.arg(budget.in_all()).arg(self.lease_millis()).arg(token);
        script.arg(spelled(Lane::ALL.iter().map(|lane| lane.as_str())));
        script.arg(spelled(TURNS.iter().map(|group| group.as_str())));
        script.arg(spelled(MAIL_TURNS.iter().map(|lane| lane.as_str())));
        script.arg(millis(ASKING)).arg(millis(LOOK_AGAIN)).arg(LINES_AT_ONCE);
        for group in Group::ALL {
            script.arg(group.as_str()).arg(budget.of(group));
        }
        let (due_in, leaves_single_mails, fetched): FetchReply =
            self.connection.run("fetch", CALL_TIMEOUT, &script).await?;
        let lease = |(id, job, line): (String, String, String)| {
            let was_at_the_front = line == AT_THE_FRONT;
            let line = (!line.is_empty() && !was_at_the_front).then(|| Arc::from(line));
            // What is not ours was put there by somebody else and is left to its lease.
            Some(Lease { job: job_of(id, &job)?, token, line, was_at_the_front })
        };
        Ok(Fetched {
            leases: fetched.into_iter().filter_map(lease).collect(),
            due_in: u64::try_from(due_in).ok().map(Duration::from_millis),
            leaves_single_mails,
        })
    }

    async fn wake_lines(&self, lines: &[String]) -> Result<usize, QueueError> {
        let mut script = self.scripts.wake.key(&self.prefix);
        for line in lines {
            script.arg(line);
        }
        self.connection.run("wake", CALL_TIMEOUT, &script).await
    }

    /// Moves up to [`CHUNK`] jobs to one line; without any it sets the line's time.
    async fn set_aside_chunk(
        &self,
        aside: &SetAside,
        jobs: &[(&Lease, InsertAt)],
    ) -> Result<usize, QueueError> {
        let mut script = self.scripts.set_aside.key(&self.prefix);
        push_aside(&mut script, aside, jobs);
        self.connection.run("set_aside", CALL_TIMEOUT, &script).await
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn config_warnings(&self) -> Result<Vec<String>, QueueError> {
        redis_setup::config_warnings(&self.connection).await
    }

    async fn enqueue(&self, jobs: &[QueuedJob]) -> Result<usize, QueueError> {
        check_ids(jobs)?;
        let mut new = 0;
        for chunk in jobs.chunks(CHUNK) {
            let mut script = self.scripts.enqueue.key(&self.prefix);
            for job in chunk {
                script.arg(&job.id).arg(text_of(job));
            }
            new += self.connection.run::<usize>("enqueue", self.enqueue_timeout, &script).await?;
        }
        Ok(new)
    }

    async fn fetch(&self, mut budget: FetchBudget) -> Result<Fetched, QueueError> {
        let mut fetched = self.fetch_chunk(budget.at_most(CHUNK)).await?;
        let mut last = fetched.leases.len();
        fetched.leases.iter().for_each(|lease| budget.take(lease.job.lane));
        while last == CHUNK && budget.in_all() > 0 {
            // What was fetched before is kept, whatever becomes of the next chunk.
            let Ok(more) = self.fetch_chunk(budget.at_most(CHUNK)).await else { break };
            last = more.leases.len();
            more.leases.iter().for_each(|lease| budget.take(lease.job.lane));
            fetched.leases.extend(more.leases);
            fetched.due_in = more.due_in;
            fetched.leaves_single_mails = more.leaves_single_mails;
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

    async fn set_aside(&self, asides: &[SetAside]) -> Result<usize, QueueError> {
        check_names(asides)?;
        let mut moved = 0;
        let in_all: usize = asides.iter().map(|aside| aside.leases.len()).sum();
        if asides.len() <= LINES_AT_ONCE && in_all <= CHUNK {
            let mut script = self.scripts.set_aside.key(&self.prefix);
            for aside in asides {
                push_aside(&mut script, aside, &aside.in_order().collect::<Vec<_>>());
            }
            return self.connection.run("set_aside", CALL_TIMEOUT, &script).await;
        }
        for aside in asides {
            let jobs: Vec<(&Lease, InsertAt)> = aside.in_order().collect();
            if jobs.is_empty() {
                self.set_aside_chunk(aside, &[]).await?;
            }
            for chunk in jobs.chunks(CHUNK) {
                moved += self.set_aside_chunk(aside, chunk).await?;
            }
        }
        Ok(moved)
    }

    async fn wake(&self, lines: &[String]) -> Result<(), QueueError> {
        for chunk in lines.chunks(CHUNK) {
            self.wake_lines(chunk).await?;
        }
        Ok(())
    }

    async fn wake_all(&self) -> Result<(), QueueError> {
        while self.wake_lines(&[]).await? == CHUNK {}
        Ok(())
    }

    async fn where_are(&self, jobs: &[String]) -> Result<Vec<Whereabouts>, QueueError> {
        let mut places = Vec::with_capacity(jobs.len());
        for chunk in jobs.chunks(CHUNK) {
            let mut script = self.scripts.where_are.key(&self.prefix);
            for id in chunk {
                script.arg(id);
            }
            let told: Vec<(String, String, i64, String)> =
                self.connection.run("where_are", self.enqueue_timeout, &script).await?;
            places.extend(told.into_iter().map(whereabouts_of));
        }
        Ok(places)
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

    async fn ping(&self) -> Result<(), QueueError> {
        self.connection.pipe("ping", redis::pipe().ping().ignore()).await
    }

    async fn status(&self) -> Result<QueueStatus, QueueError> {
        redis_status::read(&self.connection, &self.scripts.status, &self.prefix).await
    }

    async fn crowding(&self, lane: Lane) -> Result<Vec<MerchantId>, QueueError> {
        redis_status::crowding(&self.connection, &self.scripts.crowding, &self.prefix, lane).await
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

/// Milliseconds until the next line's time, whether single mails are left, and jobs with the lines that they came from.
type FetchReply = (i64, bool, Vec<(String, String, String)>);

fn push_aside(script: &mut ScriptInvocation<'_>, aside: &SetAside, jobs: &[(&Lease, InsertAt)]) {
    let line = &aside.line;
    script.arg(&line.name).arg(signed_millis(line.after)).arg(line.at_most.max(1)).arg(line.reason.as_str());
    script.arg(u8::from(aside.is_answer())).arg(jobs.len());
    for (lease, at) in jobs {
        script.arg(&lease.job.id).arg(lease.token).arg(at.as_str());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Rounded up, so that nobody comes too early; -1 for none. A century is as good as more.
fn signed_millis(duration: Option<Duration>) -> i64 {
    const CENTURY: i64 = 100 * 365 * 86_400 * 1_000;
    duration.map_or(-1, |duration| {
        i64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(CENTURY).min(CENTURY)
    })
}

fn spelled<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
