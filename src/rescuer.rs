//! Takes rows from workers that died, or that do not work on them any more. It decides in the database, so any number of
//! processes may run it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    mail::{DeliveryId, MailId},
    queue::QueuedJob,
    scheduler::in_time,
    store::TakenMails,
    telemetry::{METRICS, Outage, chain},
};

/// Between two looks for dead workers.
const LOOK: Duration = Duration::from_secs(1);
/// Between two sweeps for mails of workers that nobody knows to be dead; each reads all that is not settled.
const SWEEP: Duration = Duration::from_secs(60);

/// Looks that fail come each second.
static FAILED: Outage = Outage::new();

/// Rescues rows until it is told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut swept_at = None;
    while !stop.is_cancelled() {
        match in_time(look(&app, &mut swept_at)).await {
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
        stop.run_until_cancelled(sleep(LOOK)).await;
    }
}

/// Rescues what dead workers had, and once in a while also what is lost without a dead worker.
async fn look(app: &Arc<App>, swept_at: &mut Option<Instant>) -> anyhow::Result<()> {
    let is_sweep_due = swept_at.is_none_or(|at| at.elapsed() >= SWEEP);
    if is_sweep_due || app.store.has_dead_workers(app.config.worker.silence).await? {
        sweep(app).await?;
        *swept_at = Some(Instant::now());
    }
    Ok(())
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
