//! Whether mails may go: the one component that counts them. Admission asks.
//!
//! In one process it counts here. With Redis it counts there, for all processes together and by Redis' clock. While Redis is
//! away, each process counts by itself at its share of each rate, and comes back by itself.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    allowance::Pace,
    ask::{Ask, Scope},
    local::{Decision, Local},
    redis::{Away, CHUNK, InRedis, LimiterError, Return},
    tokens::{Answer, By, Counts, Taken, Tokens},
};
use crate::telemetry::chain;

/// How often a process that counts by itself looks whether Redis is back. Shorter than the grace of `resume.lua`.
const LOOKING: Duration = Duration::from_millis(100);

/// Decides which mails may go. A clone is the same limiter.
#[derive(Clone)]
pub struct Limiter {
    counts: Arc<Recorder>,
}

/// What is counted, and where.
pub(super) struct Recorder {
    local: Local,
    redis: Option<InRedis>,
    /// Whether Redis is away.
    away: Mutex<bool>,
    /// How often it was away.
    outages: AtomicU64,
    /// How many processes share the rates while it is.
    live_workers: Arc<AtomicUsize>,
    clock: Clock,
}

/// Microseconds that never go back; a test can turn them.
struct Clock {
    started: Instant,
    turned: Option<Arc<AtomicU64>>,
}

impl Clock {
    fn now(&self) -> u64 {
        let elapsed = || u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.of_test().unwrap_or_else(elapsed)
    }

    fn of_test(&self) -> Option<u64> {
        self.turned.as_ref().map(|turned| turned.load(Ordering::Relaxed))
    }
}

impl Limiter {
    /// Counts in this process alone.
    pub fn local() -> Self {
        Self::new(None, Arc::default(), None)
    }

    /// Counts where the jobs are: for `memory:` in this process, else in that Redis server, below `prefix`. It need not be
    /// there yet. `live_workers` is how many processes share the rates while it is away; 0 counts as 1.
    ///
    /// # Errors
    /// When the URL names no server, or its certificates (`ca_file`, unless that is empty) cannot be read.
    pub fn connect(
        url: &str,
        ca_file: &Path,
        prefix: &str,
        live_workers: Arc<AtomicUsize>,
    ) -> Result<Self, LimiterError> {
        match url {
            "memory:" => Ok(Self::new(None, live_workers, None)),
            _ => Ok(Self::new(Some(InRedis::new(url, ca_file, prefix)?), live_workers, None)),
        }
    }

    pub(super) fn new(
        redis: Option<InRedis>,
        live_workers: Arc<AtomicUsize>,
        turned: Option<Arc<AtomicU64>>,
    ) -> Self {
        Self {
            counts: Arc::new(Recorder {
                local: Local::new(),
                redis,
                away: Mutex::default(),
                outages: AtomicU64::new(0),
                live_workers,
                clock: Clock { started: Instant::now(), turned },
            }),
        }
    }

    /// Decides about mails in their order; one that is denied takes nothing. With Redis that is one call for 500 mails. It
    /// waits at most a quarter of a second for each, and never fails: while Redis is away this process counts.
    ///
    /// Mails without limits are granted without being counted. When this is dropped, what Redis granted meanwhile is lost,
    /// as if it had been used.
    pub async fn take(&self, asks: &[Ask]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(asks.len());
        for asks in asks.chunks(CHUNK) {
            answers.extend(self.take_chunk(asks).await);
        }
        answers
    }

    /// Decides about one mail without a call to Redis; `None` where Redis would have to be asked.
    pub fn take_at_once(&self, ask: &Ask) -> Option<Answer> {
        let counts = &self.counts;
        if ask.is_empty() {
            return Some(Answer::Granted(Tokens::default()));
        }
        if counts.redis.is_some() {
            return None;
        }
        let asks = std::slice::from_ref(ask);
        let decisions = counts.local.take(asks, counts.clock.now(), Pace::from);
        counts.answers(asks, decisions, By::Process(counts.outages.load(Ordering::Relaxed))).pop()
    }

    /// Lets tokens that are [no longer good](Tokens::are_good) go and asks again.
    pub async fn renew(&self, tokens: Tokens) -> Answer {
        if tokens.are_good() {
            return Answer::Granted(tokens);
        }
        let ask = tokens.ask();
        drop(tokens);
        match self.take(std::slice::from_ref(&ask)).await.pop() {
            Some(answer) => answer,
            None => Answer::Granted(Tokens::default()), // not reached: each ask is answered
        }
    }

    async fn take_chunk(&self, asks: &[Ask]) -> Vec<Answer> {
        let counts = &self.counts;
        if asks.iter().all(Ask::is_empty) {
            return asks.iter().map(|_| Answer::Granted(Tokens::default())).collect();
        }
        if let Some(redis) = counts.redis.as_ref().filter(|_| !counts.is_away()) {
            // Boxed: else every mail would carry the room for a call to Redis.
            match Box::pin(redis.take(asks, counts.clock.of_test())).await {
                Ok(decisions) => return counts.answers(asks, decisions, By::Redis),
                Err(away) => counts.count_here(&away),
            }
        }
        let outage = counts.outages.load(Ordering::Relaxed);
        let decisions = match &counts.redis {
            None => counts.local.take(asks, counts.clock.now(), Pace::from),
            Some(_) => {
                let workers = counts.live_workers.load(Ordering::Relaxed).max(1);
                let workers = u64::try_from(workers).unwrap_or(u64::MAX);
                counts.local.take(asks, counts.clock.now(), |rate| Pace::share(rate, workers))
            }
        };
        counts.answers(asks, decisions, By::Process(outage))
    }
}

impl Counts for Recorder {
    fn give_back(&self, by: By, at: Instant, ask: Ask, taken: Vec<Taken>) {
        let returns = ask.limits().iter().zip(taken);
        match by {
            By::Process(outage) if outage == self.outages.load(Ordering::Relaxed) => {
                let returns = returns.map(|((scope, _), taken)| (scope.clone(), taken));
                self.local.give_back(self.clock.now(), returns);
            }
            By::Process(_) => {}
            By::Redis => {
                let returns = returns.map(|((scope, rate), taken)| Return {
                    scope: scope.clone(),
                    rate: *rate,
                    taken,
                    at,
                });
                if let Some(redis) = &self.redis {
                    redis.give_back(returns.filter(Return::is_good));
                }
            }
        }
    }
}

impl Recorder {
    fn answers(self: &Arc<Self>, asks: &[Ask], decisions: Vec<Decision>, by: By) -> Vec<Answer> {
        let answer = |(ask, decision): (&Ask, Decision)| match decision {
            Decision::Granted(_) if ask.is_empty() => Answer::Granted(Tokens::default()),
            Decision::Granted(taken) => {
                Answer::Granted(Tokens::new(Arc::<Recorder>::clone(self), by, ask.clone(), taken))
            }
            Decision::Denied { limit, wait } => {
                let scope = ask.limits().get(limit).or(ask.limits().first()).map(|(scope, _)| scope.clone());
                Answer::Denied { scope: scope.unwrap_or(Scope::All), wait: Duration::from_micros(wait) }
            }
        };
        asks.iter().zip(decisions).map(answer).collect()
    }

    fn is_away(&self) -> bool {
        *self.away()
    }

    fn away(&self) -> std::sync::MutexGuard<'_, bool> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to count in this process, until Redis is back.
    fn count_here(self: &Arc<Self>, reason: &Away) {
        {
            let mut away = self.away();
            if std::mem::replace(&mut *away, true) {
                return;
            }
            self.outages.fetch_add(1, Ordering::Relaxed);
            self.local.begin_at(self.clock.now());
        }
        tracing::warn!(
            reason = %chain(reason),
            "redis is away: rates are counted in each process, which takes its share"
        );
        let counts = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOKING).await;
                let Some(counts) = counts.upgrade() else { return };
                let Some(redis) = &counts.redis else { return };
                if let Ok(wait) = redis.resume(counts.clock.of_test()).await {
                    tokio::time::sleep(wait).await;
                    *counts.away() = false;
                    tracing::info!("rates are counted in redis again");
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
impl Limiter {
    /// How many scopes this process keeps.
    pub(super) fn kept(&self) -> usize {
        self.counts.local.len()
    }

    /// Whether this process counts by itself although there is a Redis.
    pub(super) fn is_away(&self) -> bool {
        self.counts.is_away()
    }
}
