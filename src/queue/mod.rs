//! ENQUEUED: carries jobs to workers. The only code that knows apalis and Redis.
//!
//! A [`QueuedJob`] names a kind of work and the row that it is about. Whoever commits such a row enqueues the job, most
//! often through the [`Dispatcher`]. A worker process calls [`work`] with a handler. SQL is the truth: the queue does not
//! know when a row is due, how often it was tried or what became of it. When the queue loses jobs, the scheduler
//! enqueues them again (it watches [`Queue::generation`]).
//!
//! A job's way through a queue: **enqueue**, **fetch** (a worker gets a lease), **extend** the lease while the job runs,
//! then **finish** it, **release** it unfinished, or **set it aside** until what it waits for lets it go.
//!
//! What every [`Queue`] promises:
//!
//! * A job that was enqueued is fetched at least once, as long as the queue keeps its contents. Enqueued again while it
//!   waits, it is fetched once; enqueued again while a worker has it, it is fetched once more afterwards.
//! * A worker has a job for the length of a lease. A worker that dies, or does not extend the lease for that long, loses
//!   the job to another worker and can no longer finish it.
//! * Lanes are served in the order of [`Lane::ALL`], but of 16 jobs each lower lane gets at least one while it has any and
//!   the [`FetchBudget`] allows it. Within a lane merchants take turns, so a long queue of one does not hold back another.
//! * A job waits in the queue until a worker has room for its [`Group`] of lanes and, for a mail, room of [`Admit`]. A
//!   job that waits there costs nothing, and jobs of other groups pass it by.
//! * A job that is set aside waits in the [`Line`] of what it waits for, and all others pass it by. Nobody asks for it
//!   before the line's time, then only for as many as may go. Lanes and turns hold within a line, and what a line gives
//!   comes before the rest of its lane.
//! * Of a worker that dies between fetching a job and setting it aside, the lease expires.
//!
//! | file | is |
//! |---|---|
//! | `connect.rs` | opens the queue that the settings name |
//! | `memory_queue.rs`, `memory_state.rs`, `waiting_jobs.rs` | the queue of a single process |
//! | `redis_queue.rs`, `redis_status.rs`, `redis_text.rs`, `redis_connection.rs`, `*.lua` | the queue of many processes; `keys.lua` says what is in Redis |
//! | `lines.rs` | what waits for something other than a worker |
//! | `job.rs` | a job that is queued, and the lease of one that was fetched |
//! | `dispatch.rs` | enqueues what requests and jobs hand over, many in one call |
//! | `work.rs` | runs a handler for each job, with apalis as the harness |
//! | `hand_over.rs` | the way to this process's own worker for work that is not queued |
//! | `lane_groups.rs` | the groups of lanes, how many jobs of each a worker runs and fetches, and whose turn it is |
//! | `admit.rs` | how many mails may start now |
//! | `fetcher.rs`, `backend.rs`, `lease_table.rs` | between `work` and a queue: who fetches jobs, how apalis gets them, and the leases that are held |
//! | `conformance.rs` | what is promised above, as tests that both queues pass; `work_tests.rs` and `outage_tests.rs` are the like for workers and for a Redis that fails |

mod admit;
mod backend;
mod connect;
mod dispatch;
mod fetcher;
mod hand_over;
mod job;
mod lane_groups;
mod lease_table;
mod lines;
mod memory_queue;
mod memory_state;
mod redis_connection;
mod redis_queue;
mod redis_setup;
mod redis_status;
mod redis_text;
mod waiting_jobs;
mod work;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_of_lines;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
pub(crate) mod redis_server;
#[cfg(test)]
mod work_tests;

use std::{fmt, path::PathBuf, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::mail::{Lane, MerchantId};

pub use admit::{Admit, Decision};
pub use connect::{check, connect, connect_again};
pub use dispatch::Dispatcher;
pub use hand_over::{HandOver, ReservedPlace};
pub use job::{Domains, LONGEST_ID, Lease, QueuedJob};
pub use lane_groups::{FetchBudget, Group, Places};
pub use lease_table::{Leases, panicked_jobs};
pub use lines::{Fetched, LONGEST_NAME, Line, LineStatus, SetAside, Whereabouts, joined, parts};
pub use memory_queue::MemoryQueue;
pub use redis_queue::RedisQueue;
pub use work::{Ended, WorkerOptions, work};

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
    /// come first in their lane, then those of lines whose time has come. When jobs are left, other workers that wait are told.
    ///
    /// Whoever gets jobs of a line must say with [`set_aside`](Queue::set_aside) when the next of that line may go; other
    /// workers leave the line alone for a quarter of a second.
    ///
    /// # Errors
    /// When the queue cannot be asked. Jobs whose leases were granted, but whose answer was lost, are fetched again when
    /// the leases expire.
    async fn fetch(&self, budget: FetchBudget) -> Result<Fetched, QueueError>;

    /// Returns when there may be something to fetch in a group of lanes, at the latest after `longest`. The caller must
    /// then fetch: perhaps no other worker was told.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError>;

    /// Returns when the queue has answered.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<(), QueueError> {
        Ok(())
    }

    /// What is wrong with how the server is set up, in words for operators; nothing where nothing is.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn config_warnings(&self) -> Result<Vec<String>, QueueError> {
        Ok(Vec::new())
    }

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

    /// Moves leased mails to the lines of what they wait for, and sets the times of these lines. Tells how many were still
    /// leased to the caller.
    ///
    /// # Errors
    /// When a name is too long, or the queue cannot be told; trying again is harmless.
    async fn set_aside(&self, asides: &[SetAside]) -> Result<usize, QueueError>;

    /// Makes the time of these lines now, and of those that wait for one of them and something else: it may have changed.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn wake(&self, lines: &[String]) -> Result<(), QueueError>;

    /// The same for all lines.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn wake_all(&self) -> Result<(), QueueError>;

    /// Tells where the jobs with these ids are, in their order.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn where_are(&self, jobs: &[String]) -> Result<Vec<Whereabouts>, QueueError>;

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

    /// The merchants of whom more than a share of a lane waits there; what is set aside does not count. When the lane is
    /// full, more of theirs has to wait outside, and that of others has not.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn crowding(&self, lane: Lane) -> Result<Vec<MerchantId>, QueueError>;

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
    /// The hundred longest lines, the longest first.
    pub lines: Vec<LineStatus>,
}

/// Jobs that may wait in a lane before no more are added to it: what is due stays in the database meanwhile. Those that
/// are set aside hold nobody up and are counted apart.
const ENOUGH_WAITING: u64 = 20_000;
/// Of one merchant so many may wait in a lane that is full, and still more be added.
const SHARE: usize = 2_000;
/// The same as [`ENOUGH_WAITING`] for those that are set aside: what they cost is memory.
const ENOUGH_SET_ASIDE: u64 = 250_000;

impl QueueStatus {
    /// Whether more of what is due is to be added to a lane.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.lanes.iter().filter(|each| each.lane == lane).all(|each| {
            each.waiting.saturating_sub(each.set_aside) <= ENOUGH_WAITING
                && each.set_aside <= ENOUGH_SET_ASIDE
        })
    }
}

/// What is in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// Jobs that no worker has, with those that are set aside.
    pub waiting: u64,
    /// Jobs that are set aside.
    pub set_aside: u64,
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
    /// A PEM file with the certificate authority of a `rediss://` server; empty: the public ones.
    #[serde(default)]
    pub ca_file: PathBuf,
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
    /// The file of certificates cannot be read.
    #[error("`queue.ca_file`: `{}` cannot be read", .file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A job's id is too long.
    #[error("a job's id has {0} bytes, at most {LONGEST_ID} are allowed")]
    LongId(usize),
    /// The name of a line is too long.
    #[error("the name of what is waited for has at most {LONGEST_NAME} bytes, not {0}")]
    LongName(usize),
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

fn check_names(asides: &[SetAside]) -> Result<(), QueueError> {
    asides.iter().try_for_each(|aside| check_length(&aside.line.name))
}

fn check_length(text: &str) -> Result<(), QueueError> {
    if text.len() > LONGEST_NAME { Err(QueueError::LongName(text.len())) } else { Ok(()) }
}
