//! One relay: takes a message and reports the outcome.

use std::{path::Path, sync::Arc};

use serde::Serialize;
use tokio::{sync::Notify, time::Instant};

use super::{
    breaker::{Breaker, BreakerState, RouteFault},
    dialer::Dialer,
    open_count::Opened,
    pool::Pool,
    settings::{RouteError, RouteSettings},
    tuning::Tuning,
};

/// One relay with its connections.
pub struct Route {
    name: String,
    connections: usize,
    pub(super) dialer: Dialer,
    breaker: Breaker,
    pub(super) pool: Pool,
    opened: Arc<Opened>,
}

/// What a route is doing.
#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// The most connections it may have.
    pub connections: usize,
    /// Connections that are open: idle, in use, or being closed.
    pub open: usize,
    /// Open connections that wait for a mail.
    pub idle: usize,
    /// Places that are taken by a mail: sending, or opening a connection.
    pub busy: usize,
    /// Whether it may open connections.
    pub breaker: BreakerState,
    /// The last time it could not open one; stays after it could again.
    pub last_error: Option<RouteFault>,
}

impl Route {
    pub(super) fn new(
        settings: &RouteSettings,
        tuning: Tuning,
        system_file: Option<&Path>,
        freed: Arc<Notify>,
    ) -> Result<Self, RouteError> {
        settings.check()?;
        let opened = Arc::new(Opened::default());
        Ok(Self {
            name: settings.name.clone(),
            connections: settings.connections,
            dialer: Dialer::new(settings, tuning.timeouts, system_file, Arc::clone(&opened))?,
            breaker: Breaker::new(tuning.first_pause, tuning.longest_pause),
            pool: Pool::new(settings.connections, tuning.idle, tuning.mails_per_connection, freed),
            opened,
        })
    }

    /// The route's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long until the route may be tried again, where it is away.
    pub fn pause(&self) -> Option<std::time::Duration> {
        self.breaker.pause(Instant::now())
    }

    /// What readiness, metrics and the dashboard show.
    pub fn status(&self) -> RouteStatus {
        RouteStatus {
            name: self.name.clone(),
            connections: self.connections,
            open: self.opened.now(),
            idle: self.pool.idle(),
            busy: self.pool.busy(),
            breaker: self.breaker.state(Instant::now()),
            last_error: self.breaker.last_fault(),
        }
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) async fn close_idle(&self) {
        self.pool.close_idle().await;
    }
}
