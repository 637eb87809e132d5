//! ADMITTED: whether a mail may go now, and if not, why not and until when. The one place that knows all that can make
//! mails wait.
//!
//! A worker asks twice ([`Admit`]): before it fetches mails, how many may leave at all, and when it has them, which. A mail
//! that must wait goes to the line of what it waits for, without a claim, an attempt, a place of a worker or a timer. What
//! is asked, in this order: whether this worker may send, a route, its breaker, a free connection of it; then for each
//! mail what is paused, and its rates. Each is a [`WaitReason`]; a further one is to be asked here too.

mod closed;
mod permit;
mod watch;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub use permit::{NotAdmitted, Offer, Permit};

use closed::Closed;
use permit::Token;

use crate::{
    clock,
    limits::{Answer, Ask, Limiter, MailLimits, Rate, Scope},
    mail::{MerchantId, WaitReason},
    queue::{Admit, Decision, Lease, Line, Pause, QueuedJob},
    smtp::{Permits, RouteSettings, Routes},
    worker::Worker,
};

/// Mails that wait for a quick rate are fetched several at a time, in intervals of about this. Well below the time in which
/// a rate's burst fills up, so that nothing of the rate is lost.
const TOGETHER: Duration = Duration::from_millis(20);
/// How many mails are fetched first when a pause ends.
const AFTER_A_PAUSE: usize = 100;

/// Why there was room for fewer mails than were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for.
    pub reason: WaitReason,
    /// The route, where it is about one.
    pub route: Option<String>,
    /// When it makes sense to ask again. Without it only an event can tell, such as a connection that comes free.
    pub until: Option<Instant>,
}

/// All that can make mails wait.
pub struct Admission {
    routes: Routes,
    /// The names of the routes, and their rates.
    rates: HashMap<String, (Arc<str>, Option<Rate>)>,
    limits: MailLimits,
    own_rates: RwLock<HashMap<MerchantId, Rate>>,
    limiter: Limiter,
    closed: Arc<Closed>,
    worker: Arc<Worker>,
    changed: Arc<Notify>,
    wait: Mutex<Option<Wait>>,
}

/// Places for connections, taken before the mails are known.
pub struct Room {
    route: Arc<str>,
    rate: Option<Rate>,
    connections: Permits,
    /// How many are promised to mails.
    promised: usize,
}

/// What becomes of a mail before its rates are asked.
enum Plan {
    /// This is asked.
    Ask(Ask),
    /// It waits.
    Later(Line),
    /// There is no connection for it after all.
    NotHere,
}

impl Admission {
    /// Admits mails to these routes, at the routes' rates and by the limits.
    pub fn new(
        routes: Routes,
        rates: impl IntoIterator<Item = (String, Rate)>,
        limits: MailLimits,
        limiter: Limiter,
        worker: Arc<Worker>,
    ) -> Self {
        let mut rates: HashMap<String, Rate> = rates.into_iter().collect();
        let named = |route: crate::smtp::RouteStatus| {
            let rate = rates.remove(&route.name);
            (route.name.clone(), (Arc::from(route.name), rate))
        };
        Self {
            rates: routes.status().into_iter().map(named).collect(),
            limits,
            own_rates: RwLock::default(),
            limiter,
            closed: Arc::default(),
            changed: Arc::clone(routes.freed()),
            routes,
            worker,
            wait: Mutex::default(),
        }
    }

    /// Why the last who asked got less room than he wanted.
    pub fn wait(&self) -> Option<Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the rates that merchants have of their own, and returns the lines of those that changed: they are to be woken.
    pub fn set_own_rates(&self, rates: HashMap<MerchantId, Rate>) -> Vec<String> {
        let mut own = self.own_rates.write().unwrap_or_else(PoisonError::into_inner);
        let merchants = own.keys().chain(rates.keys().filter(|merchant| !own.contains_key(*merchant)));
        let changed: Vec<Scope> = merchants
            .filter(|merchant| own.get(*merchant) != rates.get(*merchant))
            .map(|merchant| Scope::Merchant(merchant.clone()))
            .collect();
        *own = rates;
        drop(own);
        changed.iter().for_each(|scope| self.closed.open(scope));
        changed.iter().map(Scope::to_string).collect()
    }

    /// Takes up to `most` places for connections and says, where there are fewer, why.
    fn ask_for_room(&self, most: usize) -> (Option<Room>, Option<Wait>) {
        let none = |reason| (None, Some(Wait { reason, route: None, until: None }));
        if !self.worker.may_begin() {
            return none(WaitReason::Queued);
        }
        let Some(route) = self.routes.pick() else { return none(WaitReason::NoRoute) };
        let connections = route.permits(most);
        let wait = (connections.len() < most).then(|| {
            let pause = route.pause();
            let reason = if pause.is_some() { WaitReason::RouteAway } else { WaitReason::NoConnection };
            let until = pause.filter(|pause| !pause.is_zero()).map(|pause| Instant::now() + pause);
            Wait { reason, route: Some(route.name().to_owned()), until }
        });
        let (name, rate) = match self.rates.get(route.name()) {
            Some((name, rate)) => (Arc::clone(name), *rate),
            None => (Arc::from(route.name()), None),
        };
        (Some(Room { route: name, rate, connections, promised: 0 }), wait)
    }

    /// Chooses a route for a mail among those with a free connection, and says what is asked for it.
    fn plan(&self, lease: &Lease, room: &mut Room, pauses: &[Pause]) -> Plan {
        if let Some(pause) = pauses.iter().find(|pause| is_about(&pause.scope, &lease.job, &room.route)) {
            return Plan::Later(line_of_pause(pause));
        }
        if room.promised == room.connections.len() {
            return Plan::NotHere;
        }
        let ask = self.ask_of(&lease.job, room);
        if let Some(line) = self.closed.line_for(&ask, lease.line()) {
            return Plan::Later(line);
        }
        room.promised += 1;
        Plan::Ask(ask)
    }

    fn ask_of(&self, job: &QueuedJob, room: &Room) -> Ask {
        let own = self.own_rates.read().unwrap_or_else(PoisonError::into_inner).get(&job.merchant).copied();
        let domain = job.domains.as_ref().map_or("", |domains| &domains.recipient);
        self.limits.scopes_of(&job.merchant, own, domain, &room.route, room.rate)
    }

    /// Asks for all mails at once.
    async fn take(&self, plans: &[Plan]) -> Vec<Answer> {
        let asks: Vec<Ask> = plans
            .iter()
            .filter_map(|plan| match plan {
                Plan::Ask(ask) => Some(ask.clone()),
                Plan::Later(_) | Plan::NotHere => None,
            })
            .collect();
        self.limiter.take(&asks).await
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Room = Option<Room>;

    fn room(&self, most: usize) -> (usize, Option<Room>) {
        if most == 0 {
            return (0, None);
        }
        let (room, wait) = self.ask_for_room(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        (room.as_ref().map_or(0, |room| room.connections.len()), room)
    }

    async fn decide(&self, room: Option<Room>, mails: &[Lease], pauses: &[Pause]) -> Vec<Decision<Permit>> {
        let Some(mut room) = room.filter(|_| self.worker.may_begin()) else {
            return mails.iter().map(|_| Decision::NotHere).collect();
        };
        let plans: Vec<Plan> = mails.iter().map(|lease| self.plan(lease, &mut room, pauses)).collect();
        let mut answers = self.take(&plans).await.into_iter();
        let mut decide = |plan| match plan {
            Plan::Later(line) => Decision::Later(line),
            Plan::NotHere => Decision::NotHere,
            Plan::Ask(ask) => match answers.next() {
                Some(Answer::Denied { scope, wait }) => {
                    let line = line_of_rate(&scope, &ask, wait);
                    self.closed.close(scope, &line);
                    Decision::Later(line)
                }
                Some(Answer::Granted(tokens)) => match room.connections.next() {
                    Some(connection) => {
                        let token =
                            (!ask.is_empty()).then(|| Token::new(tokens, &self.limiter, &self.closed));
                        Decision::Now(Permit::new(token, connection))
                    }
                    None => Decision::NotHere,
                },
                None => Decision::NotHere, // not reached: each ask is answered
            },
        };
        plans.into_iter().map(&mut decide).collect()
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

/// Whether a scope that is paused is one of a mail's.
fn is_about(scope: &str, job: &QueuedJob, route: &str) -> bool {
    match scope.split_once(':') {
        None => scope == "all",
        Some(("merchant", merchant)) => job.merchant.as_str() == merchant,
        Some(("domain", domain)) => job.domains.as_ref().is_some_and(|domains| *domains.recipient == *domain),
        Some(("route", name)) => name == route,
        Some(_) => false,
    }
}

fn line_of_pause(pause: &Pause) -> Line {
    Line {
        name: pause.scope.clone(),
        reason: WaitReason::Paused,
        after: pause.until.map(|until| until.since(clock::now())),
        at_most: AFTER_A_PAUSE,
    }
}

/// The line of a rate. Of a quick one several mails may go at its time; one more is fetched, to learn when the next may.
fn line_of_rate(scope: &Scope, ask: &Ask, wait: Duration) -> Line {
    let rate = ask.limits().iter().find(|(limited, _)| limited == scope).map(|(_, rate)| *rate);
    let more = rate.map_or(0, |rate| {
        let in_time = TOGETHER.as_micros() / rate.each().as_micros().max(1);
        u32::try_from(in_time).unwrap_or(u32::MAX).min(rate.burst() / 2).saturating_sub(1)
    });
    Line {
        name: scope.to_string(),
        reason: WaitReason::Rate,
        after: Some(wait + rate.map_or(Duration::ZERO, |rate| rate.each() * more)),
        at_most: more as usize + 2,
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
            let rate =
                rate.parse().with_context(|| format!("the rate of route `{}` is no rate", route.name))?;
            Ok((route.name.clone(), rate))
        })
        .collect()
}

#[cfg(test)]
mod tests;
