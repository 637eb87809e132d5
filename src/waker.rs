//! The other half of "only the bell": rings for rows that are due, for rows nobody was woken for, and frees rows whose
//! worker died. It marks rows in the database, so any number of processes may run it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{app::App, clock, queue::Bell, telemetry::METRICS};

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
/// Bells that may wait before the waker stops adding to them: what is due stays in the database meanwhile.
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

/// Rings for what is due now; returns how many bells it rang.
///
/// # Errors
/// When the database or the queue is away; what was marked rings again within a minute.
pub async fn ring_due(app: &App) -> anyhow::Result<usize> {
    let mut rung = 0;
    loop {
        if is_full(app).await? {
            return Ok(rung);
        }
        let due = app.store.ring_due_mails(AGAIN).await?;
        let count = due.len();
        let bells: Vec<Bell> = due.into_iter().map(Bell::from).collect();
        if count > 0 {
            app.queue.enqueue(&bells).await?;
            METRICS.rung.inc_by(count as u64);
            rung += count;
        }
        if count < FULL_ROUND {
            return Ok(rung);
        }
    }
}

async fn is_full(app: &App) -> anyhow::Result<bool> {
    let status = app.queue.status().await?;
    Ok(status.lanes.iter().map(|lane| lane.waiting).sum::<u64>() > ENOUGH_WAITING)
}

/// What the waker remembers from one look to the next.
#[derive(Default)]
struct Look {
    around_at: Option<Instant>,
    swept_at: Option<Instant>,
    generation: Option<String>,
}

impl Look {
    /// Frees mails of dead workers, and notices a queue that lost its bells.
    async fn around(&mut self, app: &App) -> anyhow::Result<()> {
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
            let mails = app.store.ring_all_again().await?;
            let is_first = self.generation.replace(now).is_none();
            tracing::info!(mails, is_first, "the queue is new to this process, ringing for all that waits");
        }
        Ok(())
    }
}

/// Takes mails from dead workers and then forgets these; and mails that this worker has and does not work on.
async fn sweep(app: &App, silence: Duration) -> anyhow::Result<()> {
    loop {
        let (store, own) = (&app.store, &app.worker);
        let freed = store.take_lost_mails(silence, own.id, |mail| own.is_at_work_on(mail)).await?;
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

/// Keeps this worker's heartbeat going until it is told to stop.
pub async fn beat(app: Arc<App>, stop: CancellationToken) {
    let host =
        std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned()).unwrap_or_default();
    let pause = app.config.worker.silence / 6;
    loop {
        let at = clock::now();
        match app.store.beat(app.worker.id, &host, std::process::id()).await {
            Ok(()) if app.worker.is_heard() => app.worker.was_heard(at),
            Ok(()) => {
                app.worker.was_heard(at);
                ring_for_postponed(&app).await;
            }
            Err(error) => tracing::warn!(%error, "a heartbeat was not heard"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// While this worker was not heard it postponed every mail it was woken for; it need not wait for their next bells.
async fn ring_for_postponed(app: &App) {
    match app.store.ring_all_again().await {
        Ok(mails) => tracing::info!(mails, "this worker is heard again, ringing for all that waits"),
        Err(error) => tracing::warn!(%error, "this worker is heard again, but could not ring"),
    }
}
