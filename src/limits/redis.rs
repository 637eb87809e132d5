//! Counts in Redis, for all processes together: `take.lua` in one call. Each call is bounded, and what it does not answer in
//! time has taken at most what it was asked for.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisResult, Script, ScriptInvocation,
    TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::time::timeout;

use super::{
    allowance::{Mark, Pace},
    ask::{Ask, Scope},
    local::Decision,
    rate::Rate,
    tokens::Taken,
};
use crate::telemetry::METRICS;

/// The configured URL names no Redis server.
#[derive(Debug, thiserror::Error)]
#[error("`queue.url` is not the URL of a Redis server, so no rates can be counted there")]
pub struct LimiterError(#[source] pub(super) redis::RedisError);

/// The most mails of one call, and the most that is given back with it: about 3 ms during which Redis serves nobody else.
pub(super) const CHUNK: usize = 500;
/// How long a call may take. Mails wait meanwhile.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a connection may take to open where nobody waits for it.
const OPENING: Duration = Duration::from_secs(1);

/// The allowances in Redis.
pub(super) struct InRedis {
    client: Client,
    open: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    prefix: String,
    take: Script,
    resume: Script,
    /// Waits for the next call.
    returns: Mutex<Vec<Return>>,
}

/// Something that was not used.
pub(super) struct Return {
    pub(super) scope: Scope,
    pub(super) rate: Rate,
    pub(super) taken: Taken,
    pub(super) at: Instant,
}

impl Return {
    /// Whether it may still be worth something.
    pub(super) fn is_good(&self) -> bool {
        self.at.elapsed() < self.rate.span()
    }
}

/// Why Redis did not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Away {
    /// It refused, or answered with an error.
    #[error("redis did not count")]
    Failed(#[from] redis::RedisError),
    /// It said nothing in time.
    #[error("redis did not answer within {CALL_TIMEOUT:?}")]
    Silent,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("time.lua"), include_str!($file)))
    };
}

impl InRedis {
    /// Notes where the server is; the first call connects.
    pub(super) fn new(url: &str, ca_file: &Path, prefix: &str) -> Result<Self, LimiterError> {
        let info = url.into_connection_info().map_err(LimiterError)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = if ca_file.as_os_str().is_empty() {
            Client::open(info)
        } else {
            let pem = std::fs::read(ca_file).map_err(|error| LimiterError(error.into()))?;
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
        };
        Ok(Self {
            client: client.map_err(LimiterError)?,
            open: tokio::sync::Mutex::default(),
            prefix: format!("{{{prefix}}}:rate:"), // the hash tag of the queue's keys
            take: script!("take.lua"),
            resume: script!("resume.lua"),
            returns: Mutex::default(),
        })
    }

    /// Decides about at most [`CHUNK`] mails in their order. `clock` is for tests.
    pub(super) async fn take(&self, asks: &[Ask], clock: Option<u64>) -> Result<Vec<Decision>, Away> {
        let returns = self.due_returns();
        let (mut numbers, mut limits) = (HashMap::new(), Vec::new());
        let mut number = |scope, rate| {
            *numbers.entry((scope, rate)).or_insert_with(|| {
                limits.push((scope, rate));
                limits.len()
            })
        };
        let mut words = vec![returns.len().to_string()];
        for Return { scope, rate, taken, .. } in &returns {
            words.push(format!("{} {} {}", number(scope, *rate), taken.each, taken.mark.0));
        }
        for ask in asks {
            let own = ask.limits().iter().map(|(scope, rate)| number(scope, *rate).to_string());
            words.push(own.collect::<Vec<_>>().join(" "));
        }
        let mut script = self.script(&self.take, clock);
        script.arg(limits.len());
        for (scope, rate) in limits {
            let Pace { each, burst } = Pace::from(rate);
            script.key(format!("{}{scope}", self.prefix)).arg(each).arg(burst);
        }
        for word in &words {
            script.arg(word);
        }
        let answers: Vec<u64> = self.call(&script, CALL_TIMEOUT).await?;
        Ok(decisions(asks, &answers))
    }

    /// In which time this process may count here again, after it counted by itself.
    pub(super) async fn resume(&self, clock: Option<u64>) -> Result<Duration, Away> {
        let script = self.script(&self.resume, clock);
        self.call(&script, OPENING).await.map(Duration::from_micros)
    }

    /// Notes what was not used, for the next call. Where there is too much, the rest is lost: it comes back by itself.
    pub(super) fn give_back(&self, returns: impl Iterator<Item = Return>) {
        let mut waiting = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CHUNK.saturating_sub(waiting.len());
        waiting.extend(returns.take(room));
    }

    fn due_returns(&self) -> Vec<Return> {
        let mut waiting = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut returns = std::mem::take(&mut *waiting);
        returns.retain(Return::is_good);
        returns
    }

    fn script<'a>(&self, script: &'a Script, clock: Option<u64>) -> ScriptInvocation<'a> {
        let mut invocation = script.key(format!("{}since", self.prefix));
        invocation.arg(clock.map(|now| now.to_string()).unwrap_or_default());
        invocation
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        limit: Duration,
    ) -> Result<T, Away> {
        let attempts = async {
            match self.once(script).await {
                // It may have died long ago, which shows only when it is used. Taken twice is only waited for.
                Err(Away::Failed(error)) if error.is_connection_dropped() => {
                    self.close();
                    self.once(script).await
                }
                other => other,
            }
        };
        let answer = timeout(limit, attempts).await.unwrap_or(Err(Away::Silent));
        if answer.is_err() {
            self.close();
        }
        answer
    }

    async fn once<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Away> {
        let mut connection = self.connection().await?;
        let began = Instant::now();
        let answered = timeout(CALL_TIMEOUT, script.invoke_async(&mut connection)).await;
        METRICS.queue_took("rates", began.elapsed());
        match answered {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Away::Silent),
        }
    }

    /// Leaves the connection to those who wait on it.
    fn close(&self) {
        // When somebody has the lock, a new connection is being opened already.
        if let Ok(mut open) = self.open.try_lock() {
            *open = None;
        }
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(OPENING))
            .set_response_timeout(Some(OPENING));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(open.insert(connection).clone())
    }
}

/// Reads what `take.lua` returns. What is missing counts as a refusal of the first limit: nothing was told to be granted.
fn decisions(asks: &[Ask], answers: &[u64]) -> Vec<Decision> {
    let mut answers = answers.iter().copied();
    let decision = |ask: &Ask| match answers.next() {
        Some(0) => {
            let taken = |(_, rate): &(Scope, Rate)| {
                Some(Taken { each: rate.each_micros(), mark: Mark(answers.next()?) })
            };
            Decision::Granted(ask.limits().iter().filter_map(taken).collect())
        }
        limit => {
            let limit = usize::try_from(limit.unwrap_or(1)).unwrap_or(1).saturating_sub(1);
            Decision::Denied { limit, wait: answers.next().unwrap_or(1_000_000) }
        }
    };
    asks.iter().map(decision).collect()
}
