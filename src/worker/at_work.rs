//! One row that a worker is at work on: how far it has come, and what becomes of its claim when the job ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;
use uuid::Uuid;

use super::{RETRY_AFTER, Unoffered, Worker};
use crate::{
    mail::{Mail, MailId, MailLane},
    smtp::Fence,
    store::{Claim, GivenBack, Store, StoreError},
};

/// A mail whose claim was given back because something broke is due again after this; otherwise it would break at once
/// again.
pub(super) const BROKEN: Duration = Duration::from_secs(60);
/// The scheduler leaves a mail to the job that goes back to the queue for so long.
const IN_THE_QUEUE: Duration = Duration::from_secs(15);

/// How far a row has come.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Not claimed, or not a mail, or settled.
    Free,
    Claiming,
    Claimed,
    Offered,
}

/// A worker is at work on a mail or a callback for as long as this lives.
pub struct AtWork {
    worker: Arc<Worker>,
    row: Uuid,
    lane: MailLane,
    stage: AtomicU8,
    /// The worker's lapses when the claim was asked for.
    lapses: AtomicU64,
    /// When the mail may be claimed again, in milliseconds from its giving back; negative: something is broken.
    pause: AtomicI64,
}

impl AtWork {
    /// Claims the mail; `None` where it is not to be had.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. Then nobody knows whether it is claimed, and it will be given back.
    pub async fn claim(&self, store: &Store) -> Result<Option<Box<Mail>>, StoreError> {
        self.note_claim_asked();
        let claim = store.claim_mail(MailId(self.row), self.worker.id, self.lane);
        match self.worker.while_heard(claim).await? {
            Claim::Granted(mail) => {
                self.note_claimed();
                Ok(Some(mail))
            }
            Claim::NotYours(_) => {
                self.note_settled();
                Ok(None)
            }
        }
    }

    /// Notes that the mail is about to be claimed.
    pub fn note_claim_asked(&self) {
        self.lapses.store(self.worker.lapses.load(Ordering::SeqCst), Ordering::Relaxed);
        self.move_to(Stage::Claiming);
    }

    /// Notes that the mail is this worker's.
    pub fn note_claimed(&self) {
        self.move_to(Stage::Claimed);
    }

    /// Notes that there is nothing to give back: the claim was refused, or what came of it is on record.
    pub fn note_settled(&self) {
        self.move_to(Stage::Free);
    }

    /// Notes that the mail has to wait once more, for so long, and that nothing is broken.
    pub fn retry_after(&self, pause: Duration) {
        self.pause.store(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Gives the claim back now, where the mail only has to wait its turn once more: then its job keeps its place in the
    /// queue. False where it has to wait for longer, or the database does not take it in time: it is given back later.
    pub async fn give_back_now(&self, store: &Store, rescues: u32) -> bool {
        let only_its_turn = self.pause.load(Ordering::Relaxed) == 0 && self.is_in(Stage::Claimed);
        if !only_its_turn || self.worker.stopping.is_cancelled() {
            return false;
        }
        let back = [GivenBack { mail: MailId(self.row), pause: IN_THE_QUEUE, is_broken: false }];
        let is_given = timeout(RETRY_AFTER, store.give_back_mails(self.worker.id, &back, rescues)).await;
        let is_given = matches!(is_given, Ok(Ok(_)));
        if is_given {
            self.note_settled();
        }
        is_given
    }

    /// Whether a relay was, or may have been, offered the mail.
    pub fn is_offered(&self) -> bool {
        self.is_in(Stage::Offered)
    }

    /// Whether the others have taken this worker for alive ever since it asked for the claim: one that is heard again may have
    /// lost it meanwhile.
    fn is_still_its(&self) -> bool {
        // In this order: who is heard again has counted that before.
        self.worker.is_heard()
            && self.worker.lapses.load(Ordering::SeqCst) == self.lapses.load(Ordering::Relaxed)
    }

    fn move_to(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is_in(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }
}

impl Fence for AtWork {
    fn may_begin(&self) -> bool {
        let may = !self.worker.stopping.is_cancelled() && self.is_still_its();
        if !may {
            self.retry_after(Duration::ZERO);
        }
        may
    }

    fn may_begin_next(&self) -> bool {
        self.worker.may_begin()
    }

    fn may_offer(&self) -> bool {
        let may = self.is_still_its();
        if may {
            self.move_to(Stage::Offered);
        } else {
            self.retry_after(Duration::ZERO);
        }
        may
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let is_unanswered = self.is_in(Stage::Claiming);
        if !is_unanswered && !self.is_in(Stage::Claimed) {
            self.worker.rows().remove(&self.row);
            return;
        }
        let (pause, is_broken) = match u64::try_from(self.pause.load(Ordering::Relaxed)) {
            Ok(millis) => (Duration::from_millis(millis), false),
            Err(_) if self.worker.stopping.is_cancelled() => (Duration::ZERO, false),
            // The database did not say whether it is claimed: that is no fault of the mail's.
            Err(_) if is_unanswered => (RETRY_AFTER, false),
            Err(_) => (BROKEN, true),
        };
        self.worker.not_given_back.fetch_add(1, Ordering::SeqCst);
        // The row stays at work, so that nobody takes it for lost meanwhile.
        let unoffered =
            Unoffered { mail: MailId(self.row), lane: self.lane, is_unanswered, is_broken, pause };
        if self.worker.unoffered.send(unoffered).is_err() {
            self.worker.forget_given_back(&[MailId(self.row)]);
        }
    }
}

impl Worker {
    /// Notes that this worker will claim a mail, in this lane, or a callback; nothing where it is at work on it already.
    pub fn begin(self: &Arc<Self>, row: Uuid, lane: MailLane) -> Option<AtWork> {
        let is_new = self.rows().insert(row);
        is_new.then(|| AtWork {
            worker: Arc::clone(self),
            row,
            lane,
            stage: AtomicU8::new(0),
            lapses: AtomicU64::new(self.lapses.load(Ordering::SeqCst)),
            pause: AtomicI64::new(-1),
        })
    }
}
