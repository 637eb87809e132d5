//! What is wrong, in words, the most urgent first; and that all is well when nothing is.

use std::time::Duration;

use super::{
    causes::{BEHIND, Cause, LaneBehind, meaning_of},
    page_error::encoded,
    words,
};
use crate::{
    mail::{MerchantId, PauseScope, Phase, ReplyClass, search::MailCount},
    smtp::{BreakerState, RouteFault, RouteStatus},
    store::{PauseRecord, RefusedRequests, RouteUse, RouteUses},
};

/// From so many failed mails in an hour on it is worth a look, where they are one of twenty or more.
const MANY_FAILED: u64 = 10;
/// From so many mails in an hour on that a template failed, it is its template's fault.
const FEW_FAILED: usize = 3;
/// From so many refused requests of a merchant in an hour on it is worth a look.
const MANY_REFUSED: u64 = 10;
/// Merchants whose refused requests are told; the page of each merchant has its own.
const REFUSED_TOLD: usize = 3;

/// What is known of the installation.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Why the database takes no writes.
    pub(super) database: Option<String>,
    /// Why the queue does not answer.
    pub(super) queue: Option<String>,
    /// The routes as this process sees them.
    pub(super) routes: Vec<RouteStatus>,
    /// Whether this process sends mails, and so knows how the relays are.
    pub(super) sends: bool,
    /// Whether it may send at this moment.
    pub(super) works: bool,
    /// Routes that operators drained.
    pub(super) drained: Vec<String>,
    /// What is paused.
    pub(super) pauses: Vec<PauseRecord>,
    /// Workers that were heard of; none when that is not known.
    pub(super) workers: Option<usize>,
    /// Mails on their way, where that is known.
    pub(super) waiting: Option<MailCount>,
    /// How long the oldest of them waits, if any does, where that is known.
    pub(super) oldest: Option<Option<Duration>>,
    /// Mails that a person has to decide about.
    pub(super) held: MailCount,
    /// Mails that were sent, and that failed, in the last hour.
    pub(super) last_hour: Option<(u64, u64)>,
    /// Why the newest mails failed, of those of the last hour; the most frequent first.
    pub(super) causes: Vec<Cause>,
    /// Requests that were refused in the last hour, the most frequent first.
    pub(super) refused: Vec<RefusedRequests>,
    /// Lanes of which mails are due for long.
    pub(super) behind: Vec<LaneBehind>,
    /// What the database was asked and did not answer.
    pub(super) unanswered: Vec<&'static str>,
}

impl Facts {
    /// Whether operators let mails go over the routes.
    pub(super) fn route_uses(&self) -> RouteUses {
        RouteUses::new(self.drained.clone(), &self.pauses)
    }
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
    pub(super) href: String,
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
    } else if !facts.unanswered.is_empty() {
        let what = facts.unanswered.join(", ");
        let text = format!("The database does not answer {what}: this page does not show everything.");
        bad.push(alarm(text, "/workers", "Workers"));
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
    warnings.extend(facts.causes.iter().filter(|cause| is_of_template(cause)).map(broken));
    warnings.extend(failures(facts));
    warnings.extend(refusals(facts));
    if for_all && bad.is_empty() {
        warnings.extend(
            facts.behind.iter().filter(|lane| !is_paused(facts, lane)).map(|lane| behind(lane, facts)),
        );
    }
    warnings.iter_mut().for_each(|alarm| alarm.urgency = Urgency::Warn);
    bad.append(&mut warnings);
    if bad.is_empty() {
        bad.push(all_is_well(facts));
    }
    bad
}

fn alarm(text: String, href: impl Into<String>, link: &'static str) -> Alarm {
    Alarm { urgency: Urgency::Bad, text, href: href.into(), link }
}

fn is_of_template(cause: &Cause) -> bool {
    cause.class == ReplyClass::MessageFault && cause.mails >= FEW_FAILED
}

/// A template of which mails fail.
fn broken(cause: &Cause) -> Alarm {
    let of = cause.merchant.as_ref().map(|merchant| format!(" of {merchant}")).unwrap_or_default();
    let template = cause.template.as_deref().unwrap_or("?");
    let mails = words::several(cause.mails as u64, "mail", "mails");
    let text = format!(
        "The template {template}{of} makes mails that fail: {mails} in the last hour; {}.",
        said(cause)
    );
    let merchant =
        cause.merchant.as_ref().map(|merchant| format!("merchant:{merchant} ")).unwrap_or_default();
    let query = encoded(&format!("{merchant}state:failed class:message_fault"));
    alarm(text, format!("/mails?q={query}"), "Its mails")
}

/// What the last reply of a cause said.
fn said(cause: &Cause) -> &str {
    let said = cause.reply.trim_end_matches(['.', ' ']);
    if said.is_empty() { "no reply" } else { said }
}

/// That many mails fail, and why the newest of them do.
fn failures(facts: &Facts) -> Option<Alarm> {
    let cause = facts.causes.iter().find(|cause| !is_of_template(cause));
    let many = match facts.last_hour {
        Some((sent, failed)) if failed >= MANY_FAILED && failed * 19 >= sent => {
            let (sent, failed) = (words::number(sent), words::number(failed));
            format!("{failed} mails failed in the last hour, {sent} were sent.")
        }
        Some(_) => return None,
        None => {
            let mails = cause.map(|cause| cause.mails as u64).filter(|mails| *mails >= MANY_FAILED)?;
            format!("{} of your newest mails failed alike.", words::number(mails))
        }
    };
    let why = cause.map(|cause| {
        let over = cause.route.as_ref().filter(|_| facts.last_hour.is_some());
        let over = over.map(|route| format!(" over {route}")).unwrap_or_default();
        format!(" Most of the newest{over}: {} ({}). {}", said(cause), cause.class, meaning_of(cause.class))
    });
    Some(alarm(format!("{many}{}", why.unwrap_or_default()), "/dead-letters", "Dead letters"))
}

/// Merchants whose requests are refused: what they ask for never becomes a mail.
fn refusals(facts: &Facts) -> Vec<Alarm> {
    let mut of_merchants: Vec<(&RefusedRequests, u64)> = Vec::new();
    for refused in &facts.refused {
        match of_merchants.iter_mut().find(|(most, _)| most.merchant == refused.merchant) {
            Some((_, all)) => *all += refused.number,
            None => of_merchants.push((refused, refused.number)),
        }
    }
    of_merchants.retain(|(_, all)| *all >= MANY_REFUSED);
    of_merchants.sort_by_key(|(_, all)| std::cmp::Reverse(*all));
    let told = of_merchants.into_iter().take(REFUSED_TOLD).map(|(most, all)| {
        let (merchant, all) = (&most.merchant, words::number(all));
        let text = format!(
            "{all} requests of {merchant} were refused in the last hour, most of them with {}.",
            most.what
        );
        alarm(text, format!("/merchants/{merchant}"), "Merchant")
    });
    told.collect()
}

/// Whether somebody chose that a lane is behind.
fn is_paused(facts: &Facts, behind: &LaneBehind) -> bool {
    facts.pauses.iter().any(|pause| matches!(pause.scope, PauseScope::Lane(lane) if lane == behind.lane))
}

fn behind(behind: &LaneBehind, facts: &Facts) -> Alarm {
    let due = words::length(behind.due_for);
    let waits_for = behind.waits_for.as_ref().map(|waits| format!(" {waits}.")).unwrap_or_default();
    let in_all =
        facts.waiting.map(words::counted_mails).map(|mails| format!(" On their way in all: {mails}."));
    let text = format!(
        "The lane {} is behind: its oldest mail is due for {due}.{}{waits_for}",
        behind.lane,
        in_all.unwrap_or_default()
    );
    alarm(text, "/queue", "Queue")
}

fn is_away(route: &RouteStatus) -> bool {
    route.stopped.is_some() || matches!(route.breaker, BreakerState::Open { .. })
}

fn routes(facts: &Facts, bad: &mut Vec<Alarm>, warnings: &mut Vec<Alarm>) {
    if facts.works && facts.routes.is_empty() {
        let text = format!("No route is configured: {}.", waits(facts));
        bad.push(alarm(text, "/routes", "Routes"));
    }
    let uses = facts.route_uses();
    let is_drained = |route: &&RouteStatus| uses.of(&route.name) == RouteUse::Drained;
    let known = facts.routes.iter().filter(|_| facts.sends);
    for route in known.filter(|route| !is_drained(route)) {
        let name = &route.name;
        if let Some(fault) = &route.stopped {
            let text = format!(
                "The relay of route {name} refuses us: {}, since {}; {}.{}",
                fault.text,
                words::time(fault.at),
                waits(facts),
                advice(fault)
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
    let is_used = |route: &RouteStatus| uses.of(&route.name) == RouteUse::InUse;
    if !facts.routes.is_empty() && !facts.routes.iter().any(is_used) {
        let are =
            if facts.routes.iter().all(|route| is_drained(&route)) { "drained" } else { "drained or paused" };
        bad.push(alarm(format!("Every route is {are}; {}.", waits(facts)), "/routes", "Routes"));
    } else {
        let drained = facts.drained.iter().map(|name| {
            alarm(format!("The route {name} is drained: nothing new goes over it."), "/routes", "Routes")
        });
        warnings.extend(drained);
    }
}

/// What one does about a relay that refuses us. Its own words are not told, for they may hold our credentials.
fn advice(fault: &RouteFault) -> &'static str {
    let is_about_signing_in =
        ["(530)", "(534)", "(535)", "(538)"].iter().any(|code| fault.text.ends_with(code));
    match fault.phase {
        _ if is_about_signing_in => " Check the user name and the password of the route.",
        Phase::Greeting => " It may block our address: look at blocklists, ask who runs it.",
        Phase::Tls => " Check the encryption and the certificates of the route.",
        _ => " The transcripts of the mails that it refused say more.",
    }
}

fn waits(facts: &Facts) -> String {
    let Some(waiting) = facts.waiting else { return "how many mails wait is not known".to_owned() };
    let mails = match (waiting.count, waiting.more) {
        (0, _) => return "no mail waits".to_owned(),
        (1, false) => "1 mail waits".to_owned(),
        _ => format!("{} mails wait", words::counted(waiting)),
    };
    match facts.oldest.flatten() {
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
    let oldest = match facts.oldest.flatten() {
        Some(oldest) if oldest > BEHIND => format!("{} (some are not due yet)", waits(facts)),
        Some(_) => waits(facts),
        None => "none waits".to_owned(),
    };
    let parts: Vec<_> = sent.into_iter().chain([oldest]).collect();
    let text = format!("All is well: {}.", parts.join("; "));
    Alarm { urgency: Urgency::Good, text, href: "/mails".to_owned(), link: "Mails" }
}

#[cfg(test)]
mod tests;
