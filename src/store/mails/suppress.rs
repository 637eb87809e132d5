//! Suppresses a mail whose recipient was suppressed after it was recorded.

use futures_util::FutureExt;
use sqlx::AnyConnection;

use crate::{
    clock,
    mail::{Mail, MailEvent, MailState, SuppressionReason, WorkerId},
    store::{
        batches::{self, BatchMove},
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        orders,
        suppressions::KEPT_BACK,
    },
};

use super::settle::Settled;

// Fenced like a settlement. No relay has seen it, so there was no attempt.
const SUPPRESS: &str =
    "UPDATE mails SET state = $4, worker = NULL, claimed_at = NULL, wake_at = NULL, settled_at = $5,
        error = $6, attempt = attempt - 1
     WHERE id = $1 AND state = 'sending' AND worker = $2 AND attempt = $3";

impl Store {
    /// Moves a mail that this worker has claimed to `suppressed`, without an attempt.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn suppress_mail(
        &self,
        mail: &Mail,
        reason: SuppressionReason,
        worker: WorkerId,
    ) -> Result<Settled, StoreError> {
        let Some(state) = MailState::Sending.after(MailEvent::Suppressed) else {
            return Ok(Settled::TooLate);
        };
        let dialect = self.dialect;
        let moving = Moving { mail: mail.clone(), error: format!("{KEPT_BACK}{reason}"), worker, state };
        self.writer.run(move |on| async move { moving.write(dialect, on).await }.boxed()).await
    }
}

struct Moving {
    mail: Mail,
    error: String,
    worker: WorkerId,
    state: MailState,
}

impl Moving {
    async fn write(self, dialect: Dialect, on: &mut AnyConnection) -> Result<Settled, StoreError> {
        let Self { mail, error, worker, state } = self;
        let done = sqlx::query(SUPPRESS)
            .bind(mail.id.to_string())
            .bind(worker.to_string())
            .bind(i64::from(mail.attempt))
            .bind(state.as_str())
            .bind(clock::now().millis())
            .bind(error)
            .execute(&mut *on)
            .await
            .doing("suppress a mail")?;
        if done.rows_affected() == 0 {
            return Ok(Settled::TooLate);
        }
        if mail.order.is_some() {
            orders::follow(dialect, &mut *on, [(mail.id, state)].into_iter()).await?;
        }
        let moved = MovedMail::without_reply(mail.id, mail.merchant, state);
        events::record_for_mails(dialect, &mut *on, &[moved]).await?;
        if let Some(batch) = mail.batch {
            let is_first_try = mail.attempt == 1;
            let moved = BatchMove { batch, from: MailState::Sending, to: state, is_first_try };
            batches::follow(dialect, on, &[moved]).await?;
        }
        Ok(Settled::Now(state))
    }
}
