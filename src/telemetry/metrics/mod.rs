//! The metrics, all in one place; each one's help says when to act.

mod counts;
mod labels;
mod last_time;
mod reloads;
mod routes;
mod text;

use std::{
    sync::{LazyLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

pub use labels::*;
pub use last_time::LastTime;
pub use reloads::Reloads;

use crate::mail::{AttemptOutcome, ReplyClass};

/// A gauge of seconds or of a share.
type Fraction = Gauge<f64, AtomicU64>;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds from request to answer.
    pub request_seconds: Histogram,
    /// Mails recorded.
    pub recorded: Family<LaneLabels, Counter>,
    /// Mails that were recorded as claimed and handed over, past the queue.
    pub handed_over: Counter,
    /// Mails that reached a settled state.
    pub settled: Family<MailLabels, Counter>,
    /// The same of mails to the sandbox.
    pub settled_in_sandbox: Family<MailLabels, Counter>,
    /// Attempts by route and outcome.
    pub attempts: Family<RouteLabels, Counter>,
    /// How often a relay's refusal stopped a route, or a sender's domain on it.
    pub route_stops: Family<RouteStopLabels, Counter>,
    /// Whether a route is drained: 1 or 0.
    pub route_drained: Family<RouteNameLabels, Gauge>,
    /// Whether a route is used: 0 while its relay is away or refuses us.
    pub route_up: Family<RouteNameLabels, Gauge>,
    /// A route's connections, by state.
    pub route_connections: Family<RouteStateLabels, Gauge>,
    /// The most connections that a route may have.
    pub route_connections_limit: Family<RouteNameLabels, Gauge>,
    /// The share of a route's rate that this process used.
    pub route_rate_used: Family<RouteNameLabels, Fraction>,
    /// Seconds of an attempt.
    pub attempt_seconds: Histogram,
    /// Seconds from recorded to sent.
    pub delivery_seconds: Histogram,
    /// Callbacks by outcome.
    pub callbacks: Family<CallbackLabels, Counter>,
    /// Seconds of a callback.
    pub callback_seconds: Histogram,
    /// Jobs by what became of them.
    pub jobs: Family<JobLabels, Counter>,
    /// Jobs that the scheduler enqueued.
    pub enqueued_by_scheduler: Counter,
    /// Mails taken from dead workers.
    pub taken_from_dead: Counter,
    /// Queued jobs that were of no known kind.
    pub dropped_jobs: Counter,
    /// Settlements that came too late.
    pub settled_too_late: Counter,
    /// Jobs that wait in the queue, by lane.
    pub waiting: Family<LaneLabels, Gauge>,
    /// Jobs that a worker has, by lane.
    pub leased: Family<LaneLabels, Gauge>,
    /// Mails that are not settled, by lane and state.
    pub mails: Family<MailLabels, Gauge>,
    /// Callbacks that are not settled, by state.
    pub callbacks_waiting: Family<StateLabels, Gauge>,
    /// Mails that want a person.
    pub dead_letters: Family<StateLabels, Gauge>,
    /// How long ago the oldest row of a lane was due.
    pub oldest_due: Family<LaneLabels, Fraction>,
    /// Workers that were heard.
    pub live_workers: Gauge,
    /// Whether the database and the queue answered.
    pub dependency_up: Family<DependencyLabels, Gauge>,
    /// Connections to the database, by pool and state.
    pub database_connections: Family<PoolStateLabels, Gauge>,
    /// The most connections of a pool.
    pub database_connections_limit: Family<PoolLabels, Gauge>,
    /// Seconds that the database took.
    pub database_seconds: Family<OperationLabels, Histogram>,
    /// Seconds that Redis took.
    pub queue_seconds: Family<OperationLabels, Histogram>,
    /// The last round of the scheduler that came to its end.
    pub scheduled: LastTime,
    scheduler_lag: Fraction,
    /// The last look of the rescuer that came to its end.
    pub rescued: LastTime,
    rescuer_lag: Fraction,
    /// Reloads of the configuration.
    pub reloads: Reloads,
    /// What runs.
    pub build: Family<BuildLabels, Gauge>,
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("postroom"),
            requests: Family::default(),
            request_seconds: seconds(),
            recorded: Family::default(),
            handed_over: Counter::default(),
            settled: Family::default(),
            settled_in_sandbox: Family::default(),
            attempts: Family::default(),
            route_stops: Family::default(),
            route_drained: Family::default(),
            route_up: Family::default(),
            route_connections: Family::default(),
            route_connections_limit: Family::default(),
            route_rate_used: Family::default(),
            attempt_seconds: seconds(),
            delivery_seconds: seconds(),
            callbacks: Family::default(),
            callback_seconds: seconds(),
            jobs: Family::default(),
            enqueued_by_scheduler: Counter::default(),
            taken_from_dead: Counter::default(),
            dropped_jobs: Counter::default(),
            settled_too_late: Counter::default(),
            waiting: Family::default(),
            leased: Family::default(),
            mails: Family::default(),
            callbacks_waiting: Family::default(),
            dead_letters: Family::default(),
            oldest_due: Family::default(),
            live_workers: Gauge::default(),
            dependency_up: Family::default(),
            database_connections: Family::default(),
            database_connections_limit: Family::default(),
            database_seconds: Family::new_with_constructor(seconds),
            queue_seconds: Family::new_with_constructor(seconds),
            scheduled: LastTime::default(),
            scheduler_lag: Fraction::default(),
            rescued: LastTime::default(),
            rescuer_lag: Fraction::default(),
            reloads: Reloads::default(),
            build: Family::default(),
        };
        metrics.register();
        metrics.register_state();
        metrics.begin_at_zero();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "http_requests",
            "Requests answered. Act when 5xx grow: a dependency is away",
            self.requests.clone(),
        );
        r.register_with_unit(
            "http_request",
            "Time from request to answer. Act when p99 passes a second: the database is slow",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        r.register("mails_recorded", "Mails recorded", self.recorded.clone());
        r.register(
            "mails_handed_over",
            "Mails handed to this process's own worker past the queue. Act when it stands still at a quiet hour in a process with all roles: mails wait",
            self.handed_over.clone(),
        );
        r.register(
            "mails_settled",
            "Mails that reached a settled state. Act when `failed` grows against `sent`",
            self.settled.clone(),
        );
        r.register(
            "sandbox_mails_settled",
            "Mails in test mode that reached a settled state; they are in no other count of settled mails",
            self.settled_in_sandbox.clone(),
        );
        r.register(
            "attempts",
            "Attempts by route, outcome and class of the reply. Act when `transient` grows: the relay puts mails off",
            self.attempts.clone(),
        );
        r.register(
            "route_stops",
            "How often a relay refused us, so that a route, or a sender's domain on it, stopped. Act on each: mails wait",
            self.route_stops.clone(),
        );
        r.register(
            "route_drained",
            "1 while an operator has drained the route. Act when it is forgotten: nothing goes over it",
            self.route_drained.clone(),
        );
        r.register_with_unit(
            "attempt",
            "Time of an attempt. Act when it grows: the relay is slow",
            Unit::Seconds,
            self.attempt_seconds.clone(),
        );
        r.register_with_unit(
            "delivery",
            "Time from recorded to sent. Act when it grows while attempts stay quick: add workers",
            Unit::Seconds,
            self.delivery_seconds.clone(),
        );
        r.register(
            "callbacks",
            "Callbacks by outcome. Act when `forbidden` or `untrusted` grows: a merchant's URL is wrong",
            self.callbacks.clone(),
        );
        r.register_with_unit(
            "callback",
            "Time of a callback. Act when it grows: receivers are slow and keep places taken",
            Unit::Seconds,
            self.callback_seconds.clone(),
        );
        r.register(
            "jobs",
            "Jobs by what became of them. Act when `failed` grows and read the log",
            self.jobs.clone(),
        );
        r.register(
            "scheduler_enqueued",
            "Jobs enqueued by the scheduler. Act when it grows without retries: the queue loses jobs",
            self.enqueued_by_scheduler.clone(),
        );
        r.register(
            "mails_taken_from_dead_workers",
            "Mails whose worker died. Act when it grows: workers crash",
            self.taken_from_dead.clone(),
        );
        r.register(
            "jobs_dropped",
            "Queued jobs of no known kind. Act on any: two versions share a queue",
            self.dropped_jobs.clone(),
        );
        r.register(
            "settled_too_late",
            "Settlements by workers whose claim was gone. Act on any: a worker stalls",
            self.settled_too_late.clone(),
        );
        r.register(
            "queue_waiting",
            "Jobs waiting in the queue. Act when it grows for minutes: add workers or a route",
            self.waiting.clone(),
        );
        r.register("queue_leased", "Jobs that a worker has", self.leased.clone());
    }

    /// What is looked at now and then, or when somebody asks.
    fn register_state(&mut self) {
        let r = &mut self.registry;
        r.register(
            "mails",
            "Mails that wait or are under way, up to 20000 of a lane. Act when `deferred` grows: read a relay's replies",
            self.mails.clone(),
        );
        r.register(
            "callbacks_waiting",
            "Callbacks that wait or are under way, up to 20000. Act when it grows: receivers are slow or away",
            self.callbacks_waiting.clone(),
        );
        r.register(
            "dead_letters",
            "Mails that failed or are held, up to 20000 of each. Act on any that is held: a person must decide",
            self.dead_letters.clone(),
        );
        r.register_with_unit(
            "oldest_due",
            "How long ago the oldest row that waits was due. Act when it passes minutes: see what it waits for",
            Unit::Seconds,
            self.oldest_due.clone(),
        );
        r.register(
            "workers_live",
            "Worker processes whose heartbeat was heard. Act when it is 0: nothing is sent",
            self.live_workers.clone(),
        );
        r.register(
            "dependency_up",
            "1 while the queue answers this process, or the database does and takes writes. Act when it is 0",
            self.dependency_up.clone(),
        );
        r.register(
            "route_up",
            "0 while the relay cannot be reached or refuses us. Act when it stays: mails wait or take another route",
            self.route_up.clone(),
        );
        r.register("route_connections", "Connections to the relay", self.route_connections.clone());
        r.register(
            "route_connections_limit",
            "The most connections to the relay",
            self.route_connections_limit.clone(),
        );
        r.register(
            "route_rate_used_ratio",
            "The share of the route's rate that this process used; add up the processes. Act when the sum stays near 1",
            self.route_rate_used.clone(),
        );
        r.register(
            "database_connections",
            "Connections to the database. Act when none is idle at the limit for minutes",
            self.database_connections.clone(),
        );
        r.register(
            "database_connections_limit",
            "The most connections to the database",
            self.database_connections_limit.clone(),
        );
        r.register_with_unit(
            "database",
            "Time of a group commit, of another write, and of a group of look-ups. Act when p99 passes half a second",
            Unit::Seconds,
            self.database_seconds.clone(),
        );
        r.register_with_unit(
            "queue_call",
            "Time of a call to Redis. Act when p99 passes 100 ms: Redis or the network is slow",
            Unit::Seconds,
            self.queue_seconds.clone(),
        );
        r.register_with_unit(
            "scheduler_lag",
            "How long ago the scheduler last ended a round. Act when it passes a minute: what is due is not enqueued",
            Unit::Seconds,
            self.scheduler_lag.clone(),
        );
        r.register_with_unit(
            "rescuer_lag",
            "How long ago the rescuer last looked. Act when it passes two minutes: rows of dead workers stay",
            Unit::Seconds,
            self.rescuer_lag.clone(),
        );
        self.reloads.register(r);
        r.register("build_info", "What runs; always 1", self.build.clone());
    }

    /// How many attempts this process made over a route so far.
    pub fn attempts_over(&self, route: &str) -> u64 {
        let mut labels = RouteLabels { route: route.to_owned(), outcome: "", class: "" };
        let mut sum = 0;
        for outcome in AttemptOutcome::ALL {
            for class in ReplyClass::ALL {
                (labels.outcome, labels.class) = (outcome.as_str(), class.as_str());
                sum += self.attempts.get(&labels).map_or(0, |count| count.get());
            }
        }
        sum
    }

    /// Counts an answered request.
    pub fn answered(&self, labels: RequestLabels, took: Duration) {
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// Notes how long the database took for something.
    pub fn database_took(&self, operation: &'static str, took: Duration) {
        self.database_seconds.get_or_create(&OperationLabels { operation }).observe(took.as_secs_f64());
    }

    /// Notes how long Redis took for a call.
    pub fn queue_took(&self, operation: &'static str, took: Duration) {
        self.queue_seconds.get_or_create(&OperationLabels { operation }).observe(took.as_secs_f64());
    }
}

/// From a millisecond to 24 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 12))
}
