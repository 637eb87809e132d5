//! The other half of "only the bell": rings for rows that are due, for rows nobody was woken for, and frees rows whose
//! worker died. It marks rows in the database, so any number of processes may run it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    mail::{DeliveryId, Lane, MailId},
    queue::{Bell, QueueStatus},
    store::StoreError,
    telemetry::METRICS,
};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(250);
/// A mail whose bell was rung rings again after this, unless a worker claims it.
const AGAIN: Duration = Duration::from_secs(60);
/// A full round: there is probably more.
const FULL_ROUND: usize = 1_000;
/// Between two looks for dead workers and at the queue's generation.
const LOOK: Duration = Duration::from_secs(1);
/// Between two sweeps for mails of workers that nobody knows to be dead; each reads all that is not settled.
const SWEEP: Duration = Duration::from_secs(60);
/// Jobs that may wait in a lane before no more are added to it: what is due stays in the database meanwhile.
const ENOUGH_WAITING: u64 = 20_000;

/// Rings until it is told to stop.
pub async fn ring(app: Arc<App>, stop: CancellationToken) {
    let mut look = Look::default();
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        if let Err(error) = look.around(&app).await {
            tracing::warn!(error = format!("{error:#}"), "the waker could not look around");
        }
        if let Err(error) = ring_due(&app).await {
            tracing::warn!(error = format!("{error:#}"), "the waker could not ring");
        }
    }
}

/// Rings for the mails, the callbacks and the batches that are due now; returns how many bells it rang.
///
/// # Errors
/// When the database or the queue is away; what was marked rings again within a minute.
pub async fn ring_due(app: &App) -> anyhow::Result<usize> {
    Ok(ring_due_mails(app).await? + ring_due_deliveries(app).await? + ring_due_batches(app).await?)
}

/// Each lane for itself, and one round of each at a time: neither a full lane nor a long one keeps another's retries
/// back.
async fn ring_due_mails(app: &App) -> anyhow::Result<usize> {
    let mut rung = 0;
    let mut lanes = vec![Lane::Transactional, Lane::Bulk];
    while !lanes.is_empty() {
        let status = app.queue.status().await?;
        lanes.retain(|&lane| has_room(&status, lane));
        let mut to_go_on = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let due = app.store.ring_due_mails(lane, AGAIN).await?;
            let count = due.len();
            let jobs: Vec<Bell> = due.into_iter().map(Bell::from).collect();
            if count > 0 {
                app.queue.enqueue(&jobs).await?;
                METRICS.rung.inc_by(count as u64);
                rung += count;
            }
            if count >= FULL_ROUND {
                to_go_on.push(lane);
            }
        }
        lanes = to_go_on;
    }
    Ok(rung)
}

/// One round at a time: callbacks have a lane of their own, so many waiting mails do not keep them back.
async fn ring_due_deliveries(app: &App) -> anyhow::Result<usize> {
    let due = match has_room(&app.queue.status().await?, Lane::Callback) {
        true => app.store.ring_due_deliveries(AGAIN).await?,
        false => Vec::new(),
    };
    let count = due.len();
    if count > 0 {
        app.queue.enqueue(&due.into_iter().map(Bell::from).collect::<Vec<_>>()).await?;
        METRICS.rung.inc_by(count as u64);
    }
    Ok(count)
}

/// Batches are few, and a full queue is theirs to notice.
async fn ring_due_batches(app: &App) -> anyhow::Result<usize> {
    let due = app.store.ring_due_batches(AGAIN).await?;
    let count = due.len();
    if count > 0 {
        app.queue.enqueue(&due.into_iter().map(Bell::from).collect::<Vec<_>>()).await?;
        METRICS.rung.inc_by(count as u64);
    }
    Ok(count)
}

fn has_room(status: &QueueStatus, lane: Lane) -> bool {
    status.lanes.iter().filter(|each| each.lane == lane).all(|each| each.waiting <= ENOUGH_WAITING)
}

/// What the waker remembers from one look to the next.
#[derive(Default)]
struct Look {
    around_at: Option<Instant>,
    swept_at: Option<Instant>,
    generation: Option<String>,
}

impl Look {
    /// Frees mails and callbacks of dead workers, and notices a queue that lost its bells.
    async fn around(&mut self, app: &Arc<App>) -> anyhow::Result<()> {
        if self.around_at.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        self.around_at = Some(Instant::now());
        let silence = app.config.worker.silence;
        let is_sweep_due = self.swept_at.is_none_or(|at| at.elapsed() >= SWEEP);
        if is_sweep_due || app.store.has_dead_workers(silence).await? {
            sweep(app, silence).await?;
            self.swept_at = Some(Instant::now());
        }
        let Ok(now) = app.queue.generation().await else { return Ok(()) };
        if self.generation.as_ref() != Some(&now) {
            let (mails, callbacks) = ring_all_again(app).await?;
            let is_first = self.generation.replace(now).is_none();
            tracing::info!(
                mails,
                callbacks,
                is_first,
                "the queue is new to this process, ringing for all that waits"
            );
        }
        Ok(())
    }
}

/// Takes mails and callbacks from dead workers and then forgets these; and those that this worker has and does not
/// work on.
async fn sweep(app: &Arc<App>, silence: Duration) -> anyhow::Result<()> {
    loop {
        let (own, of_mails, of_callbacks) = (app.worker.id, Arc::clone(app), Arc::clone(app));
        let is_at_work = move |mail: MailId| of_mails.worker.is_at_work_on(mail.0);
        let freed = app.store.take_lost_mails(silence, own, &app.config.retry, is_at_work).await?;
        let is_at_work = move |delivery: DeliveryId| of_callbacks.worker.is_at_work_on(delivery.0);
        let callbacks = app.store.take_lost_deliveries(silence, own, is_at_work).await?;
        if callbacks > 0 {
            tracing::warn!(callbacks, "nobody worked on these callbacks any more");
        }
        if freed.is_empty() {
            app.store.forget_dead_workers(silence).await?;
            return Ok(());
        }
        METRICS.taken_from_dead.inc_by(freed.len() as u64);
        tracing::warn!(mails = freed.len(), "nobody worked on these mails any more");
        let bells: Vec<Bell> = freed.into_iter().map(Bell::from).collect();
        app.queue.enqueue(&bells).await?;
    }
}

async fn ring_all_again(app: &App) -> Result<(u64, u64), StoreError> {
    app.store.ring_all_batches_again().await?;
    Ok((app.store.ring_all_again().await?, app.store.ring_all_deliveries_again().await?))
}

/// While this worker was not heard it postponed all that it was woken for; that need not wait for its next bells.
pub(crate) async fn ring_for_postponed(app: &App) {
    match ring_all_again(app).await {
        Ok((mails, callbacks)) => {
            tracing::info!(mails, callbacks, "this worker is heard again, ringing for all that waits")
        }
        Err(error) => tracing::warn!(%error, "this worker is heard again, but could not ring"),
    }
}
