//! One relay: takes a message and reports the outcome.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    breaker::{Breaker, BreakerState, RouteFault},
    capacity::Capacity,
    dialer::Dialer,
    open_count::Opened,
    pace::DomainPace,
    pool::Pool,
    pooled::Pooled,
    preference::Preference,
    provider::ProviderIds,
    route_error::RouteError,
    settings::RouteSettings,
    shared::Shared,
    tuning::Timeouts,
};
use crate::telemetry::Outage;

/// One relay with its connections, and which mails go there.
pub struct Route {
    settings: RouteSettings,
    pub(super) relay: Arc<Relay>,
    pub(super) shared: Arc<Shared>,
    pub(super) provider_ids: ProviderIds,
    preference: Preference,
}

/// The connections to a relay and what we know of it. It outlives a change of its route's settings that is not about them.
pub(super) struct Relay {
    pub(super) dialer: Dialer,
    breaker: Breaker,
    pub(super) pool: Pool,
    opened: Arc<Opened>,
    /// The senders' domains that the relay refuses.
    senders: Mutex<DomainPace>,
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
    /// Slots that are taken by a mail: sending, or opening a connection.
    pub busy: usize,
    /// Whether it may open connections.
    pub breaker: BreakerState,
    /// Why its relay refuses us, while it does: nothing goes over it.
    pub stopped: Option<RouteFault>,
    /// The last time it could not open one; stays after it could again.
    pub last_error: Option<RouteFault>,
}

impl Route {
    /// A route with these settings. `before` is the one of the same name that it replaces: it goes on with that one's
    /// connections where they serve it, and else shares that one's slots where both lead to the same relay.
    pub(super) fn new(
        settings: &RouteSettings,
        system_file: Option<&Path>,
        shared: &Arc<Shared>,
        before: Option<&Self>,
    ) -> Result<Self, RouteError> {
        settings.check()?;
        let tuning = &shared.tuning;
        let opened = Arc::new(Opened::default());
        let timeouts = settings.timeout.map_or(tuning.timeouts, Timeouts::of);
        let dialer = Dialer::new(settings, timeouts, system_file, Arc::clone(&opened))?;
        let serves =
            |before: &&Self| before.settings.connects_as(settings) && before.relay.dialer.trusts_as(&dialer);
        let relay = before.filter(serves).map(|before| Arc::clone(&before.relay)).unwrap_or_else(|| {
            let of_same_relay = before.filter(|before| before.settings.is_relay_of(settings));
            let capacity = of_same_relay.map(|before| Arc::clone(before.relay.pool.capacity()));
            let capacity = capacity.unwrap_or_else(|| Arc::new(Capacity::new(settings.connections)));
            let mails = settings.mails_per_connection.unwrap_or(tuning.mails_per_connection);
            Arc::new(Relay {
                dialer,
                breaker: Breaker::new(tuning.first_pause, tuning.longest_pause),
                pool: Pool::new(Pooled::new(capacity, tuning, mails, Arc::clone(&shared.freed))),
                opened,
                senders: Mutex::default(),
                away: Outage::new(),
            })
        });
        Ok(Self {
            relay,
            shared: Arc::clone(shared),
            provider_ids: settings.provider_ids()?,
            preference: Preference::of(settings),
            settings: settings.clone(),
        })
    }

    /// Puts the number of connections in force that its settings say; the route that it replaces may have had another.
    pub(super) fn begin(&self) {
        self.relay.pool.resize(self.settings.connections);
    }

    /// Keeps no connection any more, unless `after`, which replaces it, goes on with them. Returns whether it does not.
    pub(super) fn retire(&self, after: Option<&Self>) -> bool {
        let is_over = after.is_none_or(|after| !Arc::ptr_eq(&after.relay, &self.relay));
        if is_over {
            self.relay.pool.retire();
        }
        is_over
    }

    /// Whether nobody uses it but the caller, and no connection is open that waits for a mail.
    pub fn is_at_rest(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.relay.pool.idle() == 0
    }

    /// The route's name in the configuration.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Which mails it takes, and how much it is preferred.
    pub fn preference(&self) -> &Preference {
        &self.preference
    }

    /// How long until the route may be tried again, where it is away or slowed down.
    pub fn pause(&self) -> Option<std::time::Duration> {
        self.relay.breaker.pause(Instant::now())
    }

    /// What readiness, metrics and the dashboard show.
    pub fn status(&self) -> RouteStatus {
        RouteStatus {
            name: self.settings.name.clone(),
            connections: self.settings.connections,
            open: self.relay.opened.now(),
            idle: self.relay.pool.idle(),
            busy: self.relay.pool.busy(),
            breaker: self.relay.breaker.state(Instant::now()),
            stopped: self.relay.breaker.stopped(),
            last_error: self.relay.breaker.last_fault(),
        }
    }

    /// Whether no connection is open: idle, in use, or being opened.
    pub(super) fn has_none_open(&self) -> bool {
        self.relay.opened.now() == 0
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.relay.breaker
    }

    /// How fast the senders' domains that the relay refuses may go on.
    pub(super) fn with_senders<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        act(&mut self.relay.senders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until when the relay takes nothing from a sender's domain that it refused.
    pub fn refuses_sender_until(&self, domain: &str, now: Instant) -> Option<Instant> {
        self.with_senders(|senders| senders.not_before(domain, now))
    }

    /// Lets the relay have refused a sender's domain.
    #[cfg(test)]
    pub fn refuse_sender(&self, domain: &str, wait: std::time::Duration) {
        use crate::mail::{Consequence, Judgement};
        let judgement = Judgement { then: Consequence::Stop, wait: Some(wait), ..Judgement::ACCEPTED };
        self.with_senders(|senders| senders.note(domain, &judgement, Instant::now()));
    }

    /// How fast the recipients' domains that get too much may go on.
    pub(super) fn with_recipients<T>(&self, act: impl FnOnce(&mut DomainPace) -> T) -> T {
        self.shared.with_recipients(act)
    }

    /// Whether there are connections that mails are sent over, or may be.
    pub(super) fn has_ready_connections(&self) -> bool {
        self.relay.opened.ready() > 0
    }

    pub(super) async fn close_idle(&self) {
        self.relay.pool.close_idle().await;
    }
}
