//! The labels of metrics: closed sets, and names from the configuration. Never a merchant, an address or an id.

use prometheus_client::encoding::EncodeLabelSet;

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

/// Labels of mails by their lane and state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MailLabels {
    /// The lane.
    pub lane: &'static str,
    /// The state.
    pub state: &'static str,
}

/// Labels of what is counted for each lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabels {
    /// The lane.
    pub lane: &'static str,
}

/// Labels of what was tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// What came of it.
    pub result: &'static str,
}

/// Labels of things by their state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// The state.
    pub state: &'static str,
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

/// Labels of what a route has one of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteNameLabels {
    /// The route's name in the configuration.
    pub route: String,
}

/// Labels of a route's connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteStateLabels {
    /// The route's name in the configuration.
    pub route: String,
    /// `busy` or `idle`.
    pub state: &'static str,
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

/// Labels of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallbackLabels {
    /// `taken`, or how far it came.
    pub outcome: &'static str,
}

/// Labels of what the database or the queue is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabels {
    /// What is done, one of a fixed set.
    pub operation: &'static str,
}

/// Labels of something that postroom needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DependencyLabels {
    /// `database` or `queue`.
    pub dependency: &'static str,
}

/// Labels of a pool of connections to the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolLabels {
    /// `readers` or `writers`.
    pub pool: &'static str,
}

/// Labels of a pool's connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolStateLabels {
    /// `readers` or `writers`.
    pub pool: &'static str,
    /// `busy` or `idle`.
    pub state: &'static str,
}

/// Labels of a running process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabels {
    /// The version.
    pub version: &'static str,
    /// Which roles it has.
    pub role: &'static str,
}
