//! One relay: takes a message and says what became of it.

use std::{path::Path, sync::Arc};

use tokio::time::{Instant, timeout};

use super::{
    breaker::Breaker,
    connection::Connection,
    dialer::Dialer,
    pool::{Opened, Place, Pool},
    provider::provider_id,
    routes::RouteStatus,
    settings::{RouteError, RouteSettings},
    stop::Stop,
    transaction,
    tuning::Tuning,
    wire::ServerReply,
};
use crate::mail::{Address, Outcome, Phase, Reply};

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
    tuning: Tuning,
    dialer: Dialer,
    breaker: Breaker,
    pool: Pool,
    opened: Arc<Opened>,
}

impl Route {
    pub(super) fn new(
        settings: &RouteSettings,
        tuning: Tuning,
        system_file: Option<&Path>,
    ) -> Result<Self, RouteError> {
        settings.check()?;
        let opened = Arc::new(Opened::default());
        Ok(Self {
            name: settings.name.clone(),
            connections: settings.connections,
            tuning,
            dialer: Dialer::new(settings, tuning.timeouts, system_file, Arc::clone(&opened))?,
            breaker: Breaker::new(tuning.first_pause, tuning.longest_pause),
            pool: Pool::new(settings.connections, tuning.idle, tuning.mails_per_connection),
            opened,
        })
    }

    /// The route's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands a finished message to the relay. Whatever happens is a reply.
    ///
    /// The message has CRLF line ends; dots are doubled here. The future may be dropped: the connection it used is then closed,
    /// and the relay may or may not have the mail.
    pub async fn send(&self, envelope: &Envelope<'_>, message: &[u8]) -> Reply {
        let started = Instant::now();
        match self.attempt(envelope, message).await {
            Ok(said) => self.accepted(&said, started),
            Err(stop) => stop.into_reply(&self.name, started.elapsed()),
        }
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

    async fn attempt(&self, envelope: &Envelope<'_>, message: &[u8]) -> Result<ServerReply, Stop> {
        let mut place = self.place().await?;
        let (mut connection, is_reused) = match place.take() {
            Some(connection) => (connection, true),
            None => (self.open().await?, false),
        };
        let mut said = transaction::deliver(&mut connection, envelope, message).await;
        if is_reused && said.as_ref().is_err_and(Stop::is_about_an_old_connection) {
            // The old one closes before the new one opens, so that the relay never sees one too many.
            drop(connection);
            connection = self.open().await?;
            said = transaction::deliver(&mut connection, envelope, message).await;
        }
        place.keep(connection);
        said
    }

    async fn place(&self) -> Result<Place<'_>, Stop> {
        if self.opened.now() == 0 && self.breaker.pause(Instant::now()).is_some_and(|pause| !pause.is_zero())
        {
            // Nothing is open and nothing may be opened: waiting for a place would not help.
            if let Err((until, fault)) = self.breaker.ask(Instant::now()) {
                return Err(self.away(until, &fault));
            }
        }
        let within = self.tuning.timeouts.queue;
        match timeout(within, self.pool.place()).await {
            Ok(Some(place)) => Ok(place),
            Ok(None) => Err(Stop::not_now(Phase::Route, format!("route `{}` is closed", self.name))),
            Err(_) => {
                let text = format!("no connection of route `{}` came free within {within:?}", self.name);
                Err(Stop::not_now(Phase::Route, text))
            }
        }
    }

    async fn open(&self) -> Result<Connection, Stop> {
        let leave = self.breaker.ask(Instant::now()).map_err(|(until, fault)| self.away(until, &fault))?;
        match self.dialer.dial().await {
            Ok(connection) => {
                if leave.succeeded() {
                    tracing::info!(route = self.name, "the relay can be reached again");
                }
                Ok(connection)
            }
            Err(stop) => {
                // The words stay out of the log: a server may repeat who tried to sign in.
                if let Some(failures) = leave.failed(&stop, Instant::now()) {
                    let phase = stop.phase.as_str();
                    tracing::warn!(
                        route = self.name,
                        phase,
                        code = stop.code(),
                        failures,
                        "no connection to the relay"
                    );
                }
                Err(stop)
            }
        }
    }

    fn away(&self, until: crate::mail::Timestamp, fault: &str) -> Stop {
        Stop::not_now(Phase::Route, format!("route `{}` is away until {until}: {fault}", self.name))
    }

    fn accepted(&self, said: &ServerReply, started: Instant) -> Reply {
        let text = said.text();
        Reply {
            route: self.name.clone(),
            phase: Phase::Final,
            outcome: Outcome::Accepted,
            code: Some(said.code),
            enhanced: said.enhanced(),
            provider_id: provider_id(&text),
            text,
            took: started.elapsed(),
        }
    }
}
