//! Forgets mails that were settled long ago, with their attempts: what is in the counts of a batch stays there.

use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;

use super::search::prefix_of;
use crate::{
    clock,
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
        statement::query,
        steps::{STEP, in_steps},
    },
};

// A mail that waits is never forgotten. Ids are in the order in which mails were recorded. The condition is asked twice: Postgres
// asks the outer one again of a row that another transaction has changed since it was chosen.
static FORGET: Sql = Sql::new(
    "DELETE FROM mails WHERE id IN (
        SELECT id FROM mails WHERE id < $1 AND wake_at IS NULL AND state <> 'sending'
            AND COALESCE(settled_at, recorded_at) < $2 ORDER BY id LIMIT $3)
        AND wake_at IS NULL AND state <> 'sending' AND COALESCE(settled_at, recorded_at) < $2
     RETURNING id",
);
static FORGET_WITH_THEM: [Sql; 4] = [
    Sql::new("DELETE FROM attempts WHERE mail_id IN (SELECT rows.id FROM {rows: id text})"),
    Sql::new("DELETE FROM mail_tags WHERE mail_id IN (SELECT rows.id FROM {rows: id text})"),
    Sql::new("DELETE FROM mail_attachments WHERE mail_id IN (SELECT rows.id FROM {rows: id text})"),
    Sql::new("DELETE FROM order_emails WHERE mail_id IN (SELECT rows.id FROM {rows: id text})"),
];

// Entries of orders whose mail is gone: a version before this one forgot the mail alone, on the schema of this one.
static STRAYS: Sql = Sql::new(
    "DELETE FROM order_emails WHERE mail_id IN (
        SELECT mail_id FROM order_emails WHERE mail_id < $1
            AND NOT EXISTS (SELECT 1 FROM mails WHERE mails.id = order_emails.mail_id) ORDER BY mail_id LIMIT $2)",
);

impl Store {
    /// Forgets entries of orders whose mails were forgotten already, of those recorded longer ago than `keep`; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_stray_entries(&self, keep: Duration) -> Result<u64, StoreError> {
        let before = prefix_of(clock::now() - keep);
        in_steps(STEP, || async {
            let delete = query(STRAYS.on(self.dialect)).bind(before.clone()).bind(STEP);
            self.writer.in_background().execute(delete, "forget entries of orders").await
        })
        .await
    }

    /// Forgets mails that were settled longer ago than `keep`, a thousand at a time; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_mails(&self, keep: Duration) -> Result<u64, StoreError> {
        let long_ago = clock::now() - keep;
        let dialect = self.dialect;
        in_steps(STEP, || async {
            self.writer
                .in_background()
                .run(move |on| {
                    async move {
                        let rows = query(FORGET.on(dialect))
                            .bind(prefix_of(long_ago))
                            .bind(long_ago.millis())
                            .bind(STEP)
                            .fetch_all(&mut *on)
                            .await
                            .doing("forget old mails")?;
                        #[derive(Serialize)]
                        struct Gone {
                            id: String,
                        }
                        let id = |row| Ok(Gone { id: Columns { table: "mails", row }.text("id")? });
                        let gone: Vec<_> = rows.iter().map(id).collect::<Result<_, StoreError>>()?;
                        if gone.is_empty() {
                            return Ok(0);
                        }
                        for statement in &FORGET_WITH_THEM {
                            statement
                                .with(dialect, &gone)
                                .execute(&mut *on)
                                .await
                                .doing("forget what old mails had")?;
                        }
                        Ok(gone.len() as u64)
                    }
                    .boxed()
                })
                .await
        })
        .await
    }
}
