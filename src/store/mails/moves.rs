//! What people ask of one mail: to cancel it before it is sent, or to try it again.

use futures_util::FutureExt;

use super::look_up::MailRecord;
use crate::{
    audit::Action,
    clock,
    mail::{MailEvent, MailId, MailState, MerchantId},
    store::{
        audit::{self, NewEntry},
        batches::{self, BatchMove},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        orders,
        statement::query,
    },
};

/// The result of moving a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is in this state now.
    Now(MailState),
    /// It cannot, from the state it is in.
    Refused(MailState),
    /// It cannot be sent, whatever state it is in: its recipient is gone.
    ToNobody,
    /// There is no such mail.
    Unknown,
}

impl Store {
    /// Takes a mail back before it is sent, or asks for another try, as `event` says.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn move_mail(
        &self,
        merchant: Option<&MerchantId>,
        id: MailId,
        event: MailEvent,
    ) -> Result<Moved, StoreError> {
        let Some(mail) = self.mail(merchant, id).await? else { return Ok(Moved::Unknown) };
        let Some(next) = mail.state.after(event) else { return Ok(Moved::Refused(mail.state)) };
        if !next.is_settled() && mail.is_to_nobody() {
            return Ok(Moved::ToNobody);
        }
        let action = match event {
            MailEvent::Cancelled => Some(Action::MailCancelled),
            MailEvent::Retried => Some(Action::MailRetried),
            _ => None,
        };
        let entry = action.and_then(|action| self.entry(action, id, Some(&mail.merchant)));
        let dialect = self.dialect;
        let moved = self
            .writer
            .run(move |on| async move { write(dialect, on, &mail, next, entry.as_ref()).await }.boxed())
            .await?;
        if moved {
            return Ok(Moved::Now(next));
        }
        let state = self.mail(merchant, id).await?.map(|mail| mail.state);
        Ok(state.map_or(Moved::Unknown, Moved::Refused))
    }
}

// One that waits again does so until its time, where that is still ahead.
const MOVE: &str =
    "UPDATE mails SET state = $3, wake_at = CASE WHEN send_at > $4 THEN send_at ELSE $4 END,
        due_at = CASE WHEN send_at > $4 THEN send_at ELSE COALESCE($4, due_at) END, settled_at = $5, rescues = 0,
        cancel_reason = NULL, expires_at = CASE WHEN expires_at > $6 OR $4 IS NULL THEN expires_at END
     WHERE id = $1 AND state = $2";

/// Moves a mail on with all that follows it, if it is still in the state that it was read in; returns whether it was.
async fn write(
    dialect: Dialect,
    on: &mut Connection,
    mail: &MailRecord,
    next: MailState,
    entry: Option<&NewEntry>,
) -> Result<bool, StoreError> {
    let now = clock::now().millis();
    let update = query(MOVE)
        .bind(mail.id.to_string())
        .bind(mail.state.as_str())
        .bind(next.as_str())
        .bind((!next.is_settled()).then_some(now))
        .bind(next.is_settled().then_some(now))
        .bind(now);
    if update.execute(&mut *on).await.doing("move a mail")?.rows_affected() == 0 {
        return Ok(false);
    }
    orders::follow(dialect, &mut *on, [(mail.id, next)]).await?;
    let moved = MovedMail::without_reply(mail.id, mail.merchant.clone(), next);
    events::record_for_mails(dialect, &mut *on, &[moved]).await?;
    if let Some(batch) = mail.origin.batch {
        let is_first_try = mail.attempt == 0 && next.is_settled();
        let moved = BatchMove { batch, from: mail.state, to: next, is_first_try };
        batches::follow(dialect, &mut *on, &[moved]).await?;
    }
    audit::record(on, entry).await?;
    Ok(true)
}
