//! Sending the callbacks about certain mails again.

use std::collections::HashSet;

use serde::Serialize;

use crate::{
    clock,
    mail::{EventId, MailId, Timestamp},
    store::{
        connection::Connection,
        dialect::Dialect,
        error::{Doing, StoreError},
        row::Columns,
        sql::Sql,
    },
};

#[derive(Serialize)]
struct Row<Id> {
    id: Id,
}

static EVENTS: Sql = Sql::new(
    "SELECT events.id, events.mail_id FROM {rows: id text} JOIN events ON events.mail_id = rows.id
     WHERE events.created_at <= $2",
);

// The scheduler enqueues them: there may be many.
static REPLAY: Sql = Sql::new(
    "UPDATE deliveries SET state = 'queued', attempts_before = attempt, due_at = $2, wake_at = $2, settled_at = NULL
     WHERE event_id IN (SELECT rows.id FROM {rows: id text})
        AND endpoint_id IN (SELECT id FROM endpoints WHERE enabled = 1)
        AND state IN {delivery states before replayed}
     RETURNING event_id",
);

/// Sends everything again that was told about these mails until then, where the endpoint is enabled and no worker has
/// it. Returns the mails for which there was something.
pub(in crate::store) async fn replay_for_mails(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[MailId],
    until: Timestamp,
) -> Result<HashSet<MailId>, StoreError> {
    let asked: Vec<_> = mails.iter().map(|&id| Row { id }).collect();
    let rows = EVENTS
        .with(dialect, &asked)
        .bind(until.millis())
        .fetch_all(&mut *on)
        .await
        .doing("find the events of mails")?;
    let events = rows
        .iter()
        .map(|row| {
            let columns = Columns { table: "events", row };
            Ok((columns.parsed::<EventId>("id")?, columns.parsed::<MailId>("mail_id")?))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    if events.is_empty() {
        return Ok(HashSet::new());
    }
    let asked: Vec<_> = events.iter().map(|&(id, _)| Row { id }).collect();
    let rows = REPLAY
        .with(dialect, &asked)
        .bind(clock::now().millis())
        .fetch_all(on)
        .await
        .doing("replay deliveries of mails")?;
    let replayed = rows
        .iter()
        .map(|row| Columns { table: "deliveries", row }.parsed("event_id"))
        .collect::<Result<HashSet<EventId>, _>>()?;
    Ok(events.into_iter().filter(|(event, _)| replayed.contains(event)).map(|(_, mail)| mail).collect())
}
