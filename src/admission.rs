//! ADMITTED: whether a mail may go now, and if not, why not and until when. The one place that knows all that can make
//! mails wait.
//!
//! A worker asks before it fetches mails from the queue ([`Admit`]): a mail that must wait stays there, without a claim, an
//! attempt, a place of a worker or a timer. What is asked, in this order: whether this worker may send, a route, its
//! breaker, a free connection of it, its rate. Each is a [`Reason`]; a further one is to be asked here too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    limits::{Limit, Limits, Rate, Scope},
    mail::{Reply, WaitReason},
    queue::{Admit, Decision, Lease, Line, Pause},
    smtp::{self, Envelope, Fence, NotReady, Permits, Ready, RouteSettings, Routes, Sent},
    worker::Worker,
};

/// What mails wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This process stops, or the others do not hear it.
    Worker,
    /// There is no route.
    NoRoute,
    /// The relay is away.
    RouteAway,
    /// All connections of the route are in use.
    NoConnection,
    /// The route's rate.
    Rate,
}

/// Why there were fewer permits than were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for.
    pub reason: Reason,
    /// The route, where it is about one.
    pub route: Option<String>,
    /// When it makes sense to ask again. Without it only an event can tell, such as a connection that comes free.
    pub until: Option<Instant>,
}

/// All that can make mails wait.
pub struct Admission {
    routes: Routes,
    worker: Arc<Worker>,
    rates: HashMap<String, Arc<Limit>>,
    changed: Arc<Notify>,
    wait: Mutex<Option<Wait>>,
}

/// Leave for one mail to be sent over a route now.
pub struct Permit {
    // The order matters: what was not used of the rate is given back before somebody is told that there is a place.
    token: Option<Token>,
    connection: smtp::Permit,
}

/// An open connection and one of the rate, for one mail.
pub struct Offer {
    // The order matters, as above.
    token: Option<Token>,
    ready: Ready,
}

/// Why a permit led to no connection.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The mail waits once more. That is no attempt.
    Later,
    /// The relay was tried and could not be reached.
    Failed(Reply),
}

/// One of a route's rate, taken and given back unless it is used.
struct Token {
    limit: Arc<Limit>,
    taken_at: Instant,
    is_used: bool,
}

impl Admission {
    /// Admits mails to these routes, at their rates.
    pub fn new(
        routes: Routes,
        rates: impl IntoIterator<Item = (String, Rate)>,
        limits: &Limits,
        worker: Arc<Worker>,
    ) -> Self {
        let limit = |(route, rate): (String, Rate)| {
            let limit = limits.of(&Scope::Route(route.clone()), rate);
            (route, limit)
        };
        Self {
            rates: rates.into_iter().map(limit).collect(),
            changed: Arc::clone(routes.freed()),
            routes,
            worker,
            wait: Mutex::default(),
        }
    }

    /// Why the last who asked got fewer permits than he wanted.
    pub fn wait(&self) -> Option<Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up to `most` places for connections and says, where there are fewer, why.
    fn ask(&self, most: usize) -> (Option<Permits>, Option<Wait>) {
        let none = |reason| (None, Some(Wait { reason, route: None, until: None }));
        if !self.worker.may_begin() {
            return none(Reason::Worker);
        }
        let Some(route) = self.routes.pick() else { return none(Reason::NoRoute) };
        let connections = route.permits(most);
        let wait = (connections.len() < most).then(|| {
            let pause = route.pause();
            let reason = if pause.is_some() { Reason::RouteAway } else { Reason::NoConnection };
            let until = pause.filter(|pause| !pause.is_zero()).map(|pause| Instant::now() + pause);
            Wait { reason, route: Some(route.name().to_owned()), until }
        });
        (Some(connections), wait)
    }

    fn decide_one(&self, connections: &mut Permits) -> Decision<Permit> {
        let limit = self.routes.pick().and_then(|route| Some((route.name().to_owned(), self.rates.get(route.name())?)));
        let token = match limit {
            None => None,
            Some((name, limit)) => match limit.take() {
                Ok(()) => Some(Token { limit: Arc::clone(limit), taken_at: Instant::now(), is_used: false }),
                Err(wait) => {
                    let name = format!("route:{name}");
                    return Decision::Later(Line { name, reason: WaitReason::Rate, after: Some(wait), at_most: 2 });
                }
            },
        };
        connections.next().map_or(Decision::NotHere, |connection| Decision::Now(Permit { token, connection }))
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Room = Option<Permits>;

    fn room(&self, most: usize) -> (usize, Option<Permits>) {
        if most == 0 {
            return (0, None);
        }
        let (connections, wait) = self.ask(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        (connections.as_ref().map_or(0, ExactSizeIterator::len), connections)
    }

    async fn decide(&self, room: Option<Permits>, mails: &[Lease], _: &[Pause]) -> Vec<Decision<Permit>> {
        let Some(mut connections) = room else { return mails.iter().map(|_| Decision::NotHere).collect() };
        mails.iter().map(|_| self.decide_one(&mut connections)).collect()
    }

    async fn changed(&self) {
        match self.wait().and_then(|wait| wait.until) {
            None => self.changed.notified().await,
            Some(until) => tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(until) => {}
            },
        }
    }
}

impl Token {
    /// Takes another one where this was taken so long ago that it is no longer good; false when there is none.
    fn renew(&mut self) -> bool {
        if self.taken_at.elapsed() < self.limit.good_for() {
            return true;
        }
        let taken = self.limit.take().is_ok();
        if taken {
            self.taken_at = Instant::now();
        }
        taken
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_used {
            self.limit.give_back(1, self.taken_at.elapsed());
        }
    }
}

impl Permit {
    /// Whether the mail is admitted ahead of a connection: it is claimed and rendered while others are sent, and then
    /// waits for its turn.
    pub fn is_ahead(&self) -> bool {
        self.connection.is_ahead()
    }

    /// Waits for the turn of a mail that is ahead.
    pub async fn arrive(&mut self) {
        self.connection.arrive().await;
    }

    /// Gets the connection. Where one has to be opened that may take long; then the rate is asked once more.
    ///
    /// # Errors
    /// When there is no connection, or it came too late for the route's rate.
    pub async fn connect(self) -> Result<Offer, NotAdmitted> {
        let Self { mut token, connection } = self;
        let ready = match connection.connect().await {
            Ok(ready) => ready,
            Err(NotReady::Away(_)) => return Err(NotAdmitted::Later),
            Err(NotReady::Failed(reply)) => return Err(NotAdmitted::Failed(reply)),
        };
        if token.as_mut().is_none_or(Token::renew) {
            return Ok(Offer { token, ready });
        }
        ready.keep();
        Err(NotAdmitted::Later)
    }
}

impl Offer {
    /// Hands a finished message to the relay, if the fence allows; see [`Ready::send`].
    pub async fn send(self, envelope: &Envelope<'_>, message: &[u8], fence: &dyn Fence) -> Sent {
        let Self { mut token, ready } = self;
        if let Some(token) = &mut token {
            token.is_used = true;
        }
        ready.send(envelope, message, fence).await
    }

    /// Leaves connection and rate to another mail.
    pub fn keep(self) {
        drop(self.token);
        self.ready.keep();
    }
}

/// The rates of the routes that have one, by their names.
///
/// # Errors
/// When one is no rate.
pub fn rates_of(routes: &[RouteSettings]) -> anyhow::Result<Vec<(String, Rate)>> {
    routes
        .iter()
        .filter_map(|route| Some((route, route.rate.as_ref()?)))
        .map(|(route, rate)| {
            let rate = Rate::parse(rate)
                .with_context(|| format!("the rate of route `{}` is no rate", route.name))?;
            Ok((route.name.clone(), rate))
        })
        .collect()
}

