//! ENQUEUED: carries jobs to workers. The only code that knows apalis and Redis.
//!
//! A [`QueuedJob`] names a kind of work and the row that it is about. Whoever commits such a row enqueues the job, most
//! often through the [`Dispatcher`]. A worker process calls [`work`] with a handler. SQL is the truth: the queue does not
//! know when a row is due, how often it was tried or what became of it. When the queue loses jobs, the scheduler
//! enqueues them again (it watches [`Queue::generation`]).
//!
//! A job's way through a queue: **enqueue**, **fetch** (a worker gets a lease), **extend** the lease while the job runs,
//! then **finish** it, or **release** it unfinished.
//!
//! What every [`Queue`] promises:
//!
//! * A job that was enqueued is fetched at least once, as long as the queue keeps its contents. Enqueued again while it
//!   waits, it is fetched once; enqueued again while a worker has it, it is fetched once more afterwards.
//! * A worker has a job for the length of a lease. A worker that dies, or does not extend the lease for that long, loses
//!   the job to another worker and can no longer finish it.
//! * Lanes are served in the order of [`Lane::ALL`], but of 16 jobs each lower lane gets at least one while it has any and
//!   there is [`Room`] for it. Within a lane merchants take turns, so a long queue of one does not hold back another.
//! * A job waits in the queue until a worker has room for its [`Group`] of lanes and, for a mail, a permit of [`Admit`]. A
//!   job that waits there costs nothing, and jobs of other groups pass it by.
//!
//! | file | is |
//! |---|---|
//! | `connect.rs` | opens the queue that the settings name |
//! | `memory_queue.rs` | the queue of a single process |
//! | `redis_queue.rs`, `redis_connection.rs`, `*.lua` | the queue of many processes; `keys.lua` says what is in Redis |
//! | `dispatch.rs` | enqueues what requests and jobs hand over, many in one call |
//! | `work.rs` | runs a handler for each job, with apalis as the harness |
//! | `room.rs` | the groups of lanes, how much room a worker has for each, and whose turn it is |
//! | `admit.rs` | how many mails may start now |
//! | `fetcher.rs`, `backend.rs`, `lease_table.rs` | between `work` and a queue: who fetches jobs, how apalis gets them, and the leases that are held |
//! | `conformance.rs` | what is promised above, as tests that both queues pass; `work_tests.rs` and `outage_tests.rs` are the like for workers and for a Redis that fails |

mod admit;
mod backend;
mod connect;
mod dispatch;
mod fetcher;
mod lease_table;
mod memory_queue;
mod redis_connection;
mod redis_queue;
mod room;
mod work;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
pub(crate) mod redis_server;
#[cfg(test)]
mod work_tests;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::mail::{Lane, MerchantId};

pub use admit::Admit;
pub use connect::{check, connect, connect_again};
pub use dispatch::Dispatcher;
pub use lease_table::{Leases, panicked_jobs};
pub use memory_queue::MemoryQueue;
pub use redis_queue::RedisQueue;
pub use room::{Group, Places, Room};
pub use work::{Ended, Work, work};

/// The most bytes in a job's id.
pub const LONGEST_ID: usize = 200;

/// A job that a worker is to run: its kind and the row that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// Names the job and the row, as in `send_mail:0192…`. Any text of at most [`LONGEST_ID`] bytes; a queue does
    /// not look into it.
    pub id: String,
    /// Decides who goes first. A job that is known already keeps the lane that it was first enqueued in.
    pub lane: Lane,
    /// Whose turn it is within the lane.
    pub merchant: MerchantId,
}

/// A job that was fetched, and the right to finish it until the lease expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What to do.
    pub job: QueuedJob,
    /// Tells this lease from every other one of the same job.
    token: u64,
}

/// Carries jobs from those who record rows to the workers.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Adds the jobs that are not known yet and tells how many those were. A job that is leased is enqueued once more
    /// when it is finished.
    ///
    /// # Errors
    /// When an id is too long (then none was added), or the queue does not take them in time (then some may have
    /// been added; trying again is harmless).
    async fn enqueue(&self, jobs: &[QueuedJob]) -> Result<usize, QueueError>;

    /// Leases as many jobs as there is room for, in the order in which they should be started. Jobs whose leases expired
    /// come first. When jobs are left, other workers that wait are told.
    ///
    /// # Errors
    /// When the queue cannot be asked. Jobs whose leases were granted, but whose answer was lost, are fetched again when
    /// the leases expire.
    async fn fetch(&self, room: Room) -> Result<Vec<Lease>, QueueError>;

    /// Returns when there may be something to fetch in a group of lanes, at the latest after `longest`. The caller must
    /// then fetch: perhaps no other worker was told.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError>;

    /// Forgets jobs that are done and tells how many were still leased to the caller.
    ///
    /// # Errors
    /// When the queue cannot be told; trying again is harmless.
    async fn finish(&self, done: &[Lease]) -> Result<usize, QueueError>;

    /// Gives back jobs that were not done; they are fetched again before others of their lane. Tells how many were still
    /// leased to the caller.
    ///
    /// # Errors
    /// When the queue cannot be told; trying again is harmless.
    async fn release(&self, back: &[Lease]) -> Result<usize, QueueError>;

    /// Extends leases to their full length and tells how many were still the caller's.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError>;

    /// Stops a lane for all processes: jobs can be enqueued but not fetched. Leases go on.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn pause(&self, lane: Lane) -> Result<(), QueueError>;

    /// Starts a paused lane again.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn resume(&self, lane: Lane) -> Result<(), QueueError>;

    /// Counts what is in the queue, for the dashboard and metrics.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn status(&self) -> Result<QueueStatus, QueueError>;

    /// A text that changes when the queue may have lost jobs: it was restarted, emptied or replaced.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn generation(&self) -> Result<String, QueueError>;

    /// How long a lease lasts.
    fn lease(&self) -> Duration;
}

/// What is in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// One for each of [`Lane::ALL`], in that order.
    pub lanes: Vec<LaneStatus>,
}

/// What is in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// Jobs that no worker has.
    pub waiting: u64,
    /// Jobs that a worker has leased.
    pub leased: u64,
    /// Whether nothing is fetched from the lane until it is resumed.
    pub paused: bool,
}

/// Where the queue is: the `queue` section of the configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// `memory:`, or a Redis server (6.2 or later, `maxmemory-policy noeviction`) as `redis://`, `rediss://` or
    /// `unix://`.
    pub url: String,
    /// Begins every key in Redis; installations that share a server differ in it.
    pub prefix: String,
    /// How long a lease lasts unless its worker extends it.
    #[serde(with = "crate::mail::duration")]
    pub lease: Duration,
    /// How long [`Queue::enqueue`] waits for Redis to take 500 jobs.
    #[serde(with = "crate::mail::duration", default = "two_seconds")]
    pub enqueue_timeout: Duration,
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

impl fmt::Debug for QueueSettings {
    /// Leaves out the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSettings")
            .field("prefix", &self.prefix)
            .field("lease", &self.lease)
            .field("enqueue_timeout", &self.enqueue_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The configured URL names no queue.
    #[error("`queue.url` is neither `memory:` nor the URL of a Redis server")]
    Url(#[source] redis::RedisError),
    /// A job's id is too long.
    #[error("a job's id has {0} bytes, at most {LONGEST_ID} are allowed")]
    LongId(usize),
    /// Redis is away, or answered with an error.
    #[error("redis did not carry out {call}")]
    Redis {
        /// What was asked.
        call: &'static str,
        /// What went wrong.
        source: redis::RedisError,
    },
    /// Redis said nothing in time.
    #[error("redis did not answer {call} within {limit:?}")]
    Silent {
        /// What was asked.
        call: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// The apalis worker ended although nobody asked it to.
    #[error("the worker `{0}` ended by itself")]
    WorkerEnded(String, #[source] Option<apalis_core::error::WorkerError>),
}

fn check_ids(jobs: &[QueuedJob]) -> Result<(), QueueError> {
    match jobs.iter().map(|job| job.id.len()).find(|bytes| *bytes > LONGEST_ID) {
        Some(bytes) => Err(QueueError::LongId(bytes)),
        None => Ok(()),
    }
}
