//! One relay: takes a message and reports the outcome.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::{sync::Notify, time::Instant};

use super::{
    breaker::{Breaker, BreakerState, RouteFault},
    dialer::Dialer,
    open_count::Opened,
    pace::DomainPace,
    pool::Pool,
    preference::Preference,
    provider::ProviderIds,
    replies::ReplyRules,
    route_error::RouteError,
    settings::RouteSettings,
    tuning::{Timeouts, Tuning},
};
use crate::telemetry::Outage;

/// One relay with its connections.
pub struct Route {
    name: String,
    connections: usize,
    pub(super) dialer: Dialer,
    breaker: Breaker,
    pub(super) pool: Pool,
    opened: Arc<Opened>,
    pub(super) rules: Arc<ReplyRules>,
    pub(super) provider_ids: ProviderIds,
    /// The senders' domains that the relay refuses.
    senders: Mutex<DomainPace>,
    /// The recipients' domains that get too much; all routes share them.
    recipients: Arc<Mutex<DomainPace>>,
    preference: Preference,
    /// Connections that could not be opened.
    pub(super) away: Outage,
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
    /// Why its relay refuses us, while it does: nothing goes over it.
    pub stopped: Option<RouteFault>,
    /// The last time it could not open one; stays after it could again.
    pub last_error: Option<RouteFault>,
}

impl Route {
    pub(super) fn new(
        settings: &RouteSettings,
        tuning: Tuning,
        system_file: Option<&Path>,
        freed: Arc<Notify>,
        rules: Arc<ReplyRules>,
        recipients: Arc<Mutex<DomainPace>>,
    ) -> Result<Self, RouteError> {
        settings.check()?;
        let opened = Arc::new(Opened::default());
        let timeouts = settings.timeout.map_or(tuning.timeouts, Timeouts::of);
        let mails_per_connection = settings.mails_per_connection.unwrap_or(tuning.mails_per_connection);
        Ok(Self {
            name: settings.name.clone(),
            connections: settings.connections,
            dialer: Dialer::new(settings, timeouts, system_file, Arc::clone(&opened))?,
            breaker: Breaker::new(tuning.first_pause, tuning.longest_pause),
            pool: Pool::new(settings.connections, tuning.idle, mails_per_connection, freed),
            opened,
            rules,
            provider_ids: ProviderIds::new(settings)?,
            senders: Mutex::default(),
            recipients,
            preference: Preference::of(settings),
            away: Outage::new(),
        })
    }

    /// The route's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which mails it takes, and how much it is preferred.
    pub fn preference(&self) -> &Preference {
        &self.preference
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
            stopped: self.breaker.stopped(),
            last_error: self.breaker.last_fault(),
        }
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// How fast the senders' domains that the relay refuses may go on.
    pub(super) fn with_senders<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        act(&mut self.senders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How fast the recipients' domains that get too much may go on.
    pub(super) fn with_recipients<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        act(&mut self.recipients.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn close_idle(&self) {
        self.pool.close_idle().await;
    }
}
