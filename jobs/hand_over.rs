//! Hands a fresh mail to this process's own worker: it is recorded as claimed, and no queue hears of it.
//!
//! A process with all roles does so with a mail that it can send this moment. The way of such a mail:
//!
//! 1. **Ready.** Before it is recorded it gets all that a queued mail gets before it is claimed ([`ReadyMail::of`]): a place of
//!    the worker, which is to be had only while no single mail waits in the queue; a permit of [`admission`](crate::admission); a
//!    connection that is open already, or will be free within milliseconds; and the note that this worker is at work on it.
//! 2. **Claimed with its record**, in one transaction with it: worker, time of the claim and attempt 1, as a claim writes them.
//! 3. **Handed over**, after the commit and if this worker may still begin, to the pool that runs the jobs of the queue.
//! 4. From there on it is a claimed mail like any other: [`carry_out`] renders it, offers it and settles it.
//!
//! A mail that cannot be made ready is recorded as ever, and its request enqueues it. Nothing is lost in between: a
//! [`ReadyMail`] that is dropped gives back its place, its permit and its connection, and, where the mail may be recorded, its
//! claim (see [`AtWork`]). It does not matter whether the record failed, the request was given up, or the process stops.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    ended,
    job::job_id,
    mail_job,
    send_mail::{RelayConnection, SendMail, carry_out},
};
use crate::{
    admission::AtOnce,
    app::App,
    mail::{ClaimFacts, Mail, MailLane},
    queue::ReservedPlace,
    store::{Recorded, Recording, StoreError},
    telemetry::METRICS,
    worker::AtWork,
};

/// A mail waits for so long for what other mails in progress will give back. So shops are answered as fast as mails
/// leave, and mails that leave at once need no queue. Not for longer: a relay may take its time.
const READY_WAIT: Duration = Duration::from_millis(20);

/// Records what a request asked for. A mail that may be sent at once is handed over; then nobody need enqueue it:
/// [`Recorded::Claimed`].
///
/// # Errors
/// Those of a write: see [`StoreError`].
pub async fn record(app: &Arc<App>, mut recording: Recording) -> Result<Recorded, StoreError> {
    let ready = timeout(READY_WAIT, ReadyMail::of(app, &recording)).await.ok().flatten();
    recording.claimed_by = ready.as_ref().map(|_| app.worker.id);
    let mut recorded = app.store.record(recording).await;
    if let Some(ready) = ready {
        match &mut recorded {
            Ok(Recorded::Claimed(claim_facts)) => ready.hand_over(app, std::mem::take(claim_facts)),
            // It may be claimed: it is given back as a claim is whose answer nobody waited for.
            Err(StoreError::OutcomeUnknown { .. }) => drop(ready),
            Ok(_) | Err(_) => ready.leave_unclaimed(),
        }
    }
    recorded
}

/// The same for a mail that fails where the queue does not take it: it is handed over only while the queue answers.
///
/// # Errors
/// Those of a write: see [`StoreError`].
pub async fn record_while_queue_answers(
    app: &Arc<App>,
    recording: Recording,
) -> Result<Recorded, StoreError> {
    if app.hand_over.is_open() && app.queue_answers(READY_WAIT).await {
        record(app, recording).await
    } else {
        app.store.record(recording).await
    }
}

/// A mail that lacks nothing but its record.
struct ReadyMail {
    // The order matters: whoever waits for the place to be used waits for the claim to be given back too.
    mail: Mail,
    connection: Kept,
    at_work: AtWork,
    place: ReservedPlace,
}

/// A connection to a relay, left to another mail unless it is taken.
struct Kept(Option<RelayConnection>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(RelayConnection::leave);
    }
}

impl ReadyMail {
    /// Makes the mail of a request ready, as soon as a place and a connection are free; `None` when it has several mails or none,
    /// the mail needs something else or waits for a time, or it lacks another of the things that it needs to be sent now.
    async fn of(app: &App, recording: &Recording) -> Option<Self> {
        let [new] = &recording.mails[..] else { return None };
        let needs_more = new.is_test || new.is_scheduled();
        if new.lane != MailLane::Transactional || needs_more {
            return None;
        }
        let place = app.hand_over.reserve().await?;
        let connection = match app.admission.admit_at_once(mail_job::send_mail_job(new)).await? {
            AtOnce::Now(offer) => RelayConnection::Now(offer),
            AtOnce::Ahead(permit) => RelayConnection::Ahead(permit),
        };
        let connection = Kept(Some(connection));
        let at_work = app.worker.begin(new.id.0, new.lane)?;
        at_work.note_claim_asked();
        // Only now: it is copied with all its values.
        Some(Self { mail: new.as_claimed(), connection, at_work, place })
    }

    /// Hands it to the worker, or gives its claim back where this worker may not send any more.
    fn hand_over(self, app: &Arc<App>, claim_facts: ClaimFacts) {
        self.at_work.note_claimed();
        if !app.worker.may_begin() {
            self.at_work.retry_after(Duration::ZERO);
            return;
        }
        let Self { mail, mut connection, at_work, place } = self;
        METRICS.handed_over.inc();
        let (app, mail) = (Arc::clone(app), mail.with_claim_facts(claim_facts));
        place.run(job_id::<SendMail>(mail.id), async move {
            let connection = connection.0.take().map(Ok);
            ended::<SendMail>(carry_out(&app, &mail, connection, &at_work).await);
        });
    }

    /// Leaves what it has to others; a claim is not to be given back, for there is none.
    fn leave_unclaimed(self) {
        self.at_work.note_settled();
    }
}
