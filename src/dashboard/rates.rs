//! How much of its rate a route used, over all processes: from the attempts that the charts are made of.

use std::time::Duration;

use crate::{limits::Rate, mail::Timestamp, store::ActivitySpan};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How much of its rate a route used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// Of the rate, in per cent; bursts and what is not counted yet may make it more or less.
    pub(super) percent: u64,
    /// In which span.
    pub(super) span: &'static str,
}

/// How much of this rate a route used: in the last minute that is whole, or the last hour or day where the rate is for so long.
/// `hour` is what happened in the last hour minute by minute, `day` in the last day.
pub(super) fn used(
    route: &str,
    rate: Rate,
    hour: &[ActivitySpan],
    day: &[ActivitySpan],
    now: Timestamp,
) -> Used {
    let whole = now.millis().div_euclid(60_000) * 60_000 - 60_000;
    let (allowed, unit) = rate.quota();
    let (spans, from, length, span) = match unit {
        unit if unit <= MINUTE => (hour, Some(Timestamp(whole)), MINUTE, "in the last minute"),
        unit if unit <= HOUR => (hour, None, HOUR, "in the last hour"),
        unit => (day, None, unit, "in the last day"),
    };
    let attempts = spans.iter().filter(|span| span.what == "attempt" && span.subject == route);
    let made: u64 =
        attempts.filter(|span| from.is_none_or(|from| span.from == from)).map(|span| span.number).sum();
    let allowed = f64::from(allowed) * length.as_secs_f64() / unit.as_secs_f64();
    Used { percent: (made as f64 / allowed.max(1.0) * 100.0).round() as u64, span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_used_what_it_tried_in_the_span_of_its_rate() {
        let span = |minute: i64, subject: &str, number: u64| ActivitySpan {
            from: Timestamp(minute * 60_000),
            what: "attempt".to_owned(),
            subject: subject.to_owned(),
            detail: "accepted".to_owned(),
            number,
        };
        let hour =
            [span(98, "main", 900), span(99, "main", 1_500), span(99, "spare", 7), span(100, "main", 5)];
        let now = Timestamp(100 * 60_000 + 30_000);
        let of = |rate: &str| used("main", rate.parse().unwrap(), &hour, &hour, now).percent;
        assert_eq!(of("50/s"), 50, "the last whole minute");
        assert_eq!(of("3000/m"), 50);
        assert_eq!(of("4810/h"), 50);
        assert_eq!(of("24050/d"), 10);
        assert_eq!(used("spare", "7/m".parse().unwrap(), &hour, &[], now).percent, 100);
        assert_eq!(used("idle", "1/s".parse().unwrap(), &[], &[], now).percent, 0);
    }
}
