//! ENQUEUED: carries bells to workers. The only code that knows apalis and Redis.
//!
//! A [`Bell`] is the id of a row with something to do. Whoever commits such a row calls [`Queue::enqueue`]; a worker
//! process calls [`work`] with a handler. SQL is the truth: when a row is due, how often it was tried and what became
//! of it is not known here, and what a queue loses the waker rings again (it watches [`Queue::generation`]).
//!
//! What every [`Queue`] promises:
//!
//! * A bell that was enqueued rings at least once, as long as the queue keeps its contents. Rung again while it
//!   waits, it rings once; rung again while a worker has it, it rings once more afterwards.
//! * A worker has a bell for the length of a lease. A worker that dies, or is silent for that long, loses it to
//!   another, and can then no longer finish it.
//! * Lanes are served in the order of [`Lane::ALL`], but of 16 bells each lower lane gets at least one while it has
//!   any and there is [`Room`] for it. Within a lane merchants take turns, so a long queue of one does not hold back
//!   another.
//! * A bell waits in the queue until a worker has room for its [`Group`] of lanes and, for a mail, a permit of
//!   [`Admit`]. A bell that waits there costs nothing, and bells of other groups pass it by.
//!
//! | file | is |
//! |---|---|
//! | `memory_queue.rs` | the queue of a single process |
//! | `redis_queue.rs`, `redis_connection.rs`, `*.lua` | the queue of many processes; `keys.lua` says what is in Redis |
//! | `work.rs` | runs a handler for each bell, with apalis as the harness |
//! | `room.rs` | the groups of lanes, how much room a worker has for each, and whose turn it is |
//! | `desk.rs`, `pump.rs`, `backend.rs` | what lies between `work` and a queue: the leases that are held, who claims and finishes them, and how apalis gets them |
//! | `conformance.rs` | what is promised above, as tests that both queues pass; `work_tests.rs` and `outage_tests.rs` are the like for workers and for a Redis that fails |

mod backend;
mod desk;
mod memory_queue;
mod pump;
mod redis_connection;
mod redis_queue;
mod room;
mod work;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod outage_tests;
#[cfg(test)]
mod redis_server;
#[cfg(test)]
mod work_tests;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::mail::{Lane, MerchantId};

pub use desk::Leases;
pub use memory_queue::MemoryQueue;
pub use redis_queue::RedisQueue;
pub use room::{Group, Places, Room};
pub use work::{Admit, Ended, Work, panicked_jobs, work};

/// The most bytes of a bell's id.
pub const LONGEST_ID: usize = 200;

/// Something to do, for a worker that looks it up by the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bell {
    /// Names the job and the row, as in `send_mail:0192…`. Any text of at most [`LONGEST_ID`] bytes; a queue does
    /// not look into it.
    pub id: String,
    /// Decides who goes first. A bell that is known already keeps the lane it was first rung in.
    pub lane: Lane,
    /// Whose turn it is within the lane.
    pub merchant: MerchantId,
}

/// A bell that was claimed, and the right to finish it until the lease expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What to do.
    pub bell: Bell,
    /// Tells this lease from every other one of the same bell.
    token: u64,
}

/// Carries bells from those who record work to those who do it.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Adds the bells that are not known yet and tells how many those were. A bell that is leased is remembered and
    /// rings again after it was finished.
    ///
    /// # Errors
    /// When an id is too long (then none was added), or the queue does not take them in time (then some may have
    /// been added; trying again is harmless).
    async fn enqueue(&self, bells: &[Bell]) -> Result<usize, QueueError>;

    /// Leases as many bells as there is room for, in the order in which they should be started. Leases that expired ring
    /// first. When bells are left, others who wait are told.
    ///
    /// # Errors
    /// When the queue cannot be asked. Bells whose leases were granted but not heard of ring again when those expire.
    async fn claim(&self, room: Room) -> Result<Vec<Lease>, QueueError>;

    /// Returns when there may be something to claim in a group of lanes, at the latest after `longest`. Whoever it returns
    /// to is to claim, for no one else may be told.
    ///
    /// # Errors
    /// When the queue cannot be asked.
    async fn wait(&self, group: Group, longest: Duration) -> Result<(), QueueError>;

    /// Forgets bells whose work is done and tells how many were still leased to the caller.
    ///
    /// # Errors
    /// When the queue cannot be told; trying again is harmless.
    async fn finish(&self, done: &[Lease]) -> Result<usize, QueueError>;

    /// Gives back bells whose work was not done; they ring again before others of their lane.
    ///
    /// # Errors
    /// When the queue cannot be told; trying again is harmless.
    async fn release(&self, back: &[Lease]) -> Result<usize, QueueError>;

    /// Lets leases begin anew and tells how many were still the caller's.
    ///
    /// # Errors
    /// When the queue cannot be told.
    async fn extend(&self, held: &[Lease]) -> Result<usize, QueueError>;

    /// Stops a lane for all processes: it takes bells but gives none. Leases go on.
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

    /// A text that changes when the queue may have lost bells: it was restarted, emptied or replaced.
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
    /// Bells that no worker has.
    pub waiting: u64,
    /// Bells that a worker has.
    pub leased: u64,
    /// Whether the lane gives nothing until it is resumed.
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
    /// How long a worker may be silent before its bells ring elsewhere.
    #[serde(with = "crate::mail::duration")]
    pub lease: Duration,
    /// How long [`Queue::enqueue`] waits for Redis to take 500 bells.
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
    /// A bell cannot be carried.
    #[error("a bell's id has {0} bytes, at most {LONGEST_ID} are allowed")]
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
    Ended(String, #[source] Option<apalis_core::error::WorkerError>),
}

/// Opens the queue that the settings name. A Redis server need not be there yet: until it is, calls fail.
///
/// # Errors
/// When the URL names no queue.
pub async fn connect(settings: &QueueSettings) -> Result<Arc<dyn Queue>, QueueError> {
    Ok(match settings.url.as_str() {
        "memory:" => Arc::new(MemoryQueue::new(settings.lease)),
        _ => Arc::new(RedisQueue::new(settings)?),
    })
}

/// Reaches the same queue over a connection of its own, for a runtime of its own: a connection does nothing while the
/// runtime in which it was opened is busy.
///
/// # Errors
/// When the URL names no queue.
pub async fn connect_again(
    queue: &Arc<dyn Queue>,
    settings: &QueueSettings,
) -> Result<Arc<dyn Queue>, QueueError> {
    match settings.url.as_str() {
        "memory:" => Ok(Arc::clone(queue)),
        _ => connect(settings).await,
    }
}

fn check_ids(bells: &[Bell]) -> Result<(), QueueError> {
    match bells.iter().map(|bell| bell.id.len()).find(|bytes| *bytes > LONGEST_ID) {
        Some(bytes) => Err(QueueError::LongId(bytes)),
        None => Ok(()),
    }
}
