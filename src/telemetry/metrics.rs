//! The metrics, all in one place; each one's help says when to act.

use std::{fmt::Write as _, sync::LazyLock, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Labels of an HTTP request: a route's pattern, never a path with ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The route's pattern.
    pub route: String,
    /// The answer's status.
    pub status: u16,
}

/// Labels of a mail's step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MailLabels {
    /// The lane.
    pub lane: &'static str,
    /// The state or the outcome.
    pub state: &'static str,
}

/// Labels of something that is waiting in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabels {
    /// The lane.
    pub lane: &'static str,
}

/// Labels of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route's name in the configuration.
    pub route: String,
    /// What an attempt came to.
    pub outcome: &'static str,
    /// What the reply means, one of the fixed classes.
    pub class: &'static str,
}

/// Labels of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    /// The job's name.
    pub job: &'static str,
    /// What happened to it.
    pub outcome: &'static str,
}

/// Labels of a stop: what a relay said made an operator necessary.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteStopLabels {
    /// The route.
    pub route: String,
    /// What the reply means.
    pub class: &'static str,
    /// What stops: the route, or one sender's domain on it.
    pub scope: &'static str,
}

/// Labels of a route that may be drained.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DrainedLabels {
    /// The route.
    pub route: String,
}

/// Labels of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallbackLabels {
    /// `taken`, or how far it came.
    pub outcome: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds from request to answer.
    pub request_seconds: Histogram,
    /// Mails recorded.
    pub recorded: Family<LaneLabels, Counter>,
    /// Mails that reached a settled state.
    pub settled: Family<MailLabels, Counter>,
    /// Attempts by route and outcome.
    pub attempts: Family<RouteLabels, Counter>,
    /// How often a relay's refusal stopped a route, or a sender's domain on it.
    pub route_stops: Family<RouteStopLabels, Counter>,
    /// Whether a route is drained: 1 or 0.
    pub route_drained: Family<DrainedLabels, Gauge>,
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
}

impl Metrics {
    fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        let mut metrics = Self {
            registry: Registry::with_prefix("postroom"),
            requests: Family::default(),
            request_seconds: seconds(),
            recorded: Family::default(),
            settled: Family::default(),
            attempts: Family::default(),
            route_stops: Family::default(),
            route_drained: Family::default(),
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
        };
        metrics.register();
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
            "mails_settled",
            "Mails that reached a settled state. Act when `failed` grows against `sent`",
            self.settled.clone(),
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

    /// The metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = text.write_str("# the metrics could not be written\n");
        }
        text
    }

    /// Counts an answered request.
    pub fn answered(&self, labels: RequestLabels, took: Duration) {
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }
}
