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
    limits::{Limit, Rate},
    mail::Reply,
    queue::Admit,
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

/// Leave for several.
pub struct Admitted {
    tokens: Option<Tokens>,
    connections: Option<Permits>,
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

struct Tokens {
    limit: Arc<Limit>,
    taken_at: Instant,
    count: usize,
}

impl Admission {
    /// Admits mails to these routes, at their rates.
    pub fn new(routes: Routes, rates: impl IntoIterator<Item = (String, Rate)>, worker: Arc<Worker>) -> Self {
        Self {
            rates: rates.into_iter().map(|(route, rate)| (route, Arc::new(Limit::of(rate)))).collect(),
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

    /// Gives up to `most` permits and, where there are fewer, why.
    fn ask(&self, most: usize) -> (Admitted, Option<Wait>) {
        let none = |reason| {
            let wait = Wait { reason, route: None, until: None };
            (Admitted { tokens: None, connections: None }, Some(wait))
        };
        if !self.worker.may_begin() {
            return none(Reason::Worker);
        }
        let Some(route) = self.routes.pick() else { return none(Reason::NoRoute) };
        let limit = self.rates.get(route.name());
        let mut connections = route.permits(most);
        let mut wait = (connections.len() < most).then(|| {
            let pause = route.pause();
            let reason = if pause.is_some() { Reason::RouteAway } else { Reason::NoConnection };
            let until = pause.filter(|pause| !pause.is_zero()).map(|pause| Instant::now() + pause);
            Wait { reason, route: Some(route.name().to_owned()), until }
        });
        let tokens = limit.map(|limit| {
            let (count, pause) = limit.take_up_to(connections.len());
            if let Some(pause) = pause {
                let until = Some(Instant::now() + pause);
                wait = Some(Wait { reason: Reason::Rate, route: Some(route.name().to_owned()), until });
                connections.leave(count);
            }
            Tokens { limit: Arc::clone(limit), taken_at: Instant::now(), count }
        });
        (Admitted { tokens, connections: Some(connections) }, wait)
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Permits = Admitted;

    fn admit(&self, most: usize) -> Admitted {
        if most == 0 {
            return Admitted { tokens: None, connections: None };
        }
        let (admitted, wait) = self.ask(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        admitted
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

impl Iterator for Admitted {
    type Item = Permit;

    fn next(&mut self) -> Option<Permit> {
        let token = match &mut self.tokens {
            None => None,
            Some(tokens) => Some(tokens.split()?),
        };
        Some(Permit { token, connection: self.connections.as_mut()?.next()? })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let number = self.connections.as_ref().map_or(0, ExactSizeIterator::len);
        (number, Some(number))
    }
}

impl ExactSizeIterator for Admitted {}

impl Tokens {
    fn split(&mut self) -> Option<Token> {
        self.count = self.count.checked_sub(1)?;
        Some(Token { limit: Arc::clone(&self.limit), taken_at: self.taken_at, is_used: false })
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.limit.give_back(self.count, self.taken_at.elapsed());
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
            let rate: Rate =
                rate.parse().with_context(|| format!("the rate of route `{}` is no rate", route.name))?;
            Ok((route.name.clone(), rate))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn route(rate_and_connections: (&str, usize)) -> (Admission, Arc<Worker>) {
        let (rate, connections) = rate_and_connections;
        let text = format!(
            "name = \"main\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\nconnections = {connections}"
        );
        let routes = Routes::new(&[toml::from_str(&text).unwrap()]).unwrap();
        let (worker, _) = Worker::new(Duration::from_secs(10), Arc::clone(routes.freed()));
        let worker = Arc::new(worker);
        let rates = rate.parse::<Rate>().ok().map(|rate| ("main".to_owned(), rate));
        let admission = Admission::new(routes, rates, Arc::clone(&worker));
        (admission, worker)
    }

    fn reason(admission: &Admission) -> Option<Reason> {
        admission.wait().map(|wait| wait.reason)
    }

    #[tokio::test]
    async fn a_mail_waits_for_the_worker_a_connection_and_the_rate_and_we_know_which() {
        let (admission, worker) = route(("3/s", 2));
        assert_eq!((admission.admit(9).len(), reason(&admission)), (0, Some(Reason::Worker)));
        worker.was_heard(clock::now(), Instant::now());
        let mut first = admission.admit(9);
        assert_eq!((first.len(), reason(&admission)), (2, Some(Reason::NoConnection)));
        assert_eq!(admission.admit(9).len(), 0);
        let used = first.next().unwrap();
        drop(first);
        let mut more = admission.admit(1);
        assert_eq!((more.len(), reason(&admission)), (1, None));
        for mut permit in [used, more.next().unwrap()] {
            permit.token.as_mut().unwrap().is_used = true;
        }
        assert_eq!((admission.admit(2).len(), reason(&admission)), (1, Some(Reason::Rate)));
        worker.stopping.cancel();
        assert_eq!((admission.admit(9).len(), reason(&admission)), (0, Some(Reason::Worker)));
    }

    #[tokio::test]
    async fn a_permit_that_is_not_used_leaves_its_place_and_its_rate_to_another() {
        let (admission, worker) = route(("1/m", 1));
        worker.was_heard(clock::now(), Instant::now());
        for _ in 0..3 {
            assert_eq!(admission.admit(5).map(drop).count(), 1);
        }
        admission.admit(1).next().unwrap().token.as_mut().unwrap().is_used = true;
        assert_eq!((admission.admit(1).len(), reason(&admission)), (0, Some(Reason::Rate)));
        let until = admission.wait().unwrap().until.unwrap();
        assert!(until > Instant::now() + Duration::from_secs(50));
    }
}
