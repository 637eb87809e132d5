//! Stops a mail that a worker has claimed and was about to send. No relay has heard of it, so there is no attempt.

use futures_util::FutureExt;

use super::settle::Settled;
use crate::{
    clock,
    mail::{
        BatchId, CancelReason, Mail, MailEvent, MailId, MailState, MerchantId, SuppressionReason, WorkerId,
    },
    store::{
        batches::{self, BatchMove},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        orders,
        statement::query,
        suppressions::KEPT_BACK,
    },
};

/// Why a mail is not sent although its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What it was asked for is not so any more.
    Lapsed(CancelReason),
    /// Its `expires_at` has passed.
    Expired,
    /// Its recipient gets no such mail.
    Suppressed(SuppressionReason),
    /// Its recipient is gone.
    ToNobody,
}

/// What a mail says that expired, for people.
pub(super) const EXPIRED: &str = "its `expires_at` passed before a relay took it";

/// What a mail says whose recipient is gone, for people.
const TO_NOBODY: &str = "the recipient is gone: there is no address to send it to";

impl Stop {
    const fn event(self) -> MailEvent {
        match self {
            Self::Lapsed(_) => MailEvent::Lapsed,
            Self::Expired => MailEvent::TimedOut,
            Self::Suppressed(_) => MailEvent::Suppressed,
            Self::ToNobody => MailEvent::Refused,
        }
    }

    /// The state that the mail comes into.
    pub fn state(self) -> MailState {
        MailState::Sending.after(self.event()).unwrap_or(MailState::Cancelled)
    }
}

struct Stopping {
    mail: MailId,
    merchant: MerchantId,
    worker: WorkerId,
    attempt: u32,
    is_about_an_order: bool,
    batch: Option<BatchId>,
    stop: Stop,
}

// Fenced like a settlement.
const STOP: &str =
    "UPDATE mails SET state = $4, cancel_reason = $5, error = COALESCE($6, error), settled_at = $7, wake_at = NULL,
        worker = NULL, claimed_at = NULL, attempt = attempt - 1
     WHERE id = $1 AND state = 'sending' AND worker = $2 AND attempt = $3";

impl Store {
    /// Settles a claimed mail without an attempt.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn stop_mail(&self, mail: &Mail, worker: WorkerId, stop: Stop) -> Result<Settled, StoreError> {
        let stopping = Stopping {
            mail: mail.id,
            merchant: mail.merchant.clone(),
            worker,
            attempt: mail.attempt,
            is_about_an_order: mail.order.is_some(),
            batch: mail.batch,
            stop,
        };
        let dialect = self.dialect;
        self.writer.run(move |on| async move { stopping.write(dialect, on).await }.boxed()).await
    }
}

impl Stopping {
    async fn write(self, dialect: Dialect, on: &mut Connection) -> Result<Settled, StoreError> {
        let state = self.stop.state();
        let (reason, error) = match self.stop {
            Stop::Lapsed(reason) => (Some(reason.as_str()), None),
            Stop::Expired => (None, Some(EXPIRED.to_owned())),
            Stop::Suppressed(reason) => (None, Some(format!("{KEPT_BACK}{reason}"))),
            Stop::ToNobody => (None, Some(TO_NOBODY.to_owned())),
        };
        let done = query(STOP)
            .bind(self.mail.to_string())
            .bind(self.worker.to_string())
            .bind(i64::from(self.attempt))
            .bind(state.as_str())
            .bind(reason)
            .bind(error)
            .bind(clock::now().millis())
            .execute(&mut *on)
            .await
            .doing("stop a mail")?;
        if done.rows_affected() == 0 {
            return Ok(Settled::TooLate);
        }
        if self.is_about_an_order {
            orders::follow(dialect, &mut *on, [(self.mail, state)]).await?;
        }
        let moved = MovedMail::without_reply(self.mail, self.merchant, state);
        let is_told = events::record_for_mails(dialect, &mut *on, &[moved]).await? > 0;
        let is_first_try = self.attempt == 1;
        let from = MailState::Sending;
        let moves = self.batch.map(|batch| BatchMove { batch, from, to: state, is_first_try });
        batches::follow(dialect, on, moves.as_slice()).await?;
        Ok(Settled::Now { state, is_told })
    }
}
