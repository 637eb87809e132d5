//! One relay: takes a message and reports the outcome.

use std::{path::Path, sync::Arc};

use tokio::{sync::Notify, time::Instant};

use super::{
    breaker::Breaker,
    dialer::Dialer,
    permit::Permits,
    pool::{Opened, Pool},
    routes::RouteStatus,
    settings::{RouteError, RouteSettings},
    tuning::Tuning,
};
use crate::mail::Address;

/// Who sends and who receives, as the relay is told.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where bounces go; `None` is the null reverse-path (RFC 5321, section 4.5.5).
    pub sender: Option<&'a Address>,
    /// The one recipient.
    pub recipient: &'a Address,
}

/// One relay with its connections.
pub struct Route {
    name: String,
    connections: usize,
    pub(super) dialer: Dialer,
    breaker: Breaker,
    pool: Pool,
    opened: Arc<Opened>,
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

    /// Takes places for up to `most` mails that may be sent now, or soon: a connection of each is idle or may be opened, or
    /// comes free within milliseconds ([`Permit::is_ahead`](super::Permit::is_ahead)).
    /// Never waits. Where there are fewer than asked for, more may be had when a place is given back, or when
    /// [`Route::pause`] is over.
    pub fn permits(self: &Arc<Self>, most: usize) -> Permits {
        let pause = self.breaker.pause(Instant::now());
        let may_open = pause.map_or(most, |pause| self.pool.idle() + usize::from(pause.is_zero()));
        Permits::new(Arc::clone(self), self.pool.take(most.min(may_open), pause.is_none()))
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
