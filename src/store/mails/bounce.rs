//! Mails that come back after a relay took them.

use futures_util::FutureExt;

use crate::{
    clock,
    mail::{MailEvent, MailId, MailState},
    store::{
        batches::{self, BatchMove},
        database::Store,
        error::{Doing, StoreError},
        events::{self, MovedMail},
        orders,
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

static RETURN: Sql = Sql::new(
    "UPDATE mails SET state = $2, settled_at = $3, error = $4
     WHERE id = $1 AND state IN {mail states before returned}
     RETURNING merchant_id, order_id, batch_id",
);

impl Store {
    /// Notes that a mail came back, and with which words; returns whether it was one that a relay had.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn return_mail(
        &self,
        mail: MailId,
        code: u16,
        enhanced_code: &str,
        words: &str,
    ) -> Result<bool, StoreError> {
        let (from, event) = (MailState::Sent, MailEvent::Returned);
        let Some(to) = from.after(event) else { return Ok(false) };
        let (dialect, enhanced_code, words) = (self.dialect, enhanced_code.to_owned(), words.to_owned());
        self.writer
            .run(move |on| {
                async move {
                    let row = query(RETURN.on(dialect))
                        .bind(mail.to_string())
                        .bind(to.as_str())
                        .bind(clock::now().millis())
                        .bind(format!("{code} {enhanced_code} {words}"))
                        .fetch_optional(&mut *on)
                        .await
                        .doing("note that a mail came back")?;
                    let Some(row) = row else { return Ok(false) };
                    let columns = Columns { table: "mails", row: &row };
                    if columns.optional_text("order_id")?.is_some() {
                        orders::follow(dialect, &mut *on, [(mail, to)]).await?;
                    }
                    let (code, enhanced_code, reply) = (Some(code), Some(enhanced_code), Some(words));
                    let moved = MovedMail::without_reply(mail, columns.parsed("merchant_id")?, to);
                    let moved = MovedMail { code, enhanced_code, reply, ..moved };
                    events::record_for_mails(dialect, &mut *on, &[moved]).await?;
                    let batch = columns.optional_parsed("batch_id")?;
                    let moves = batch.map(|batch| BatchMove { batch, from, to, is_first_try: false });
                    batches::follow(dialect, on, moves.as_slice()).await?;
                    Ok(true)
                }
                .boxed()
            })
            .await
    }
}
