//! What is wrong, in words, the most urgent first; and that all is well when nothing is.

use std::time::Duration;

use super::words;
use crate::{
    mail::{MerchantId, PauseScope, search::MailCount},
    smtp::{BreakerState, RouteStatus},
    store::PauseRecord,
};

/// A mail that waits longer has somebody asking for it.
const LONG: Duration = Duration::from_secs(5 * 60);
/// From so many failed mails in an hour on it is worth a look, where they are one of twenty or more.
const MANY_FAILED: u64 = 10;

/// What is known of the installation.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Why the database takes no writes.
    pub(super) database: Option<String>,
    /// Why the queue does not answer.
    pub(super) queue: Option<String>,
    /// The routes as this process sees them; none where it sends nothing.
    pub(super) routes: Vec<RouteStatus>,
    /// Whether this process knows how the routes are.
    pub(super) works: bool,
    /// Routes that operators drained.
    pub(super) drained: Vec<String>,
    /// What is paused.
    pub(super) pauses: Vec<PauseRecord>,
    /// Workers that were heard of; none when that is not known.
    pub(super) workers: Option<usize>,
    /// Mails on their way.
    pub(super) waiting: MailCount,
    /// How long the oldest of them waits.
    pub(super) oldest: Option<Duration>,
    /// Mails that a person has to decide about.
    pub(super) held: MailCount,
    /// Mails that were sent, and that failed, in the last hour.
    pub(super) last_hour: Option<(u64, u64)>,
}

/// How urgent something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Nothing goes.
    Bad,
    /// Something does not go, or somebody chose so.
    Warn,
    /// Nothing is wrong.
    Good,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) urgency: Urgency,
    pub(super) text: String,
    /// Where one acts.
    pub(super) href: &'static str,
    pub(super) link: &'static str,
}

impl Alarm {
    pub(super) fn tone(&self) -> &'static str {
        match self.urgency {
            Urgency::Bad => "bad",
            Urgency::Warn => "warn",
            Urgency::Good => "good",
        }
    }

    pub(super) fn shape(&self) -> &'static str {
        match self.urgency {
            Urgency::Bad => "✕",
            Urgency::Warn => "▲",
            Urgency::Good => "●",
        }
    }
}

/// What there is to say to an operator of everything, or of this merchant alone.
pub(super) fn alarms(facts: &Facts, merchant: Option<&MerchantId>) -> Vec<Alarm> {
    let mut bad = Vec::new();
    let mut warnings = Vec::new();
    let for_all = merchant.is_none();
    if let Some(why) = &facts.database {
        bad.push(alarm(
            format!("The database takes no writes: {why}. Merchants' requests are refused."),
            "/workers",
            "Workers",
        ));
    }
    if let Some(why) = &facts.queue {
        bad.push(alarm(
            format!("The queue does not answer: {why}. What is recorded is safe and waits."),
            "/queue",
            "Queue",
        ));
    }
    if facts.workers == Some(0) {
        bad.push(alarm(format!("No worker is heard of: {}.", waits(facts)), "/workers", "Workers"));
    }
    if for_all {
        routes(facts, &mut bad, &mut warnings);
    } else if facts.works && facts.routes.iter().all(is_away) && !facts.routes.is_empty() {
        bad.push(alarm(format!("No relay takes mails right now; {}.", waits(facts)), "/mails", "Mails"));
    }
    for pause in facts.pauses.iter().filter(|pause| is_seen(&pause.scope, merchant)) {
        warnings.push(alarm(paused(pause), "/queue", "Queue"));
    }
    if facts.held.count > 0 {
        let mails = words::counted(facts.held);
        let text =
            format!("{mails} held: a crash left open whether a relay has them. Somebody has to decide.");
        warnings.push(alarm(text, "/mails?q=state%3Aheld", "Decide"));
    }
    if let Some((sent, failed)) = facts.last_hour
        && failed >= MANY_FAILED
        && failed * 19 >= sent
    {
        let (sent, failed) = (words::number(sent), words::number(failed));
        let text = format!("{failed} mails failed in the last hour, {sent} were sent.");
        warnings.push(alarm(text, "/dead-letters", "Dead letters"));
    }
    warnings.iter_mut().for_each(|alarm| alarm.urgency = Urgency::Warn);
    bad.append(&mut warnings);
    if bad.is_empty() {
        bad.push(all_is_well(facts));
    }
    bad
}

fn alarm(text: String, href: &'static str, link: &'static str) -> Alarm {
    Alarm { urgency: Urgency::Bad, text, href, link }
}

fn is_away(route: &RouteStatus) -> bool {
    route.stopped.is_some() || matches!(route.breaker, BreakerState::Open { .. })
}

fn routes(facts: &Facts, bad: &mut Vec<Alarm>, warnings: &mut Vec<Alarm>) {
    if facts.works && facts.routes.is_empty() {
        let text = format!("No route is configured: {}.", waits(facts));
        bad.push(alarm(text, "/routes", "Routes"));
    }
    let is_drained = |route: &RouteStatus| facts.drained.contains(&route.name);
    for route in facts.routes.iter().filter(|route| !is_drained(route)) {
        let name = &route.name;
        if let Some(fault) = &route.stopped {
            let text = format!(
                "The relay of route {name} refuses us: {}, since {}; {}.",
                fault.text,
                words::time(fault.at),
                waits(facts)
            );
            bad.push(alarm(text, "/routes", "Routes"));
        } else if is_away(route) {
            let fault = route.last_error.as_ref().map_or("", |fault| fault.text.as_str());
            bad.push(alarm(
                format!("The relay of route {name} is away: {fault}; {}.", waits(facts)),
                "/routes",
                "Routes",
            ));
        }
    }
    let all_drained = !facts.routes.is_empty() && facts.routes.iter().all(is_drained);
    if all_drained {
        bad.push(alarm(format!("Every route is drained; {}.", waits(facts)), "/routes", "Routes"));
    } else {
        let drained = facts.drained.iter().map(|name| {
            alarm(format!("The route {name} is drained: nothing new goes over it."), "/routes", "Routes")
        });
        warnings.extend(drained);
    }
}

fn waits(facts: &Facts) -> String {
    let mails = match (facts.waiting.count, facts.waiting.more) {
        (0, _) => return "no mail waits".to_owned(),
        (1, false) => "1 mail waits".to_owned(),
        _ => format!("{} mails wait", words::counted(facts.waiting)),
    };
    match facts.oldest {
        Some(oldest) => format!("{mails}, the oldest for {}", words::length(oldest)),
        None => mails,
    }
}

/// Whether an operator of this merchant is to know of a pause.
fn is_seen(scope: &PauseScope, merchant: Option<&MerchantId>) -> bool {
    match (scope, merchant) {
        (_, None) | (PauseScope::Lane(_), _) => true,
        (PauseScope::Merchant(paused), Some(own)) => paused == own,
        (PauseScope::Route(_) | PauseScope::Domain(_), Some(_)) => false,
    }
}

fn paused(pause: &PauseRecord) -> String {
    let (kind, name) = (pause.scope.kind(), pause.scope.name());
    if pause.is_suspension {
        return format!("The merchant {name} is suspended: its mails wait.");
    }
    let until = pause.ends_at.map_or_else(String::new, |at| format!(", until {}", words::time(at)));
    let by = if pause.actor.is_empty() { String::new() } else { format!(" by {}", pause.actor) };
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("The {kind} {name} is paused{by}{until}{reason}.")
}

fn all_is_well(facts: &Facts) -> Alarm {
    let sent = facts
        .last_hour
        .map(|(sent, _)| format!("{} sent in the last hour", words::several(sent, "mail", "mails")));
    let oldest = match facts.oldest {
        Some(oldest) if oldest > LONG => format!("{} (some are not due yet)", waits(facts)),
        Some(_) => waits(facts),
        None => "none waits".to_owned(),
    };
    let parts: Vec<_> = sent.into_iter().chain([oldest]).collect();
    let text = format!("All is well: {}.", parts.join("; "));
    Alarm { urgency: Urgency::Good, text, href: "/mails", link: "Mails" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{Lane, Phase, Timestamp},
        smtp::RouteFault,
    };

    fn route(name: &str, stopped: Option<&str>) -> RouteStatus {
        let fault =
            |text: &str| RouteFault { at: Timestamp(0), phase: Phase::MailFrom, text: text.to_owned() };
        RouteStatus {
            name: name.to_owned(),
            connections: 4,
            open: 0,
            idle: 0,
            busy: 0,
            breaker: BreakerState::Closed,
            stopped: stopped.map(fault),
            last_error: None,
        }
    }

    fn pause(scope: PauseScope) -> PauseRecord {
        let (actor, reason) = ("operator:ann".to_owned(), "blocklisted".to_owned());
        PauseRecord { scope, reason, actor, at: Timestamp(0), ends_at: None, is_suspension: false }
    }

    fn facts() -> Facts {
        Facts {
            routes: vec![route("main", None)],
            works: true,
            workers: Some(1),
            waiting: MailCount { count: 1_204, more: false },
            oldest: Some(Duration::from_secs(2)),
            last_hour: Some((3_214, 1)),
            ..Facts::default()
        }
    }

    fn said(facts: &Facts) -> Vec<String> {
        alarms(facts, None).into_iter().map(|alarm| format!("{} {}", alarm.tone(), alarm.text)).collect()
    }

    #[test]
    fn all_is_well_when_nothing_is_wrong() {
        let text =
            "good All is well: 3,214 mails sent in the last hour; 1,204 mails wait, the oldest for 2 s.";
        assert_eq!(said(&facts()), [text]);
        let idle = Facts { waiting: MailCount { count: 0, more: false }, oldest: None, ..facts() };
        assert_eq!(said(&idle), ["good All is well: 3,214 mails sent in the last hour; none waits."]);
    }

    #[test]
    fn what_stops_everything_comes_before_what_somebody_chose() {
        let wrong = Facts {
            routes: vec![route("main", Some("530 authentication required")), route("spare", None)],
            drained: vec!["spare".to_owned()],
            pauses: vec![pause(PauseScope::Lane(Lane::Bulk))],
            held: MailCount { count: 3, more: false },
            last_hour: Some((10, 400)),
            ..facts()
        };
        assert_eq!(
            said(&wrong),
            [
                "bad The relay of route main refuses us: 530 authentication required, since 1 Jan 00:00:00 UTC; \
                 1,204 mails wait, the oldest for 2 s.",
                "warn The route spare is drained: nothing new goes over it.",
                "warn The lane bulk is paused by operator:ann: blocklisted.",
                "warn 3 held: a crash left open whether a relay has them. Somebody has to decide.",
                "warn 400 mails failed in the last hour, 10 were sent.",
            ]
        );
    }

    #[test]
    fn an_operator_of_one_merchant_hears_of_no_other_and_of_no_route() {
        let (own, other): (MerchantId, MerchantId) = ("tea".parse().unwrap(), "ink".parse().unwrap());
        let facts = Facts {
            routes: vec![route("main", Some("530")), route("secret", None)],
            drained: vec!["secret".to_owned()],
            pauses: vec![
                pause(PauseScope::Merchant(own.clone())),
                pause(PauseScope::Merchant(other)),
                pause(PauseScope::Route("secret".to_owned())),
            ],
            ..facts()
        };
        let said: Vec<_> = alarms(&facts, Some(&own)).into_iter().map(|alarm| alarm.text).collect();
        assert_eq!(said, ["The merchant tea is paused by operator:ann: blocklisted."]);
    }

    #[test]
    fn a_database_a_queue_or_workers_that_are_away_come_first() {
        let wrong = Facts {
            database: Some("it does not answer".to_owned()),
            queue: Some("redis is away".to_owned()),
            workers: Some(0),
            ..facts()
        };
        let said = said(&wrong);
        assert_eq!(said.len(), 3);
        assert!(said[0].starts_with("bad The database takes no writes") && said[2].contains("No worker"));
    }
}
