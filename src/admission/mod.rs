//! ADMITTED: whether a mail may go now, and if not, why not and until when. The one place that knows all that can make
//! mails wait.
//!
//! A worker asks twice ([`Admit`]): before it fetches mails, how many may leave at all, and when it has them, which. A mail
//! that must wait goes to the line of what it waits for, without a claim, an attempt, a place of a worker or a timer. What
//! is asked, in this order: whether this worker may send, and a free connection of any route; then for each mail what is
//! paused, whether its recipient's domain gets too much, a route (`choice`), and its rates (`decider`). Each is
//! a [`WaitReason`]; a further one is to be asked here too. A mail that is handed over by its request is asked the same
//! (`at_once`), but never waits here.
//!
//! What operators may pause, and for how long, is in `new_pause`: the command line and the dashboard ask there.
//!
//! Which routes and limits there are (`in_force`) may change while the process runs. Whoever asks for room decides by what was
//! in force then; a reload wakes what waits, which then asks by the new ones.

mod admission_route;
mod at_once;
mod choice;
mod decider;
mod drains;
mod exhausted;
mod in_force;
mod lines;
mod new_pause;
mod paused;
mod pauses;
mod permit;
mod reserved_connections;
mod speed;
mod token;
mod watch;

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
pub use reserved_connections::ReservedConnections;
pub use speed::Speed;

use choice::{Choice, RouteAvailability};
use in_force::InForce;
use paused::Paused;
use reserved_connections::RouteReservation;
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
            rates: Arc::new(Rates { limiter, exhausted: Arc::default() }),
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
        changed.iter().for_each(|scope| self.rates.exhausted.note_available(scope));
        changed.iter().map(Scope::to_string).collect()
    }

    /// Reserves up to `most` connections of each route and says, where there are fewer in all, why.
    fn reserve_connections(&self, most: usize) -> (usize, Option<ReservedConnections>, Option<Wait>) {
        if !self.worker.may_begin() {
            return (0, None, Some(Wait { reason: WaitReason::Queued, route: None, until: None }));
        }
        let in_force = self.in_force();
        let held = in_force.routes.iter().map(|route| {
            let is_drained = route.is_drained();
            let connections = route.smtp_route.permits(if is_drained { 0 } else { most });
            RouteReservation { connections, promised: 0, away: route.smtp_route.pause() }
        });
        let reserved = ReservedConnections { held: held.collect(), in_force };
        let number = reserved.held.iter().map(|held| held.connections.len()).sum::<usize>().min(most);
        let wait = (number < most).then(|| reason_for_less(&reserved));
        (number, Some(reserved), wait)
    }
}

/// Why there is no room for more mails, whatever they are.
fn reason_for_less(reserved: &ReservedConnections) -> Wait {
    let ReservedConnections { held, in_force } = reserved;
    let InForce { routes, chooser, .. } = &**in_force;
    let (choice, _) = chooser.choose(|route| match held[route].away {
        _ if routes[route].is_drained() => RouteAvailability::Drained,
        Some(pause) => RouteAvailability::Away(pause),
        None => RouteAvailability::Full,
    });
    let (reason, route) = match choice {
        Choice::NoRoute(route) => (WaitReason::NoRoute, route),
        Choice::Away(route, _) => (WaitReason::RouteAway, Some(route)),
        // Nothing is known of mails.
        Choice::RefusesSender(_) => (WaitReason::NoConnection, None),
        Choice::Take(route) | Choice::Paused(route) | Choice::NoConnection(route) | Choice::Rate(route) => {
            (WaitReason::NoConnection, Some(route))
        }
    };
    // A relay that is away is tried when its time comes, even while others are busy.
    let is_in_use = |route: &usize| !routes[*route].is_drained();
    let pauses = (0..routes.len()).filter(is_in_use).filter_map(|route| held[route].away);
    let first = pauses.filter(|pause| !pause.is_zero()).min();
    Wait {
        reason,
        route: route.map(|route| routes[route].name.to_string()),
        until: first.map(|pause| Instant::now() + pause),
    }
}

impl Admit for Admission {
    type Permit = Permit;
    type Reservation = Option<ReservedConnections>;

    fn may_begin(&self) -> bool {
        self.worker.may_begin()
    }

    fn reserve(&self, most: usize) -> (usize, Option<ReservedConnections>) {
        if most == 0 {
            return (0, None);
        }
        let (number, reserved, wait) = self.reserve_connections(most);
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        (number, reserved)
    }

    async fn decide(&self, reserved: Option<ReservedConnections>, mails: &[Lease]) -> Vec<Decision<Permit>> {
        let Some(reserved) = reserved.filter(|_| self.worker.may_begin()) else {
            return mails.iter().map(|_| Decision::NotHere).collect();
        };
        self.decide_in(reserved, mails).await
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
