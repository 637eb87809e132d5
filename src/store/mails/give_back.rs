//! Gives claims back: mails that no relay was offered, as if they had never been claimed.

use std::time::Duration;

use serde::Serialize;

use crate::store::row::to_json;
use crate::{
    clock,
    mail::{MailEvent, MailId, MailState, WorkerId},
    store::{Store, StoreError, dialect::Sql},
};

// Fenced like a settlement: what was settled meanwhile, or went to another worker, stays as it is.
static GIVE_BACK: Sql = Sql::new(
    "UPDATE mails SET state = rows.state, worker = NULL, claimed_at = NULL, attempt = attempt - 1, ring_at = rows.ring_at
     FROM {rows: id text, worker text, state text, ring_at bigint}
     WHERE mails.id = rows.id AND mails.state = 'sending' AND mails.worker = rows.worker",
);

#[derive(Serialize)]
struct Row {
    id: String,
    worker: String,
    state: &'static str,
    ring_at: i64,
}

impl Store {
    /// Gives back mails that a worker claimed and offered to no relay, without an attempt; each is rung for after its pause.
    /// Returns how many were still the worker's.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn give_back_mails(
        &self,
        worker: WorkerId,
        mails: &[(MailId, Duration)],
    ) -> Result<u64, StoreError> {
        let Some(state) = MailState::Sending.after(MailEvent::GivenBack) else { return Ok(0) };
        let now = clock::now();
        let rows = mails.iter().map(|(mail, pause)| Row {
            id: mail.to_string(),
            worker: worker.to_string(),
            state: state.as_str(),
            ring_at: (now + *pause).millis(),
        });
        let update = sqlx::query(GIVE_BACK.on(self.dialect)).bind(to_json(&rows.collect::<Vec<_>>()));
        self.writer.execute(update, "give mails back").await
    }
}
