//! What there is to know at a glance, asked for all at once. A part that does not answer in time is left out, and said.

use std::{error::Error, time::Duration};

use tokio::time::timeout;

use super::{
    alarms::Facts,
    causes::{causes, lanes_behind},
    state::DashboardState,
};
use crate::{
    clock,
    mail::{Lane, MailLane, MailState, MerchantId, PauseScope, search::MailCount},
    queue::{LaneStatus, QueueStatus},
    store::{ActivitySpan, PauseRecord, WorkerRecord},
    telemetry::chain,
};

/// How long each part may take.
const PART_TIMEOUT: Duration = Duration::from_secs(2);
/// How many of the newest mails that failed are looked at.
const NEWEST_FAILED: u32 = 200;
/// How many kinds of refused requests are looked at.
const KINDS_REFUSED: u32 = 50;
/// The charts' spans.
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The minutes of one bar of the day.
const QUARTER: i64 = 15;

/// All of it.
pub(super) struct StatusSnapshot {
    pub(super) facts: Facts,
    pub(super) lanes: Vec<LaneSnapshot>,
    pub(super) queue: Option<QueueStatus>,
    pub(super) workers: Vec<WorkerRecord>,
    pub(super) failed: Option<MailCount>,
    /// Minute by minute; none for an operator of one merchant, for it is about all of them.
    pub(super) hour: Vec<ActivitySpan>,
    /// Quarter by quarter.
    pub(super) day: Vec<ActivitySpan>,
}

/// A lane: what waits in the database and in the queue.
pub(super) struct LaneSnapshot {
    pub(super) lane: Lane,
    pub(super) mails: Option<MailCount>,
    pub(super) queued: Option<LaneStatus>,
    pub(super) pause: Option<PauseRecord>,
}

/// An answer, or why there is none.
async fn within<T, E: Error + 'static>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(PART_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(chain(&error).to_string()),
        Err(_) => Err(format!("it does not answer within {} s", PART_TIMEOUT.as_secs())),
    }
}

impl StatusSnapshot {
    pub(super) async fn of(board: &DashboardState, merchant: Option<&MerchantId>) -> Self {
        let (app, store, now) = (&board.app, &board.app.store, clock::now());
        let for_all = merchant.is_none();
        let waiting = async {
            match merchant {
                Some(merchant) => within(store.waiting_of(merchant)).await.map(|count| vec![(None, count)]),
                None => {
                    let lane = |lane: MailLane| async move {
                        within(store.waiting_in_lane(lane)).await.map(|count| (Some(lane), count))
                    };
                    let lanes = MailLane::ALL.iter().map(|each| lane(*each));
                    futures_util::future::try_join_all(lanes).await
                }
            }
        };
        let activity = |since: Duration, minutes: i64| async move {
            if for_all { within(store.activity(now - since, minutes)).await } else { Ok(Vec::new()) }
        };
        let (
            database,
            queue,
            pauses,
            drained,
            workers,
            waiting,
            oldest,
            held,
            failed,
            newest_failed,
            refused,
            hour,
            day,
        ) = tokio::join!(
            within(store.check_writable()),
            within(app.queue.status()),
            within(store.pauses()),
            within(store.drained_routes()),
            within(store.workers()),
            waiting,
            within(store.oldest_waiting(merchant)),
            within(store.failing(merchant, MailState::Held)),
            within(store.failing(merchant, MailState::Failed)),
            within(store.newest_failed(merchant, NEWEST_FAILED)),
            within(store.refused_requests(merchant, now - HOUR, KINDS_REFUSED)),
            activity(HOUR, 1),
            activity(DAY, QUARTER),
        );
        let unanswered = [
            ("how many mails wait", waiting.is_err()),
            ("how long the oldest waits", oldest.is_err()),
            ("which mails are held", held.is_err()),
            ("why mails failed", failed.is_err() || newest_failed.is_err()),
            ("what was sent", hour.is_err()),
            ("what is paused", pauses.is_err() || drained.is_err()),
            ("which workers live", workers.is_err()),
        ];
        let unanswered = unanswered.into_iter().filter(|(_, is_unanswered)| *is_unanswered);
        let last_hour = hour
            .as_ref()
            .ok()
            .filter(|_| for_all)
            .map(|hour| (settled(hour, MailState::Sent), settled(hour, MailState::Failed)));
        let live = |worker: &&WorkerRecord| now.since(worker.heartbeat_at) < app.config.worker.silence;
        let in_all = waiting.as_ref().ok().map(|lanes| sum(lanes.iter().map(|(_, count)| *count)));
        let waiting = waiting.unwrap_or_default();
        let pauses = pauses.unwrap_or_default();
        let facts = Facts {
            database: database.err(),
            queue: queue.as_ref().err().cloned(),
            routes: app.routes.status(),
            sends: app.worker.sends(),
            works: app.worker.may_begin(),
            drained: drained.unwrap_or_default(),
            workers: workers.as_ref().ok().map(|workers| workers.iter().filter(live).count()),
            waiting: in_all,
            oldest: oldest.ok().map(|oldest| oldest.map(|oldest| now.since(oldest))),
            held: held.unwrap_or_default(),
            last_hour,
            causes: causes(&newest_failed.unwrap_or_default(), now - HOUR),
            refused: refused.unwrap_or_default(),
            behind: lanes_behind(queue.as_ref().ok()),
            pauses: pauses.clone(),
            unanswered: unanswered.map(|(what, _)| what).collect(),
        };
        let lanes = Lane::ALL.iter().map(|&lane| LaneSnapshot {
            lane,
            mails: waiting.iter().find(|(own, _)| own.map(Lane::from) == Some(lane)).map(|(_, count)| *count),
            queued: queue
                .as_ref()
                .ok()
                .and_then(|queue| queue.lanes.iter().find(|status| status.lane == lane).cloned()),
            pause: pauses.iter().find(|pause| is_of_lane(pause, lane)).cloned(),
        });
        Self {
            lanes: lanes.collect(),
            facts,
            queue: queue.ok(),
            workers: workers.unwrap_or_default(),
            failed: failed.ok(),
            hour: hour.unwrap_or_default(),
            day: day.unwrap_or_default(),
        }
    }
}

fn is_of_lane(pause: &PauseRecord, lane: Lane) -> bool {
    matches!(pause.scope, PauseScope::Lane(paused) if paused == lane)
}

fn sum(counts: impl Iterator<Item = MailCount>) -> MailCount {
    counts.fold(MailCount::default(), |all, each| MailCount {
        count: all.count + each.count,
        more: all.more || each.more,
    })
}

/// How many mails came to a state.
fn settled(spans: &[ActivitySpan], state: MailState) -> u64 {
    let of_state = spans.iter().filter(|span| span.what == "settled" && span.detail == state.as_str());
    of_state.map(|span| span.number).sum()
}
