//! Enqueues what is due: retries, scheduled mails, callbacks, batches, bulk actions, and rows whose job the queue lost; and
//! expires mails that wait and whose time is over. It marks rows in the database, so any number of processes may run it.

mod made_due;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use made_due::make_postponed_due;

use made_due::{GenerationWatch, MadeDue};

use crate::{
    app::App,
    clock, jobs,
    mail::{Lane, MailLane, MailState, MerchantId, Timestamp},
    queue::{QueueStatus, QueuedJob, Whereabouts},
    store::{DueMail, ExpiredMail, StoreError},
    systemd::Watchdog,
    telemetry::{METRICS, Outage, chain},
};

/// Between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks for callbacks that this process recorded.
const CALLBACK_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// What was enqueued is due again after this, unless a worker claims it.
const REDUE_AFTER: Duration = Duration::from_secs(60);
/// A full round: there is probably more.
const FULL_ROUND: usize = 1_000;
/// The longest round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);
/// A mail that the queue has set aside is due again after this. If the queue loses it, all that waits is made due.
const SET_ASIDE_REDUE_AFTER: Duration = Duration::from_secs(3_600);

/// A look past those who crowd a lane rests so many times as long as it took.
const REST_FACTOR: u32 = 10;

/// Rounds that fail come four times a second.
static UNSEEN: Outage = Outage::new();
static UNENQUEUED: Outage = Outage::new();

/// Enqueues what is due until it is told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let (mut watch, mut look, mut lost) =
        (GenerationWatch::default(), LookPast::default(), MadeDue::default());
    let watchdog = Watchdog::from_env();
    while stop.run_until_cancelled(tokio::time::sleep(ROUND_INTERVAL)).await.is_some() {
        // A database that is away is no reason to be restarted: this loop goes on.
        watchdog.feed();
        // A database that vanished without a word must not hold up all later rounds.
        let looked = stop.run_until_cancelled(in_time(watch.look(&app))).await;
        if let Some(Err(error)) = looked
            && let Some(times) = UNSEEN.failed()
        {
            tracing::warn!(
                error = %chain(&*error),
                times,
                "the scheduler could not make due what a new queue does not know"
            );
        }
        jobs::enqueue_callbacks_with_room(&app);
        match in_time(enqueue_all_due(&app, &mut look)).await {
            Ok(_) => {
                METRICS.scheduled.note();
                enqueue_what_a_failed_round_marked(&app, &mut lost).await;
            }
            Err(error) => {
                lost = MadeDue::default();
                app.has_lost_marks.store(true, Ordering::Relaxed);
                if let Some(times) = UNENQUEUED.failed() {
                    tracing::warn!(
                        error = %chain(&*error),
                        times,
                        "the scheduler could not enqueue what is due"
                    );
                }
            }
        }
    }
}

/// A round that failed may have marked rows all the same, whose jobs the queue does not have. They are made due, now that
/// database and queue answer again, so that they need not wait for the next time that they are.
async fn enqueue_what_a_failed_round_marked(app: &App, lost: &mut MadeDue) {
    if !app.has_lost_marks.load(Ordering::Relaxed) {
        return;
    }
    match in_time(lost.make_the_rest(app)).await {
        Ok(()) => {
            app.has_lost_marks.store(false, Ordering::Relaxed);
            let MadeDue { mails, callbacks, .. } = std::mem::take(lost);
            tracing::info!(
                mails,
                callbacks,
                "rounds that failed may have marked rows, all that waits is due"
            );
        }
        Err(error) => tracing::warn!(
            error = %chain(&*error),
            "the scheduler could not make due what failed rounds may have marked, trying again"
        ),
    }
}

/// Enqueues callbacks as soon as this process has recorded some, until it is told to stop. What it misses, because the
/// database or the queue is away, the rounds of [`run`] find.
pub async fn run_for_callbacks(app: Arc<App>, stop: CancellationToken) {
    let mut look = LookPast::default();
    while stop.run_until_cancelled(app.callbacks_recorded.notified()).await.is_some() {
        let enqueued = stop.run_until_cancelled(in_time(enqueue_due_callbacks(&app, &mut look))).await;
        if let Some(Err(error)) = enqueued {
            app.has_lost_marks.store(true, Ordering::Relaxed);
            tracing::debug!(error = %chain(&*error), "callbacks wait for the scheduler's next round");
        }
        // Those who settle mails meanwhile share the next look.
        stop.run_until_cancelled(tokio::time::sleep(CALLBACK_POLL_INTERVAL)).await;
    }
}

async fn enqueue_due_callbacks(app: &App, look: &mut LookPast) -> anyhow::Result<usize> {
    enqueue_callbacks(app, &app.queue.status().await?, look).await
}

async fn enqueue_callbacks(app: &App, status: &QueueStatus, look: &mut LookPast) -> anyhow::Result<usize> {
    let mark = async |but_of: &[MerchantId]| app.store.mark_due_deliveries(REDUE_AFTER, but_of).await;
    enqueue(app, look.mark(app, status, Lane::Callback, mark).await?).await
}

/// A round that takes too long is given up.
pub(crate) async fn in_time<T, E: Into<anyhow::Error>>(
    round: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    tokio::time::timeout(ROUND_TIMEOUT, round).await.context("the round took too long")?.map_err(Into::into)
}

/// Enqueues a job for each mail, callback, batch and bulk action that is due now; returns how many.
///
/// # Errors
/// When the database or the queue is away. What was marked meanwhile is due again within a minute, or when [`run`] makes it.
pub async fn enqueue_due(app: &App) -> anyhow::Result<usize> {
    enqueue_all_due(app, &mut LookPast::default()).await
}

async fn enqueue_all_due(app: &App, look: &mut LookPast) -> anyhow::Result<usize> {
    let (mut enqueued, mut failed) = (0, None);
    loop {
        let round = enqueue_round(app, look).await?;
        enqueued += round.enqueued;
        failed = failed.or(round.failed);
        if !round.is_full {
            return failed.map_or(Ok(enqueued), Err);
        }
    }
}

/// What a round enqueued.
#[derive(Default)]
struct Round {
    enqueued: usize,
    /// There is probably more.
    is_full: bool,
    /// Why a part of it was not enqueued.
    failed: Option<anyhow::Error>,
}

impl Round {
    /// How many rows a part of the round found. What fails for one table, such as because it is locked, keeps no other back; while
    /// the database or the queue is away the round ends.
    fn found(&mut self, part: anyhow::Result<usize>) -> anyhow::Result<usize> {
        let is_about_a_table = |error: &StoreError| !error.is_about_the_database();
        match part {
            Err(error) if error.downcast_ref().is_some_and(is_about_a_table) => {
                self.failed.get_or_insert(error);
                Ok(0)
            }
            part => part,
        }
    }
}

/// One round of each lane, mails first: neither a full lane nor a long one keeps another's back, nor does a table that is locked.
async fn enqueue_round(app: &App, look: &mut LookPast) -> anyhow::Result<Round> {
    let (due, looked) = app.store.due_lanes().await;
    let mut round = Round::default();
    round.found(looked.map(|()| 0).map_err(Into::into))?;
    if due.has_expired() {
        round.is_full |= round.found(expire(app).await)? >= FULL_ROUND;
    }
    if due.is_empty() {
        return Ok(round);
    }
    let status = app.queue.status().await?;
    for lane in due.of_mails() {
        let count = round.found(enqueue_mails_of(app, lane, &status, look).await)?;
        round.enqueued += count;
        round.is_full |= count >= FULL_ROUND;
    }
    if due.has(Lane::Callback) {
        round.enqueued += round.found(enqueue_callbacks(app, &status, look).await)?;
    }
    if due.has(Lane::Batch) {
        // Batches and bulk actions are few: a fan-out itself stops when the queue is full.
        let batches = async { enqueue(app, app.store.mark_due_batches(REDUE_AFTER).await?).await };
        round.enqueued += round.found(batches.await)?;
        let actions = async { enqueue(app, app.store.mark_due_actions(REDUE_AFTER).await?).await };
        round.enqueued += round.found(actions.await)?;
    }
    Ok(round)
}

async fn enqueue_mails_of(
    app: &App,
    lane: MailLane,
    status: &QueueStatus,
    look: &mut LookPast,
) -> anyhow::Result<usize> {
    let mark = async |but_of: &[MerchantId]| app.store.mark_due_mails(lane, REDUE_AFTER, but_of).await;
    enqueue_mails(app, look.mark(app, status, lane.into(), mark).await?).await
}

/// Looks past the merchants who crowd a full lane for what is due of the others. Such a look reads all that is due of those who
/// are passed over, so it has its rests.
#[derive(Default)]
struct LookPast {
    /// For each lane.
    again_at: [Option<Instant>; Lane::ALL.len()],
}

impl LookPast {
    /// Marks rows that are due in a lane, as many as there is room for: of all merchants, or where the lane is full of those
    /// who have their share of it to come.
    async fn mark<D>(
        &mut self,
        app: &App,
        status: &QueueStatus,
        lane: Lane,
        mark: impl AsyncFnOnce(&[MerchantId]) -> Result<Vec<D>, StoreError>,
    ) -> anyhow::Result<Vec<D>> {
        if status.has_room(lane) {
            return Ok(mark(&[]).await?);
        }
        let began = Instant::now();
        if self.again_at[lane as usize].is_some_and(|at| began < at) {
            return Ok(Vec::new());
        }
        let crowding = app.queue.crowding(lane).await?;
        if crowding.is_empty() {
            return Ok(Vec::new());
        }
        let marked = mark(&crowding).await;
        self.again_at[lane as usize] = Some(Instant::now() + began.elapsed() * REST_FACTOR);
        Ok(marked?)
    }
}

/// Expires mails before anything is enqueued for them.
async fn expire(app: &App) -> anyhow::Result<usize> {
    Ok(note_expired(&app.store.expire_mails().await?))
}

fn note_expired(expired: &[ExpiredMail]) -> usize {
    for mail in expired {
        METRICS.count_settled(mail.lane, MailState::Expired, mail.is_test, 1);
    }
    expired.len()
}

/// Whether a mail that was tried has become too old for another attempt by then.
fn is_too_old(app: &App, mail: &DueMail, then: Timestamp) -> bool {
    mail.tried_since.is_some_and(|since| then.since(since) > app.config.retry.max_age)
}

/// Gives up mails that were tried, are too old and wait for nothing but relays, and returns the others.
async fn give_up_old(app: &App, due: Vec<DueMail>) -> anyhow::Result<Vec<DueMail>> {
    let now = clock::now();
    let (old, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|mail| {
        is_too_old(app, mail, now)
            && !mail.is_test
            && app.admission.waits_for_relays(&QueuedJob::from(mail.clone()))
    });
    if !old.is_empty() {
        let mails = note_expired(&app.store.give_up_mails(&old).await?);
        tracing::info!(mails, "too old for another attempt, and no relay could be tried: expired");
    }
    Ok(due)
}

async fn enqueue_mails(app: &App, due: Vec<DueMail>) -> anyhow::Result<usize> {
    let number = due.len();
    let due = give_up_old(app, due).await?;
    enqueue_others(app, due).await?;
    Ok(number)
}

async fn enqueue_others(app: &App, due: Vec<DueMail>) -> anyhow::Result<()> {
    let jobs: Vec<QueuedJob> = due.iter().cloned().map(Into::into).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let (count, new) = (jobs.len(), app.queue.enqueue(&jobs).await?);
    METRICS.enqueued_by_scheduler.inc_by(count as u64);
    if new < count {
        postpone_set_aside(app, due, jobs).await?;
    }
    Ok(())
}

/// Leaves mails alone that the queue has set aside: a hundred thousand that wait for a rate would else be written each
/// minute. Not those that become too old meanwhile.
async fn postpone_set_aside(app: &App, due: Vec<DueMail>, jobs: Vec<QueuedJob>) -> anyhow::Result<()> {
    let ids: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
    let places = app.queue.where_are(&ids).await?;
    let now = clock::now();
    let stays =
        |mail: &DueMail| is_too_old(app, mail, now) || !is_too_old(app, mail, now + SET_ASIDE_REDUE_AFTER);
    let is_aside =
        |(mail, place): &(DueMail, Whereabouts)| matches!(place, Whereabouts::InLine { .. }) && stays(mail);
    let aside = due.into_iter().zip(places).filter(is_aside).map(|(mail, _)| mail);
    app.store.postpone_mails(&aside.collect::<Vec<_>>(), SET_ASIDE_REDUE_AFTER).await?;
    Ok(())
}

async fn enqueue<D: Into<QueuedJob>>(app: &App, due: Vec<D>) -> anyhow::Result<usize> {
    let jobs: Vec<QueuedJob> = due.into_iter().map(Into::into).collect();
    if !jobs.is_empty() {
        app.queue.enqueue(&jobs).await?;
        METRICS.enqueued_by_scheduler.inc_by(jobs.len() as u64);
    }
    Ok(jobs.len())
}
