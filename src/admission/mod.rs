//! ADMITTED: whether a mail may go now, and if not, why not and until when. The one place that knows all that can make
//! mails wait.
//!
//! A worker asks twice ([`Admit`]): before it fetches mails, how many may leave at all, and when it has them, which. A mail
//! that must wait goes to the line of what it waits for, without a claim, an attempt, a place of a worker or a timer. What
//! is asked, in this order: whether this worker may send, and a free connection of any route; then for each mail what is
//! paused, whether its recipient's domain gets too much, a route (`choice`), and its rates (`deciding`). Each is
//! a [`WaitReason`]; a further one is to be asked here too. A mail that is handed over by its request is asked the same
//! (`at_once`), but never waits here.
//!
//! What operators may pause, and for how long, is in `new_pause`: the command line and the dashboard ask there.
//!
//! Which routes and limits there are (`in_force`) may change while the process runs. Whoever asks for room decides by what was
//! in force then; a reload wakes what waits, which then asks by the new ones.

mod at_once;
mod choice;
mod closed;
mod deciding;
mod drains;
mod in_force;
mod lines;
mod new_pause;
mod paused;
mod pauses;
mod permit;
mod room;
mod speed;
mod token;
mod watch;
mod way;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::Context;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub use at_once::AtOnce;
pub use new_pause::{Begun, NewPause, PauseError};
pub use permit::{NotAdmitted, Offer, Permit};
pub use room::Room;
pub use speed::Speed;

use choice::{Choice, RouteAvailability};
use in_force::InForce;
use paused::Paused;
use room::Held;
use token::Rates;

use crate::{
    limits::{Limiter, MailLimits, Rate, Scope},
    mail::{MerchantId, WaitReason},
    queue::{Admit, Decision, Lease},
    smtp::{RouteSettings, Routes},
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

/// How often what waits is woken after a change: a mail that was decided about before it may be set aside after it.
const WAKES: u8 = 3;

/// All that can make mails wait.
pub struct Admission {
    routes: Routes,
    in_force: RwLock<Arc<InForce>>,
    own_rates: RwLock<HashMap<MerchantId, Rate>>,
    paused: RwLock<Arc<Paused>>,
    drained: RwLock<HashSet<String>>,
    rates: Arc<Rates>,
    worker: Arc<Worker>,
    changed: Arc<Notify>,
    /// So many times whatever waits is to be woken: limits or routes have changed, or this process has just begun.
    all_to_wake: AtomicU8,
    wake_soon: Notify,
    wait: Mutex<Option<Wait>>,
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
        Self {
            in_force: RwLock::new(Arc::new(InForce::new(&routes.all(), rates, limits))),
            own_rates: RwLock::default(),
            paused: RwLock::default(),
            drained: RwLock::default(),
            rates: Arc::new(Rates { limiter, closed: Arc::default() }),
            changed: Arc::clone(routes.freed()),
            routes,
            worker,
            all_to_wake: AtomicU8::new(1),
            wake_soon: Notify::new(),
            wait: Mutex::default(),
        }
    }

    /// Admits mails to the routes that are in force now, at these rates and by these limits. What waits asks again. What was admitted
    /// before goes its way.
    pub fn replace(&self, rates: impl IntoIterator<Item = (String, Rate)>, limits: MailLimits) {
        let in_force = InForce::new(&self.routes.all(), rates, limits);
        {
            let drained = self.drained.read().unwrap_or_else(PoisonError::into_inner);
            in_force.set_drained(&drained);
            *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
        }
        self.all_to_wake.store(WAKES, Ordering::Relaxed);
        self.wake_soon.notify_one();
        self.changed.notify_one();
    }

    /// The routes and limits that are in force now.
    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why there was room for fewer mails than were asked for last.
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
        changed.iter().for_each(|scope| self.rates.closed.open(scope));
        changed.iter().map(Scope::to_string).collect()
    }

    /// Takes up to `most` places for connections of each route and says, where there are fewer in all, why.
    fn ask_for_room(&self, most: usize) -> (usize, Option<Room>, Option<Wait>) {
        if !self.worker.may_begin() {
            return (0, None, Some(Wait { reason: WaitReason::Queued, route: None, until: None }));
        }
        let in_force = self.in_force();
        let held = in_force.ways.iter().map(|way| {
            let is_drained = way.is_drained();
            let connections = way.route.permits(if is_drained { 0 } else { most });
            Held { connections, promised: 0, away: way.route.pause() }
        });
        let room = Room { held: held.collect(), in_force };
        let number = room.held.iter().map(|held| held.connections.len()).sum::<usize>().min(most);
        let wait = (number < most).then(|| reason_for_less(&room));
        (number, Some(room), wait)
    }
}

/// Why there is no room for more mails, whatever they are.
fn reason_for_less(room: &Room) -> Wait {
    let Room { held, in_force } = room;
    let InForce { ways, chooser, .. } = &**in_force;
    let (choice, _) = chooser.choose(|way| match held[way].away {
        _ if ways[way].is_drained() => RouteAvailability::Drained,
        Some(pause) => RouteAvailability::Away(pause),
        None => RouteAvailability::Full,
    });
    let (reason, way) = match choice {
        Choice::NoRoute(way) => (WaitReason::NoRoute, way),
        Choice::Away(way, _) => (WaitReason::RouteAway, Some(way)),
        // Nothing is known of mails.
        Choice::RefusesSender(_) => (WaitReason::NoConnection, None),
        Choice::Take(way) | Choice::Paused(way) | Choice::NoConnection(way) | Choice::Rate(way) => {
            (WaitReason::NoConnection, Some(way))
        }
    };
    // A relay that is away is tried when its time comes, even while others are busy.
    let is_in_use = |way: &usize| !ways[*way].is_drained();
    let pauses = (0..ways.len()).filter(is_in_use).filter_map(|way| held[way].away);
    let first = pauses.filter(|pause| !pause.is_zero()).min();
    Wait {
        reason,
        route: way.map(|way| ways[way].name.to_string()),
        until: first.map(|pause| Instant::now() + pause),
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Room = Option<Room>;

    fn may_begin(&self) -> bool {
        self.worker.may_begin()
    }

    fn room(&self, most: usize) -> (usize, Option<Room>) {
        if most == 0 {
            return (0, None);
        }
        let (number, room, wait) = self.ask_for_room(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        (number, room)
    }

    async fn decide(&self, room: Option<Room>, mails: &[Lease]) -> Vec<Decision<Permit>> {
        let Some(room) = room.filter(|_| self.worker.may_begin()) else {
            return mails.iter().map(|_| Decision::NotHere).collect();
        };
        self.decide_in(room, mails).await
    }

    async fn changed(&self) {
        // Who may not begin asks for no room: what was waited for before may be long over.
        match self.wait().filter(|_| self.worker.may_begin()).and_then(|wait| wait.until) {
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
