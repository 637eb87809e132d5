//! Withdraws the mail of an order that the queue did not take.

use futures_util::FutureExt;

use super::moves::Moved;
use crate::{
    clock,
    mail::{MailEvent, MailId, MailState},
    store::{
        connection::Connection,
        database::Store,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        idempotency::KeyHolder,
        orders,
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

// One that was ever claimed may be with a relay.
static WITHDRAW: Sql = Sql::new(
    "UPDATE mails SET state = $4, wake_at = NULL, settled_at = $2, error = $3
     WHERE id = $1 AND state IN {mail states before undispatched} AND attempt = 0
     RETURNING merchant_id",
);

impl Store {
    /// Fails a mail that the queue did not take ([`MailEvent::Undispatched`]), unless a worker has it already. The answer
    /// that was kept for its request goes with it.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`]. Then the mail is sent later.
    pub async fn withdraw_order_mail(
        &self,
        mail: MailId,
        why: &str,
        answered: Option<&KeyHolder>,
    ) -> Result<Moved, StoreError> {
        let Some(next) = MailState::Queued.after(MailEvent::Undispatched) else {
            return Ok(Moved::Refused(MailState::Queued));
        };
        let (dialect, why, answered) = (self.dialect, why.to_owned(), answered.cloned());
        if self
            .writer
            .in_background()
            .run(move |on| {
                async move {
                    let withdrawn = query(WITHDRAW.on(dialect))
                        .bind(mail.to_string())
                        .bind(clock::now().millis())
                        .bind(&why)
                        .bind(next.as_str())
                        .fetch_optional(&mut *on)
                        .await
                        .doing("withdraw a mail")?;
                    let Some(row) = withdrawn else { return Ok(false) };
                    orders::follow(dialect, &mut *on, [(mail, next)]).await?;
                    let moved = MovedMail {
                        id: mail,
                        merchant: Columns { table: "mails", row: &row }.parsed("merchant_id")?,
                        state: next,
                        code: None,
                        enhanced_code: None,
                        reply: Some(why),
                        class: None,
                    };
                    events::record_for_mails(dialect, &mut *on, &[moved]).await?;
                    if let Some(holder) = answered {
                        forget_answer(on, &holder).await?;
                    }
                    Ok(true)
                }
                .boxed()
            })
            .await?
        {
            return Ok(Moved::Now(next));
        }
        let state = self.mail(None, mail).await?.map(|mail| mail.state);
        Ok(state.map_or(Moved::Unknown, Moved::Refused))
    }
}

async fn forget_answer(on: &mut Connection, holder: &KeyHolder) -> Result<(), StoreError> {
    query("DELETE FROM idempotency WHERE merchant_id = $1 AND path = $2 AND key = $3 AND request = $4")
        .bind(holder.merchant.as_str())
        .bind(&holder.path)
        .bind(&holder.key)
        .bind(holder.request.to_string())
        .execute(on)
        .await
        .map(drop)
        .doing("forget an answer")
}
