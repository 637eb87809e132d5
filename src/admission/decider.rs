//! Decides about fetched mails, with the connections that were reserved for them: a route for each, then what is asked of its
//! rates, all in one call.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::{
    Admission,
    admission_route::AdmissionRoute,
    choice::{Choice, RouteAvailability, Turn},
    in_force::InForce,
    lines::{line_of_domain, line_of_rate, line_of_sender, line_without_a_route, order_of_asking},
    paused::Paused,
    permit::{Others, Permit},
    reserved_connections::{ReservedConnections, RouteReservation},
    token::Token,
};
use crate::{
    limits::{Answer, Ask, Tokens},
    queue::{Decision, Lease, Line, QueuedJob},
};

/// What becomes of a mail.
pub(super) enum Plan {
    /// This is asked, for this route.
    Ask { ask: Ask, route: usize, turn: Turn },
    /// It goes.
    Go { ask: Ask, route: usize, turn: Turn, tokens: Tokens },
    /// It waits.
    Later(Line),
}

impl Admission {
    pub(super) async fn decide_in(
        &self,
        reserved: ReservedConnections,
        mails: &[Lease],
    ) -> Vec<Decision<Permit>> {
        let ReservedConnections { held, in_force } = reserved;
        let paused = self.paused();
        Decider { admission: self, in_force: &in_force, paused: &paused, held }.decide(mails).await
    }
}

impl Admission {
    /// Whether nothing keeps this mail waiting but relays that this process knows to be away or to refuse us, or its sender.
    pub fn waits_for_relays(&self, mail: &QueuedJob) -> bool {
        let (in_force, paused, now) = (self.in_force(), self.paused(), Instant::now());
        if paused.line_of_mail(mail).is_some() {
            return false;
        }
        let may_take = |route: &&Arc<AdmissionRoute>| {
            route.takes(mail) && !route.is_drained() && paused.line_of_route(&route.name).is_none()
        };
        let mut routes = in_force.routes.iter().filter(may_take).peekable();
        let takes_nothing = |route: &Arc<AdmissionRoute>| {
            route.smtp_route.pause().is_some()
                || route.smtp_route.refuses_sender_until(sender_of(mail), now).is_some()
        };
        routes.peek().is_some() && routes.all(takes_nothing)
    }
}

/// Decides about some mails.
pub(super) struct Decider<'a> {
    pub(super) admission: &'a Admission,
    pub(super) in_force: &'a InForce,
    pub(super) paused: &'a Paused,
    pub(super) held: Vec<RouteReservation>,
}

impl Decider<'_> {
    async fn decide(mut self, mails: &[Lease]) -> Vec<Decision<Permit>> {
        let mut plans: Vec<Plan> = mails.iter().map(|lease| self.plan(lease, false)).collect();
        self.ask_all(&mut plans, mails).await;
        let decide = |(plan, lease)| match plan {
            Plan::Later(line) => Decision::Later(line),
            Plan::Go { ask, route, turn, tokens } => {
                let decision = self.go((ask, route, tokens), lease);
                if !matches!(decision, Decision::Now(_)) {
                    self.in_force.chooser.give_back(turn);
                }
                decision
            }
            // Not reached: each is answered before as many routes are asked as there are.
            Plan::Ask { .. } => Decision::NotHere,
        };
        plans.into_iter().zip(mails).map(decide).collect()
    }

    /// Whether a route may take a mail.
    fn availability(
        &self,
        route: usize,
        mail: &QueuedJob,
        from: Option<&str>,
        now: Instant,
    ) -> RouteAvailability {
        let (route, held) = (&self.in_force.routes[route], &self.held[route]);
        if !route.takes(mail) {
            return RouteAvailability::NotForIt;
        }
        let refused_for =
            route.smtp_route.refuses_sender_until(sender_of(mail), now).map(|until| until - now);
        match (held.away, refused_for) {
            _ if route.is_drained() => RouteAvailability::Drained,
            _ if self.paused.line_of_route(&route.name).is_some() => RouteAvailability::Paused,
            (Some(pause), _) if !held.has_free_connection() => RouteAvailability::Away(pause),
            (_, Some(pause)) => RouteAvailability::RefusesSender(pause),
            (None, _) if !held.has_free_connection() => RouteAvailability::Full,
            _ if route.rate.is_some() && self.admission.rates.exhausted.is_exhausted(&route.scope, from) => {
                RouteAvailability::NoRate
            }
            _ => RouteAvailability::Free,
        }
    }

    /// Chooses a route for a mail among those with a free connection, and says what is asked for it. A mail that its route's
    /// rate refused `again` does not ask for that once more.
    pub(super) fn plan(&mut self, lease: &Lease, again: bool) -> Plan {
        let (mail, in_force, rates) = (&lease.job, self.in_force, &self.admission.rates);
        if let Some(line) = self.paused.line_of_mail(mail) {
            return Plan::Later(line);
        }
        let domain = mail.domains.as_ref().map_or("", |domains| &domains.recipient);
        let now = Instant::now();
        if let Some(until) =
            self.admission.routes.with_recipients(|recipients| recipients.not_before(domain, now))
        {
            return Plan::Later(line_of_domain(domain, until - now));
        }
        let from = lease.line().filter(|_| !again);
        let (choice, turn) = in_force.chooser.choose(|route| self.availability(route, mail, from, now));
        let route = match choice {
            Choice::Take(route) | Choice::Rate(route) => route,
            Choice::NoRoute(route) => {
                return Plan::Later(line_without_a_route(route.map(|route| &*in_force.routes[route])));
            }
            Choice::Away(route, pause) => return Plan::Later(in_force.routes[route].line_while_away(pause)),
            Choice::RefusesSender(pause) => return Plan::Later(line_of_sender(sender_of(mail), pause)),
            Choice::NoConnection(route) => {
                return Plan::Later(in_force.routes[route].line_for_a_connection());
            }
            Choice::Paused(route) => {
                let route = &in_force.routes[route];
                let line = self.paused.line_of_route(&route.name);
                return Plan::Later(line.unwrap_or_else(|| route.line_for_a_connection()));
            }
        };
        let ask = self.ask_of(mail, &in_force.routes[route]);
        if let Some(line) = rates.exhausted.line_for(&ask, from) {
            in_force.chooser.give_back(turn);
            return Plan::Later(rates.exhausted.join(line, &ask, lease));
        }
        if !self.held[route].has_free_connection() {
            return Plan::Later(in_force.routes[route].line_for_a_connection()); // its rate came back this moment
        }
        self.held[route].promised += 1;
        Plan::Ask { ask, route, turn }
    }

    fn ask_of(&self, job: &QueuedJob, route: &AdmissionRoute) -> Ask {
        let own = self.admission.own_rates.read().unwrap_or_else(PoisonError::into_inner);
        let own = own.get(&job.merchant).copied();
        let domain = job.domains.as_ref().map_or("", |domains| &domains.recipient);
        self.in_force.limits.scopes_of(&job.merchant, own, domain, &route.name, route.rate)
    }

    /// Asks for all mails at once, and for those that a route's rate refuses, once more by other routes.
    async fn ask_all(&mut self, plans: &mut [Plan], mails: &[Lease]) {
        let (routes, rates) = (&self.in_force.routes, &self.admission.rates);
        let order = order_of_asking(mails);
        for _ in 0..routes.len() {
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
            let answers = rates.limiter.take(&asks).await;
            for (mail, answer) in asking.into_iter().zip(answers) {
                let Plan::Ask { ask, route, turn } = &mut plans[mail] else { continue };
                let (ask, route, turn) = (std::mem::take(ask), *route, std::mem::take(turn));
                let lease = &mails[mail];
                plans[mail] = match answer {
                    Answer::Granted(tokens) => Plan::Go { ask, route, turn, tokens },
                    Answer::Denied { scope, wait } => {
                        self.held[route].promised -= 1;
                        // Only a mail that goes counts: of each that a rate lets go, another is asked for and denied.
                        self.in_force.chooser.give_back(turn);
                        let line = line_of_rate(&scope, &ask, wait);
                        let may_go_elsewhere = routes.len() > 1 && scope == routes[route].scope;
                        rates.exhausted.note_exhausted(scope, wait, &line);
                        match may_go_elsewhere.then(|| self.plan(lease, true)) {
                            Some(ask @ Plan::Ask { .. }) => ask,
                            _ => Plan::Later(rates.exhausted.join(line, &ask, lease)),
                        }
                    }
                };
            }
        }
    }

    /// The other routes that may take a mail, by priority, should this one fail to before it is offered.
    fn others(&self, chosen: usize, mail: &QueuedJob) -> Others {
        let in_force = self.in_force;
        let mut others = Others::new(&self.admission.rates);
        if in_force.routes.len() > 1 {
            let mut routes: Vec<_> = (0..in_force.routes.len()).filter(|route| *route != chosen).collect();
            routes.sort_by_key(|route| in_force.routes[*route].smtp_route.preference().priority);
            for route in routes.into_iter().map(|route| &in_force.routes[route]) {
                if !route.takes(mail) || route.is_drained() {
                    continue;
                }
                match self.paused.line_of_route(&route.name) {
                    None => others.add(Arc::clone(route), self.ask_of(mail, route)),
                    Some(_) => others.note_paused(),
                }
            }
        }
        others
    }

    /// Lets a mail go that has all it needs.
    pub(super) fn go(
        &mut self,
        (ask, route, tokens): (Ask, usize, Tokens),
        lease: &Lease,
    ) -> Decision<Permit> {
        let domain = lease.job.domains.as_ref().map_or("", |domains| &domains.recipient);
        let now = Instant::now();
        if let Err(until) =
            self.admission.routes.with_recipients(|recipients| recipients.take_turn(domain, now))
        {
            return Decision::Later(line_of_domain(domain, until.saturating_duration_since(now)));
        }
        let Some(connection) = self.held[route].connections.next() else { return Decision::NotHere };
        let token = (!ask.is_empty()).then(|| Token::new(tokens, &self.admission.rates));
        Decision::Now(Permit::new(token, connection, self.others(route, &lease.job)))
    }
}

fn sender_of(mail: &QueuedJob) -> &str {
    mail.domains.as_ref().map_or("", |domains| &domains.sender)
}
