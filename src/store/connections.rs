//! Pools of connections, and telling those that are of use from the others: when Postgres restarts, all that are idle have
//! died; and those that were opened while it only took reads go on to only read.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Any, AnyConnection, AnyPool, Connection, Executor,
    any::{AnyConnectOptions, AnyPoolOptions},
    pool::PoolConnection,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{
    dialect::Dialect,
    error::{Doing, StoreError},
};

/// The longest read or transaction; after that its connection is closed. Longer than the server's own limits, so that these
/// answer first where there is a server that can.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection that is given back may take to answer.
const ANSWERS: Duration = Duration::from_secs(5);

/// A connection that may only read is replaced when it is as old as this: while the database takes no writes, those that
/// replace it can do no more.
const REPLACED: Duration = Duration::from_secs(1);

/// How long after its last answer a connection is taken to live.
pub(super) const TRUSTED: Duration = Duration::from_millis(500);

pub(super) async fn pool(
    dialect: Dialect,
    options: &AnyConnectOptions,
    connections: u32,
    deaths: &Arc<Deaths>,
) -> Result<AnyPool, StoreError> {
    let pool = settings(dialect.session(), None, deaths).max_connections(connections);
    match pool.connect_with(options.clone()).await {
        Err(sqlx::Error::PoolTimedOut) => Err(why_none_is_opened(options).await).doing("be reached"),
        opened => opened.doing("be reached"),
    }
}

/// A pool goes on trying and then says nothing but that its time is over.
async fn why_none_is_opened(options: &AnyConnectOptions) -> sqlx::Error {
    match timeout(ANSWERS, AnyConnection::connect_with(options)).await {
        Ok(Err(cause)) => cause,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

/// One connection for what is looked up by keys, made when it is first needed.
pub(super) fn look_ups(dialect: Dialect, options: &AnyConnectOptions, deaths: &Arc<Deaths>) -> AnyPool {
    let pool = settings(dialect.session(), dialect.looks_up(), deaths).max_connections(1);
    pool.connect_lazy_with(options.clone())
}

fn settings(session: &'static str, besides: Option<&'static str>, deaths: &Arc<Deaths>) -> AnyPoolOptions {
    let deaths = Arc::clone(deaths);
    AnyPoolOptions::new()
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for statements in iter::once(session).chain(besides) {
                    connection.execute(statements).await?;
                }
                Ok(())
            })
        })
        // One that answered a moment ago is not asked whether it lives.
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let deaths = Arc::clone(&deaths);
            Box::pin(async move {
                if deaths.may_only_read(metadata.age) {
                    return Ok(false);
                }
                if !deaths.trust(metadata.idle_for) {
                    connection.ping().await.inspect_err(|_| deaths.notice())?;
                }
                Ok(true)
            })
        })
}

/// Gives a connection back to its pool, which asks whether it still answers. One that does not is closed; dropped, it would
/// keep its place until TCP gives up.
pub(super) fn give_back(mut connection: PoolConnection<Any>) {
    let returned = connection.return_to_pool();
    // Without a runtime the process is ending.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(ANSWERS, returned));
    }
}

/// The connections of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `readers` or `writers`.
    pub name: &'static str,
    /// Connections that are in use.
    pub busy: usize,
    /// Connections that wait to be used.
    pub idle: usize,
    /// The most that there may be.
    pub most: u32,
}

impl Pool {
    pub(super) fn of(name: &'static str, pool: &AnyPool) -> Self {
        let idle = pool.num_idle();
        let busy = (pool.size() as usize).saturating_sub(idle);
        Self { name, busy, idle, most: pool.options().get_max_connections() }
    }
}

/// Remembers when a connection was last found dead, or only to read: those that are older have probably died with it, or are
/// like it.
#[derive(Debug)]
pub(super) struct Deaths {
    since: Instant,
    last: AtomicU64,
    last_read_only: AtomicU64,
}

impl Default for Deaths {
    fn default() -> Self {
        Self { since: Instant::now(), last: AtomicU64::new(0), last_read_only: AtomicU64::new(0) }
    }
}

impl Deaths {
    pub(super) fn notice(&self) {
        self.last.store(self.millis().max(1), Ordering::Relaxed);
    }

    /// A session may only read.
    pub(super) fn notice_read_only(&self) {
        self.last_read_only.store(self.millis().max(1), Ordering::Relaxed);
    }

    /// Whether a connection that was opened so long ago may be one that only reads, and is to be replaced.
    fn may_only_read(&self, age: Duration) -> bool {
        age >= REPLACED && self.has_come_within(&self.last_read_only, age)
    }

    /// Whether a connection that answered this long ago needs not be asked whether it lives.
    pub(super) fn trust(&self, idle_for: Duration) -> bool {
        idle_for <= TRUSTED
            && !self.has_come_within(&self.last, idle_for)
            && !self.has_come_within(&self.last_read_only, idle_for)
    }

    fn has_come_within(&self, last: &AtomicU64, span: Duration) -> bool {
        let last = last.load(Ordering::Relaxed);
        last > 0 && u128::from(self.millis().saturating_sub(last)) <= span.as_millis()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
