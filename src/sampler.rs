//! Looks now and then at what only the database and the queue know, for the metrics: one task in each process, a handful
//! of bounded counts each time. Whoever asks for the metrics reads what was seen last.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    admission,
    app::App,
    clock,
    mail::{Lane, MailState},
    store::{LaneBacklog, StoreError},
    telemetry::{
        METRICS, chain,
        metrics::{DependencyLabels, LaneLabels, MailLabels, RouteNameLabels, StateLabels},
    },
};

/// Between two looks.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the database may take for each of its answers, and the queue for its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// States of mails that want a person: they are settled and stay until somebody acts.
const DEAD: [MailState; 2] = [MailState::Failed, MailState::Held];
/// States of what is not settled.
const UNSETTLED: [MailState; 3] = [MailState::Queued, MailState::Sending, MailState::Deferred];

/// Looks until it is told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let (mut attempts, mut warnings) = (Attempts::default(), ConfigWarnings::default());
    loop {
        look(&app).await;
        warnings.look(&app).await;
        attempts.look(&app);
        if stop.run_until_cancelled(sleep(SAMPLE_INTERVAL)).await.is_none() {
            return;
        }
    }
}

async fn look(app: &App) {
    let is_read = look_at_database(app).await;
    // One that only answers reads takes no requests.
    let is_written = in_time(app.store.check_writable()).await.is_ok();
    note_dependency("database", is_read && is_written);
    note_dependency("queue", matches!(timeout(ANSWER_TIMEOUT, app.queue.generation()).await, Ok(Ok(_))));
}

fn note_dependency(dependency: &'static str, is_up: bool) {
    METRICS.dependency_up.get_or_create(&DependencyLabels { dependency }).set(i64::from(is_up));
}

/// Returns whether the database answered. The store logs what it refuses elsewhere; here is nothing to add to the metric.
async fn look_at_database(app: &App) -> bool {
    let looked = async {
        note_backlog(&in_time(app.store.lane_backlogs()).await?);
        for state in DEAD {
            let count = in_time(app.store.dead_mails(state)).await?;
            METRICS.dead_letters.get_or_create(&StateLabels { state: state.as_str() }).set(gauge(count));
        }
        let live = in_time(app.store.live_workers(app.config.worker.silence)).await?;
        METRICS.live_workers.set(gauge(live));
        Ok::<_, StoreError>(())
    };
    match looked.await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(error = %chain(&error), "the backlog could not be counted");
            false
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(ANSWER_TIMEOUT, asked).await.unwrap_or(Err(StoreError::TimedOut))
}

fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

fn note_backlog(lanes: &[LaneBacklog]) {
    let now = clock::now();
    for backlog in lanes {
        let lane = backlog.lane.as_str();
        for state in UNSETTLED {
            let counted = backlog.rows.iter().find(|(counted, _)| *counted == state);
            let count = gauge(counted.map_or(0, |(_, count)| *count));
            let state = state.as_str();
            if backlog.lane == Lane::Callback {
                METRICS.callbacks_waiting.get_or_create(&StateLabels { state }).set(count);
            } else {
                METRICS.mails.get_or_create(&MailLabels { lane, state }).set(count);
            }
        }
        let age = backlog.oldest_due_at.map_or(0.0, |due_at| now.since(due_at).as_secs_f64());
        METRICS.oldest_due.get_or_create(&LaneLabels { lane }).set(age);
    }
}

/// What was wrong with how the queue's server is set up at the last look.
#[derive(Default)]
struct ConfigWarnings(Vec<String>);

impl ConfigWarnings {
    /// Says what is wrong, once; a server that is away says nothing about that.
    async fn look(&mut self, app: &App) {
        let Ok(Ok(warnings)) = timeout(ANSWER_TIMEOUT, app.queue.config_warnings()).await else { return };
        for warning in warnings.iter().filter(|warning| !self.0.contains(warning)) {
            tracing::warn!(worry = warning, "the queue's server is set up dangerously");
        }
        self.0 = warnings;
    }
}

/// How many attempts were made over each route until the last look.
#[derive(Default)]
struct Attempts {
    until: Option<Instant>,
    by_route: HashMap<String, u64>,
}

impl Attempts {
    /// Notes the share of its rate that each route used since the last look.
    fn look(&mut self, app: &App) {
        let now = Instant::now();
        let since = self.until.replace(now).map_or(SAMPLE_INTERVAL, |until| now.duration_since(until));
        // The configuration was checked: there are no faults.
        for (route, rate) in admission::rates_of(&app.current().smtp.routes).unwrap_or_default() {
            let made = METRICS.attempts_over(&route);
            let before = self.by_route.insert(route.clone(), made).unwrap_or(0);
            let used = rate.each().as_secs_f64() * made.saturating_sub(before) as f64 / since.as_secs_f64();
            METRICS.route_rate_used.get_or_create(&RouteNameLabels { route }).set(used);
        }
    }
}
