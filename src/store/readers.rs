//! The connections that read. A read that is not answered ends, and its connection with it.
//!
//! The server's own limits do not help where packets vanish: such a read would wait until TCP gives up, which takes a
//! quarter of an hour, or for ever where the server had the question already.

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use futures_util::{FutureExt, TryFutureExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, AnyPool, Either, Error, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    pool::PoolConnection,
};
use tokio::time::timeout;

use super::{
    connections::{Deaths, Pool, STORE_TIMEOUT, give_back},
    error::{StoreError, has_died},
    kept_connection::KeptConnection,
};

/// A pool of connections, each used for one statement at a time.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    pool: AnyPool,
    /// Where one statement follows another, its connection.
    kept: Option<Arc<KeptConnection>>,
}

impl Readers {
    pub(super) fn new(pool: AnyPool) -> Self {
        Self { pool, kept: None }
    }

    /// For one who asks again and again.
    pub(super) fn keeping_their_connection(pool: AnyPool, deaths: Arc<Deaths>) -> Self {
        Self { pool, kept: Some(Arc::new(KeptConnection::new(deaths))) }
    }

    /// How its connections are used now.
    pub(super) fn pool(&self) -> Pool {
        Pool::of("readers", &self.pool)
    }

    /// Asks again when the pool gave a connection that had died since its last answer.
    pub(super) async fn on_a_live_connection<'a, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        // When Postgres restarts, all of them have died.
        for _ in 0..self.pool.size() {
            match ask().await {
                Err(StoreError::Database { source, .. }) if has_died(&source) => {}
                answer => return answer,
            }
        }
        ask().await
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        self.kept.iter().for_each(|kept| kept.close());
        self.pool.close().await;
    }

    async fn acquire(self) -> Result<Lent, Error> {
        let connection = match self.kept.as_ref().and_then(|kept| kept.take()) {
            Some(kept) => kept,
            None => self.pool.acquire().await?,
        };
        Ok(Lent { connection: Some(connection), kept: self.kept })
    }
}

/// A connection that goes back, also where the read that it is for was given up.
struct Lent {
    connection: Option<PoolConnection<Any>>,
    kept: Option<Arc<KeptConnection>>,
}

impl Lent {
    /// It is kept for the next who asks.
    fn has_answered(mut self) {
        if let Some(kept) = &self.kept
            && let Some(connection) = self.connection.take()
        {
            kept.keep(connection);
        }
    }
}

#[expect(clippy::expect_used, reason = "it is taken only when it is not used any more")]
impl Deref for Lent {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.connection.as_ref().expect("a connection that is lent")
    }
}

#[expect(clippy::expect_used, reason = "it is taken only when it is not used any more")]
impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("a connection that is lent")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.connection.take().into_iter().for_each(give_back);
    }
}

/// Lets a read take [`STORE_TIMEOUT`], the wait for its connection included.
async fn within_limits<T>(read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let silent = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "a read was not answered in time").into());
    timeout(STORE_TIMEOUT, read).await.unwrap_or_else(silent)
}

impl<'p> Executor<'p> for &'p Readers {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let readers = self.clone();
        let all = async move { readers.acquire().await?.fetch_many(query).try_collect::<Vec<_>>().await };
        let all = within_limits(all).map_ok(|all| stream::iter(all.into_iter().map(Ok)));
        Box::pin(all.try_flatten_stream())
    }

    /// Without this, the rows would be gathered a second time from what [`fetch_many`](Self::fetch_many) has gathered.
    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let readers = self.clone();
        let all = async move {
            let mut connection = readers.acquire().await?;
            let all = connection.fetch_all(query).await?;
            connection.has_answered();
            Ok(all)
        };
        within_limits(all).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let readers = self.clone();
        within_limits(async move { readers.acquire().await?.fetch_optional(query).await }).boxed()
    }

    fn prepare_with<'e>(
        self,
        statement: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'p: 'e,
    {
        let readers = self.clone();
        within_limits(async move { readers.acquire().await?.prepare_with(statement, parameters).await })
            .boxed()
    }
}
