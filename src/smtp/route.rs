//! One relay: takes a message and reports the outcome.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    breaker::{Breaker, StopTrial},
    dialer::Dialer,
    pace::DomainPace,
    permit::{Permits, Trial},
    pool::{Opened, Pool},
    provider::ProviderIds,
    replies::ReplyRules,
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
    pub(super) rules: Arc<ReplyRules>,
    pub(super) provider_ids: ProviderIds,
    /// The senders' domains that the relay refuses.
    senders: Mutex<DomainPace>,
}

impl Route {
    pub(super) fn new(
        settings: &RouteSettings,
        tuning: Tuning,
        system_file: Option<&Path>,
        freed: Arc<Notify>,
        rules: Arc<ReplyRules>,
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
            rules,
            provider_ids: ProviderIds::new(settings)?,
            senders: Mutex::default(),
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
        let now = Instant::now();
        let pause = self.breaker.pause(now);
        let (may_open, trial) = match pause {
            None => (most, None),
            Some(pause) => match self.breaker.begin_trial(now) {
                StopTrial::NotStopped => (self.pool.idle() + usize::from(pause.is_zero()), None),
                StopTrial::NotNow => (0, None),
                StopTrial::One => (1, Some(Trial::new(Arc::clone(self)))),
            },
        };
        Permits::new(Arc::clone(self), self.pool.take(most.min(may_open), pause.is_none()), trial)
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

    pub(super) async fn close_idle(&self) {
        self.pool.close_idle().await;
    }
}
