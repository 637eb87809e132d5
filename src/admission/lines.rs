//! The lines in which mails wait, each for one thing.

use std::time::Duration;

use super::admission_route::AdmissionRoute;
use crate::{
    limits::{Ask, Scope},
    mail::{Lane, WaitReason},
    queue::{Lease, Line, parts},
};

/// Mails that wait for a quick rate are fetched several at a time, in intervals of about this. Well below the time in which
/// a rate's burst fills up, so that nothing of the rate is lost.
const TOGETHER: Duration = Duration::from_millis(20);
/// The line of mails that no route takes, and how long it is left alone unless it is woken.
pub(super) const WITHOUT_ROUTE: &str = "route";
const WITHOUT_ROUTE_AGAIN: Duration = Duration::from_secs(600);

/// The line of a domain that said that it gets too much: one goes, and what comes of it decides.
pub(super) fn line_of_domain(domain: &str, wait: Duration) -> Line {
    Line { name: format!("domain:{domain}"), reason: WaitReason::Rate, after: Some(wait), at_most: 2 }
}

/// The line of a sender's domain that a relay refused: one goes, and what comes of it decides.
pub(super) fn line_of_sender(domain: &str, wait: Duration) -> Line {
    Line { name: format!("sender:{domain}"), reason: WaitReason::RouteAway, after: Some(wait), at_most: 2 }
}

/// The line of mails that no route takes, or only this one that is drained. It is woken when that changes.
pub(super) fn line_without_a_route(route: Option<&AdmissionRoute>) -> Line {
    Line {
        name: route.map_or_else(|| WITHOUT_ROUTE.to_owned(), |route| route.scope.to_string()),
        reason: WaitReason::NoRoute,
        after: Some(WITHOUT_ROUTE_AGAIN),
        at_most: 1,
    }
}

/// The line of a rate. Of a quick one several mails may go at its time; one more is fetched, to learn when the next may.
pub(super) fn line_of_rate(scope: &Scope, ask: &Ask, wait: Duration) -> Line {
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

/// The order in which mails ask for their rates, by their places: that in which they were fetched, but among those of the
/// bulk lane first those that wait for several rates at once. Whoever waits for one alone leaves them nothing.
pub(super) fn order_of_asking(mails: &[Lease]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..mails.len()).collect();
    let is_bulk = |&mail: &usize| mails[mail].job.lane == Lane::Bulk;
    let mut bulk: Vec<usize> = order.iter().copied().filter(is_bulk).collect();
    bulk.sort_by_key(|&mail| std::cmp::Reverse(mails[mail].line().map_or(0, |line| parts(line).count())));
    let mut bulk = bulk.into_iter();
    order.iter_mut().filter(|mail| is_bulk(mail)).for_each(|place| *place = bulk.next().unwrap_or(*place));
    order
}
