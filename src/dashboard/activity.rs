//! What the charts are made of: every ten seconds each process adds what its counters gained to a small table.

use std::{sync::Arc, time::Duration};

use crate::{
    app::App,
    mail::{AttemptOutcome, MailLane, MailState, ReplyClass},
    store::Activity,
    telemetry::{
        METRICS, chain,
        metrics::{LaneLabels, MailLabels, RouteLabels},
    },
};

/// Between two additions.
const INTERVAL: Duration = Duration::from_secs(10);

/// Adds what this process does to the activity that the dashboard shows. What cannot be written is added later. Runs until it
/// is dropped.
pub async fn keep_activity(app: Arc<App>) {
    let mut before = counted(&app);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (now, refusals) = (counted(&app), app.refusals.take());
        let mut gained = gained(&before, &now);
        gained.extend(refusals.iter().map(|(kind, number)| Activity {
            what: "refused",
            subject: kind.merchant.to_string(),
            detail: kind.what.clone(),
            number: *number,
        }));
        if gained.is_empty() {
            continue;
        }
        match app.store.add_activity(&gained).await {
            Ok(()) => before = now,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the activity could not be kept, trying again");
                refusals.into_iter().for_each(|(kind, number)| app.refusals.note(kind, number));
            }
        }
    }
}

/// What was counted since this process began; nothing that is not there yet is made.
fn counted(app: &App) -> Vec<Activity> {
    let mut all = Vec::new();
    for lane in MailLane::ALL.iter().map(|lane| lane.as_str()) {
        let recorded = METRICS.recorded.get(&LaneLabels { lane }).map(|counter| counter.get());
        push(&mut all, "recorded", lane, "", recorded);
        for state in MailState::ALL.iter().map(|state| state.as_str()) {
            let settled = METRICS.settled.get(&MailLabels { lane, state }).map(|counter| counter.get());
            push(&mut all, "settled", lane, state, settled);
        }
    }
    for route in app.routes.all().iter().map(|route| route.name()) {
        for class in ReplyClass::ALL.iter().map(|class| class.as_str()) {
            let of = |outcome: &AttemptOutcome| {
                let labels = RouteLabels { route: route.to_owned(), outcome: outcome.as_str(), class };
                METRICS.attempts.get(&labels).map_or(0, |counter| counter.get())
            };
            let attempts = AttemptOutcome::ALL.iter().map(of).sum();
            push(&mut all, "attempt", route, class, Some(attempts));
        }
    }
    all
}

fn push(all: &mut Vec<Activity>, what: &'static str, subject: &str, detail: &str, number: Option<u64>) {
    let (subject, detail) = (subject.to_owned(), detail.to_owned());
    if let Some(number) = number.filter(|number| *number > 0) {
        all.push(Activity { what, subject, detail, number });
    }
}

fn gained(before: &[Activity], now: &[Activity]) -> Vec<Activity> {
    let is_same =
        |a: &Activity, b: &Activity| (a.what, &a.subject, &a.detail) == (b.what, &b.subject, &b.detail);
    let gains = now.iter().filter_map(|now| {
        let had = before.iter().find(|before| is_same(before, now)).map_or(0, |before| before.number);
        (now.number > had).then(|| Activity { number: now.number - had, ..now.clone() })
    });
    gains.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_gained_is_added() {
        let counts = |counts: &[(&str, u64)]| {
            let mut all = Vec::new();
            counts.iter().for_each(|(state, number)| {
                push(&mut all, "settled", "bulk", state, Some(*number));
            });
            all
        };
        let gained = gained(
            &counts(&[("sent", 5), ("failed", 2)]),
            &counts(&[("sent", 8), ("failed", 2), ("held", 1)]),
        );
        assert_eq!(gained, counts(&[("sent", 3), ("held", 1)]));
    }
}
