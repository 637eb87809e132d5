//! Takes rows from workers that died, or that do not work on them any more. It decides in the database, so any number of
//! processes may run it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    mail::{DeliveryId, MailId, Timestamp, WorkerId},
    queue::QueuedJob,
    scheduler::in_time,
    store::TakenMails,
    telemetry::{METRICS, Outage, chain},
};

/// Between two looks for dead workers.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two sweeps for mails of workers that nobody knows to be dead; each reads all that is not settled.
const SWEEP: Duration = Duration::from_secs(60);

/// Looks that fail come each second.
static FAILED: Outage = Outage::new();

/// Rescues rows until it is told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let (mut swept_at, mut ahead) = (None, Ahead::default());
    while !stop.is_cancelled() {
        match in_time(look(&app, &mut swept_at, &mut ahead)).await {
            Ok(()) => METRICS.rescued.note(),
            Err(error) => {
                if let Some(times) = FAILED.failed() {
                    tracing::warn!(
                        error = %chain(&*error),
                        times,
                        "the rescuer could not look for dead workers"
                    );
                }
            }
        }
        stop.run_until_cancelled(sleep(POLL_INTERVAL)).await;
    }
}

/// Rescues what dead workers had, and once in a while also what is lost without a dead worker.
async fn look(app: &Arc<App>, swept_at: &mut Option<Instant>, ahead: &mut Ahead) -> anyhow::Result<()> {
    let silence = app.config.worker.silence;
    let odd = app.store.odd_heartbeats(silence).await?;
    let mut are_dead = odd.are_silent;
    for (worker, heartbeat) in ahead.silent(odd.ahead, silence, Instant::now()) {
        if app.store.give_up_worker(worker, heartbeat).await? {
            tracing::warn!(%worker, "a worker whose clock was ahead is not heard any more");
            are_dead = true;
        }
    }
    if are_dead || swept_at.is_none_or(|at| at.elapsed() >= SWEEP) {
        sweep(app).await?;
        *swept_at = Some(Instant::now());
    }
    Ok(())
}

/// The heartbeats from the future, and since when this process sees them. A worker whose clock is ahead lives as long as they
/// change.
#[derive(Default)]
struct Ahead(HashMap<WorkerId, (Timestamp, Instant)>);

impl Ahead {
    /// Notes those that are there now, and returns those that have not changed for `silence`.
    fn silent(
        &mut self,
        heartbeats: Vec<(WorkerId, Timestamp)>,
        silence: Duration,
        now: Instant,
    ) -> Vec<(WorkerId, Timestamp)> {
        let (before, mut silent) = (std::mem::take(&mut self.0), Vec::new());
        for (worker, heartbeat) in heartbeats {
            let same = before.get(&worker).filter(|(before, _)| *before == heartbeat);
            let since = same.map_or(now, |(_, since)| *since);
            self.0.insert(worker, (heartbeat, since));
            if now.duration_since(since) >= silence {
                silent.push((worker, heartbeat));
            }
        }
        silent
    }
}

/// Takes mails and callbacks from dead workers and then forgets these; and those that this worker has and does not
/// work on.
async fn sweep(app: &Arc<App>) -> anyhow::Result<()> {
    let silence = app.config.worker.silence;
    loop {
        let (own, of_mails, of_callbacks) = (app.worker.id, Arc::clone(app), Arc::clone(app));
        let is_at_work = move |mail: MailId| of_mails.worker.is_at_work_on(mail.0);
        let TakenMails { due, held } =
            app.store.take_lost_mails(silence, own, &app.config.retry, is_at_work).await?;
        let is_at_work = move |delivery: DeliveryId| of_callbacks.worker.is_at_work_on(delivery.0);
        let callbacks = app.store.take_lost_deliveries(silence, own, is_at_work).await?;
        if callbacks > 0 {
            tracing::warn!(callbacks, "nobody worked on these callbacks any more");
        }
        let mails = due.len() + held;
        if mails == 0 {
            app.store.forget_dead_workers(silence).await?;
            return Ok(());
        }
        METRICS.taken_from_dead.inc_by(mails as u64);
        tracing::warn!(mails, held, "nobody worked on these mails any more");
        let jobs: Vec<QueuedJob> = due.into_iter().map(QueuedJob::from).collect();
        app.queue.enqueue(&jobs).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_whose_clock_is_ahead_lives_as_long_as_its_heartbeats_change() {
        let (silence, begin) = (Duration::from_secs(15), Instant::now());
        let (mut ahead, alive, dead) = (Ahead::default(), WorkerId::new(), WorkerId::new());
        let beat = |second: i64| Timestamp(1_000 * second);
        for second in 0..15 {
            let heartbeats = vec![(alive, beat(3_600 + second)), (dead, beat(3_600))];
            let now = begin + Duration::from_secs(second.unsigned_abs());
            assert_eq!(ahead.silent(heartbeats, silence, now), [], "{second}");
        }
        let now = begin + silence;
        let heartbeats = vec![(alive, beat(3_615)), (dead, beat(3_600))];
        assert_eq!(ahead.silent(heartbeats, silence, now), [(dead, beat(3_600))]);
        // One whose heartbeat is not ahead any more is judged as all others are.
        assert_eq!(ahead.silent(Vec::new(), silence, now), []);
        assert_eq!(ahead.silent(vec![(dead, beat(3_600))], silence, now), []);
    }
}
