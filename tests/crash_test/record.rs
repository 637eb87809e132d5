//! What postroom has on record in the end.

use std::collections::HashMap;

use sqlx::{AnyConnection, Connection};

use super::stage::Stage;

const MAILS: &str = "
    SELECT mails.id, recipient, state, batch_id, on_crash,
        COUNT(CASE outcome WHEN 'accepted' THEN 1 END), COUNT(CASE outcome WHEN 'unknown' THEN 1 END)
    FROM mails LEFT JOIN attempts ON attempts.mail_id = mails.id
    GROUP BY mails.id, recipient, state, batch_id, on_crash";
const DELIVERIES: &str = "
    SELECT COALESCE(event_id, deliveries.id), deliveries.state, COUNT(number),
        COUNT(CASE WHEN delivery_attempts.outcome = 'answered' THEN NULL ELSE number END)
    FROM deliveries LEFT JOIN delivery_attempts ON delivery_id = deliveries.id
    GROUP BY deliveries.id, event_id, deliveries.state";
const WRONG_RESULTS: &str = "
    SELECT mails.id, mails.state FROM bulk_action_results JOIN mails ON mails.id = mail_id
        JOIN bulk_actions ON bulk_actions.id = action_id
    WHERE kind = 'cancel' AND result = 'done' AND mails.state <> 'cancelled'";
const OPEN: &str = "
    SELECT (SELECT COUNT(*) FROM mails WHERE state IN ('queued', 'sending', 'deferred')),
        (SELECT COUNT(*) FROM deliveries WHERE settled_at IS NULL),
        (SELECT COUNT(*) FROM batches WHERE state IN ('queued', 'processing'))";

/// A mail.
#[derive(Clone, Debug)]
pub struct MailOnRecord {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// Its batch.
    pub batch: Option<String>,
    /// Whether it is held when nobody knows its outcome.
    pub holds: bool,
    /// How many attempts a relay accepted.
    pub accepted: usize,
    /// How many attempts nobody knows the outcome of.
    pub unknown: usize,
}

/// An event on its way to a webhook, or the end of a batch.
#[derive(Clone, Debug)]
pub struct DeliveryOnRecord {
    /// Its state.
    pub state: String,
    /// How often it was posted.
    pub attempts: usize,
    /// How many of these attempts have no answer.
    pub unanswered: usize,
}

/// All of it.
pub struct Record {
    /// By recipient.
    pub mails: HashMap<String, Vec<MailOnRecord>>,
    /// By `webhook-id`.
    pub deliveries: HashMap<String, DeliveryOnRecord>,
    /// Mails that a bulk action says that it cancelled, and their states, which are others.
    pub wrong_results: Vec<(String, String)>,
}

impl Stage {
    async fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        AnyConnection::connect(&self.backends.database().url).await.unwrap()
    }

    /// How many mails, deliveries and batches are not settled.
    pub async fn unsettled(&self) -> (i64, i64, i64) {
        let mut connection = self.connect().await;
        let open = sqlx::query_as(OPEN).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        open
    }

    /// Makes what waits for another attempt due: the second wait of a callback is five minutes.
    pub async fn hurry(&self) {
        self.backends.execute("UPDATE deliveries SET due_at = 0, wake_at = 0 WHERE state = 'deferred'").await;
    }

    /// Reads it all.
    pub async fn record(&self) -> Record {
        type Row = (String, String, String, Option<String>, String, i64, i64);
        let mut connection = self.connect().await;
        let mut record =
            Record { mails: HashMap::new(), deliveries: HashMap::new(), wrong_results: Vec::new() };
        let count = |number: i64| usize::try_from(number).unwrap();
        let mails: Vec<Row> = sqlx::query_as(MAILS).fetch_all(&mut connection).await.unwrap();
        for (id, recipient, state, batch, on_crash, accepted, unknown) in mails {
            let (accepted, unknown, holds) = (count(accepted), count(unknown), on_crash == "hold");
            let mail = MailOnRecord { id, state, batch, holds, accepted, unknown };
            record.mails.entry(recipient).or_default().push(mail);
        }
        let deliveries: Vec<(String, String, i64, i64)> =
            sqlx::query_as(DELIVERIES).fetch_all(&mut connection).await.unwrap();
        for (id, state, attempts, unanswered) in deliveries {
            let delivery =
                DeliveryOnRecord { state, attempts: count(attempts), unanswered: count(unanswered) };
            record.deliveries.insert(id, delivery);
        }
        record.wrong_results = sqlx::query_as(WRONG_RESULTS).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        record
    }
}
