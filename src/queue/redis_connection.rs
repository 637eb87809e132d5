//! One connection to Redis that many callers share, opened when it is needed and replaced when it died.
//!
//! Nothing here waits for a server that is away: a call fails as soon as the server refuses, or when its time is up,
//! and the next call tries again.

use std::{future::Future, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisResult,
    ScriptInvocation, ServerErrorKind, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{QueueError, QueueSettings};
use crate::telemetry::METRICS;

/// How long opening a connection may take.
const OPENING: Duration = Duration::from_secs(1);
/// How long a connection may be silent while an answer is due. Longer than a server forks or loads; shorter than a
/// lease.
const ANSWER: Duration = Duration::from_secs(10);

/// A client of one Redis server.
pub(super) struct Connection {
    client: Client,
    open: Mutex<Option<MultiplexedConnection>>,
}

impl Connection {
    /// Notes where the server is.
    ///
    /// # Errors
    /// When the URL is not one of a Redis server, or its certificates cannot be read.
    pub(super) fn new(settings: &QueueSettings) -> Result<Self, QueueError> {
        let info = settings.url.as_str().into_connection_info().map_err(QueueError::Url)?;
        // Many small requests share a connection: Nagle's algorithm would hold each back for the one before.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = if settings.ca_file.as_os_str().is_empty() {
            Client::open(info)
        } else {
            let pem = std::fs::read(&settings.ca_file)
                .map_err(|source| QueueError::CaFile { file: settings.ca_file.clone(), source })?;
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
        };
        Ok(Self { client: client.map_err(QueueError::Url)?, open: Mutex::new(None) })
    }

    /// Opens a connection for one caller who blocks on it; the answer may take as long as it likes.
    pub(super) async fn open_own(&self) -> RedisResult<MultiplexedConnection> {
        self.open(None).await
    }

    /// Runs a script that may be run twice, as it is when the connection turns out to be dead.
    ///
    /// # Errors
    /// When the server is away, answers with an error, or does not answer within `limit` or [`ANSWER`].
    pub(super) async fn run<T: FromRedisValue + Send>(
        &self,
        call: &'static str,
        limit: Duration,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, QueueError> {
        self.ask(call, limit, |mut connection| async move { script.invoke_async(&mut connection).await })
            .await
    }

    /// Runs a pipeline that may be run twice; as [`Connection::run`].
    ///
    /// # Errors
    /// When the server is away, answers with an error, or does not answer in time.
    pub(super) async fn pipe<T: FromRedisValue + Send>(
        &self,
        call: &'static str,
        pipeline: &redis::Pipeline,
    ) -> Result<T, QueueError> {
        self.ask(call, ANSWER, |mut connection| async move { pipeline.query_async(&mut connection).await })
            .await
    }

    async fn ask<T, F, R>(&self, call: &'static str, limit: Duration, request: F) -> Result<T, QueueError>
    where
        F: Fn(MultiplexedConnection) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let limit = limit.min(ANSWER);
        let attempts = async {
            match self.once(&request).await {
                // It may have died long ago, which shows only when it is used.
                Err(error) if error.is_connection_dropped() => self.once(&request).await,
                other => other,
            }
        };
        let began = Instant::now();
        let answered = timeout(limit, attempts).await;
        METRICS.queue_took(call, began.elapsed());
        match answered {
            Ok(answer) => answer.map_err(|source| QueueError::Redis { call, source }),
            Err(_) => {
                // When somebody has the lock, a new connection is being opened already.
                if let Ok(mut open) = self.open.try_lock() {
                    *open = None;
                }
                Err(QueueError::Silent { call, limit })
            }
        }
    }

    async fn once<T, F, R>(&self, request: &F) -> RedisResult<T>
    where
        F: Fn(MultiplexedConnection) -> R,
        R: Future<Output = RedisResult<T>>,
    {
        let connection = {
            let mut open = self.open.lock().await;
            match &*open {
                Some(connection) => connection.clone(),
                None => open.insert(self.open(Some(ANSWER)).await?).clone(),
            }
        };
        let answer = request(connection).await;
        if let Err(error) = &answer
            && (error.is_unrecoverable_error()
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
        {
            // Read-only: what was the master is a replica now, and its name may lead to another server.
            *self.open.lock().await = None;
        }
        answer
    }

    async fn open(&self, answer: Option<Duration>) -> RedisResult<MultiplexedConnection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(OPENING)).set_response_timeout(answer);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}
