//! ADMITTED: whether a mail may go now, and if not, why not and until when. The one place that knows all that can make
//! mails wait.
//!
//! A worker asks twice ([`Admit`]): before it fetches mails, how many may leave at all, and when it has them, which. A mail
//! that must wait goes to the line of what it waits for, without a claim, an attempt, a place of a worker or a timer. What
//! is asked, in this order: whether this worker may send, and a free connection of any route; then for each mail what is
//! paused, whether its recipient's domain gets too much, a route (`choice`), and its rates. Each is
//! a [`WaitReason`]; a further one is to be asked here too.

mod choice;
mod closed;
mod drains;
mod lines;
mod paused;
mod pauses;
mod permit;
mod speed;
mod token;
mod watch;
mod way;

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
pub use speed::Speed;

use choice::{Choice, Chooser, Standing};
use lines::{line_of_domain, line_of_rate, line_without_a_route, order_of_asking};
use paused::Paused;
use permit::Others;
use token::{Desk, Token};
use way::Way;

use crate::{
    limits::{Answer, Ask, Limiter, MailLimits, Rate, Scope, Tokens},
    mail::{MerchantId, WaitReason},
    queue::{Admit, Decision, Lease, Line, QueuedJob},
    smtp::{Permits, RouteSettings, Routes},
    worker::Worker,
};

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
    /// The routes, in the order of the configuration.
    ways: Vec<Arc<Way>>,
    chooser: Chooser,
    limits: MailLimits,
    own_rates: RwLock<HashMap<MerchantId, Rate>>,
    paused: RwLock<Arc<Paused>>,
    desk: Arc<Desk>,
    worker: Arc<Worker>,
    changed: Arc<Notify>,
    wait: Mutex<Option<Wait>>,
}

/// Places for connections, taken before the mails are known: those of each route.
pub struct Room(Vec<Held>);

struct Held {
    connections: Permits,
    /// How many are promised to mails.
    promised: usize,
    /// For how long its relay is away.
    away: Option<Duration>,
}

impl Held {
    fn has_place(&self) -> bool {
        self.promised < self.connections.len()
    }
}

/// What becomes of a mail.
enum Plan {
    /// This is asked, for this route.
    Ask { ask: Ask, way: usize },
    /// It goes.
    Go { ask: Ask, way: usize, tokens: Tokens },
    /// It waits.
    Later(Line),
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
        let ways: Vec<_> = routes
            .iter()
            .map(|route| Arc::new(Way::new(Arc::clone(route), rates.remove(route.name()))))
            .collect();
        let preferences = routes.iter().map(|route| route.preference());
        Self {
            chooser: Chooser::new(preferences.map(|each| (each.priority, each.weight))),
            ways,
            limits,
            own_rates: RwLock::default(),
            paused: RwLock::default(),
            desk: Arc::new(Desk { limiter, closed: Arc::default() }),
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
        changed.iter().for_each(|scope| self.desk.closed.open(scope));
        changed.iter().map(Scope::to_string).collect()
    }

    /// Takes up to `most` places for connections of each route and says, where there are fewer in all, why.
    fn ask_for_room(&self, most: usize) -> (usize, Option<Room>, Option<Wait>) {
        if !self.worker.may_begin() {
            return (0, None, Some(Wait { reason: WaitReason::Queued, route: None, until: None }));
        }
        let held = self.ways.iter().map(|way| {
            let is_drained = way.is_drained();
            let connections = way.route.permits(if is_drained { 0 } else { most });
            Held { connections, promised: 0, away: way.route.pause() }
        });
        let room = Room(held.collect());
        let number = room.0.iter().map(|held| held.connections.len()).sum::<usize>().min(most);
        let wait = (number < most).then(|| self.reason_for_less(&room));
        (number, Some(room), wait)
    }

    /// Why there is no room for more mails, whatever they are.
    fn reason_for_less(&self, room: &Room) -> Wait {
        let choice = self.chooser.choose(|way| match room.0[way].away {
            _ if self.ways[way].is_drained() => Standing::Drained,
            Some(pause) => Standing::Away(pause),
            None => Standing::Full,
        });
        let (reason, way) = match choice {
            Choice::NoRoute(way) => (WaitReason::NoRoute, way),
            Choice::Away(way, _) => (WaitReason::RouteAway, Some(way)),
            Choice::Take(way) | Choice::Paused(way) | Choice::NoConnection(way) | Choice::Rate(way) => {
                (WaitReason::NoConnection, Some(way))
            }
        };
        // A relay that is away is tried when its time comes, even while others are busy.
        let is_in_use = |way: &usize| !self.ways[*way].is_drained();
        let pauses = (0..self.ways.len()).filter(is_in_use).filter_map(|way| room.0[way].away);
        let first = pauses.filter(|pause| !pause.is_zero()).min();
        Wait {
            reason,
            route: way.map(|way| self.ways[way].name.to_string()),
            until: first.map(|pause| Instant::now() + pause),
        }
    }

    /// How a route stands to a mail.
    fn standing(
        &self,
        way: usize,
        mail: &QueuedJob,
        from: Option<&str>,
        held: &Held,
        paused: &Paused,
    ) -> Standing {
        let way = &self.ways[way];
        if !way.takes(mail) {
            return Standing::NotForIt;
        }
        match held.away {
            _ if way.is_drained() => Standing::Drained,
            _ if paused.line_of_route(&way.name).is_some() => Standing::Paused,
            Some(pause) if !held.has_place() => Standing::Away(pause),
            None if !held.has_place() => Standing::Full,
            _ if way.rate.is_some() && self.desk.closed.is_closed(&way.scope, from) => Standing::NoRate,
            _ => Standing::Free,
        }
    }

    /// Chooses a route for a mail among those with a free connection, and says what is asked for it. A mail that its route's
    /// rate refused `again` does not ask for that once more.
    fn plan(&self, lease: &Lease, room: &mut Room, paused: &Paused, again: bool) -> Plan {
        let mail = &lease.job;
        if let Some(line) = paused.line_of_mail(mail) {
            return Plan::Later(line);
        }
        let domain = mail.domains.as_ref().map_or("", |domains| &domains.recipient);
        let now = Instant::now();
        if let Some(until) = self.routes.with_recipients(|recipients| recipients.not_before(domain, now)) {
            return Plan::Later(line_of_domain(domain, until - now));
        }
        let from = lease.line().filter(|_| !again);
        let choice = self.chooser.choose(|way| self.standing(way, mail, from, &room.0[way], paused));
        let way = match choice {
            Choice::Take(way) | Choice::Rate(way) => way,
            Choice::NoRoute(way) => {
                return Plan::Later(line_without_a_route(way.map(|way| &*self.ways[way])));
            }
            Choice::Away(way, pause) => return Plan::Later(self.ways[way].line_while_away(pause)),
            Choice::NoConnection(way) => return Plan::Later(self.ways[way].line_for_a_connection()),
            Choice::Paused(way) => {
                let way = &self.ways[way];
                let line = paused.line_of_route(&way.name);
                return Plan::Later(line.unwrap_or_else(|| way.line_for_a_connection()));
            }
        };
        let ask = self.ask_of(mail, &self.ways[way]);
        if let Some(line) = self.desk.closed.line_for(&ask, from) {
            return Plan::Later(self.desk.closed.join(line, &ask, lease));
        }
        if !room.0[way].has_place() {
            return Plan::Later(self.ways[way].line_for_a_connection()); // its rate came back this moment
        }
        room.0[way].promised += 1;
        Plan::Ask { ask, way }
    }

    fn ask_of(&self, job: &QueuedJob, way: &Way) -> Ask {
        let own = self.own_rates.read().unwrap_or_else(PoisonError::into_inner).get(&job.merchant).copied();
        let domain = job.domains.as_ref().map_or("", |domains| &domains.recipient);
        self.limits.scopes_of(&job.merchant, own, domain, &way.name, way.rate)
    }

    /// Asks for all mails at once, and for those that a route's rate refuses, once more by other routes.
    async fn ask_all(&self, plans: &mut [Plan], mails: &[Lease], room: &mut Room, paused: &Paused) {
        let order = order_of_asking(mails);
        for _ in 0..self.ways.len() {
            let (asking, asks): (Vec<usize>, Vec<Ask>) = order
                .iter()
                .filter_map(|&mail| match &plans[mail] {
                    Plan::Ask { ask, .. } => Some((mail, ask.clone())),
                    Plan::Go { .. } | Plan::Later(_) => None,
                })
                .unzip();
            if asks.is_empty() {
                return;
            }
            let answers = self.desk.limiter.take(&asks).await;
            for (mail, answer) in asking.into_iter().zip(answers) {
                let Plan::Ask { ask, way } = &mut plans[mail] else { continue };
                let (ask, way, lease) = (std::mem::take(ask), *way, &mails[mail]);
                plans[mail] = match answer {
                    Answer::Granted(tokens) => Plan::Go { ask, way, tokens },
                    Answer::Denied { scope, wait } => {
                        room.0[way].promised -= 1;
                        let line = line_of_rate(&scope, &ask, wait);
                        let may_go_elsewhere = self.ways.len() > 1 && scope == self.ways[way].scope;
                        self.desk.closed.close(scope, wait, &line);
                        match may_go_elsewhere.then(|| self.plan(lease, room, paused, true)) {
                            Some(ask @ Plan::Ask { .. }) => ask,
                            _ => Plan::Later(self.desk.closed.join(line, &ask, lease)),
                        }
                    }
                };
            }
        }
    }

    /// The other routes that may take a mail, by priority, should this one fail to before it is offered.
    fn others(&self, chosen: usize, mail: &QueuedJob, paused: &Paused) -> Others {
        let mut others = Others::new(&self.desk);
        if self.ways.len() > 1 {
            let mut ways: Vec<_> = (0..self.ways.len()).filter(|way| *way != chosen).collect();
            ways.sort_by_key(|way| self.ways[*way].route.preference().priority);
            for way in ways.into_iter().map(|way| &self.ways[way]) {
                if way.takes(mail) && !way.is_drained() && paused.line_of_route(&way.name).is_none() {
                    others.add(Arc::clone(way), self.ask_of(mail, way));
                }
            }
        }
        others
    }

    /// Lets a mail go that has all it needs.
    fn go(
        &self,
        (ask, way, tokens): (Ask, usize, Tokens),
        lease: &Lease,
        room: &mut Room,
        paused: &Paused,
    ) -> Decision<Permit> {
        let domain = lease.job.domains.as_ref().map_or("", |domains| &domains.recipient);
        let now = Instant::now();
        if let Err(until) = self.routes.with_recipients(|recipients| recipients.take_turn(domain, now)) {
            return Decision::Later(line_of_domain(domain, until.saturating_duration_since(now)));
        }
        let Some(connection) = room.0[way].connections.next() else { return Decision::NotHere };
        let token = (!ask.is_empty()).then(|| Token::new(tokens, &self.desk));
        Decision::Now(Permit::new(token, connection, self.others(way, &lease.job, paused)))
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Room = Option<Room>;

    fn room(&self, most: usize) -> (usize, Option<Room>) {
        if most == 0 {
            return (0, None);
        }
        let (number, room, wait) = self.ask_for_room(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        (number, room)
    }

    async fn decide(&self, room: Option<Room>, mails: &[Lease]) -> Vec<Decision<Permit>> {
        let Some(mut room) = room.filter(|_| self.worker.may_begin()) else {
            return mails.iter().map(|_| Decision::NotHere).collect();
        };
        let paused = self.paused();
        let mut plans: Vec<Plan> =
            mails.iter().map(|lease| self.plan(lease, &mut room, &paused, false)).collect();
        self.ask_all(&mut plans, mails, &mut room, &paused).await;
        let decide = |(plan, lease)| match plan {
            Plan::Later(line) => Decision::Later(line),
            Plan::Go { ask, way, tokens } => self.go((ask, way, tokens), lease, &mut room, &paused),
            // Not reached: each is answered before as many routes are asked as there are.
            Plan::Ask { .. } => Decision::NotHere,
        };
        plans.into_iter().zip(mails).map(decide).collect()
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
