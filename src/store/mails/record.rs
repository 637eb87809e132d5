//! Records mails with the answer that their request gets.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::AnyConnection;

use crate::{
    mail::{BatchId, Mailbox, NewMail},
    store::{
        Doing, KeyHolder, Store, StoreError,
        dialect::{Dialect, Sql},
        group_commit::Change,
        idempotency::{self, Answer},
    },
};

/// How long the waker leaves a fresh mail to the bell that its ingress rings.
const RUNG_BY_INGRESS: Duration = Duration::from_secs(15);

/// What one request records: all of it or nothing.
#[derive(Debug)]
pub struct Recording {
    /// The mails.
    pub mails: Vec<NewMail>,
    /// The answer to keep for the request's idempotency key.
    pub answer: Option<(KeyHolder, Answer)>,
}

/// The rows are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded;

impl Store {
    /// Records what a request asked for, together with its answer.
    ///
    /// # Errors
    /// When the database cannot commit it; then nothing of it is sent later.
    pub async fn record(&self, recording: Recording) -> Result<Recorded, StoreError> {
        self.group.commit(|reply| Change::Record(recording, reply)).await
    }
}

static INSERT: Sql = Sql::new(
    "INSERT INTO mails (id, merchant_id, lane, state, template, template_version, sender, reply_to, recipient_name,
        recipient, message_id, tags, member_id, order_id, cart_id, subscription_id, batch_id, on_crash, recorded_at,
        due_at, ring_at)
     SELECT value ->> 'id', value ->> 'merchant_id', value ->> 'lane', 'queued', value ->> 'template',
        value ->> 'template_version', value ->> 'sender', value ->> 'reply_to', value ->> 'recipient_name',
        value ->> 'recipient', value ->> 'message_id', value ->> 'tags', value ->> 'member_id',
        value ->> 'order_id', value ->> 'cart_id', value ->> 'subscription_id', value ->> 'batch_id',
        value ->> 'on_crash', CAST(value ->> 'recorded_at' AS BIGINT), CAST(value ->> 'due_at' AS BIGINT),
        CAST(value ->> 'ring_at' AS BIGINT)
     FROM {rows}",
);

/// A mail as its INSERT reads it.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    merchant_id: &'a str,
    lane: &'static str,
    template: &'a str,
    template_version: &'a str,
    sender: &'a Mailbox,
    reply_to: Option<&'a Mailbox>,
    recipient_name: Option<&'a str>,
    recipient: String,
    message_id: &'a str,
    tags: &'a RawValue,
    member_id: Option<&'a str>,
    order_id: Option<&'a str>,
    cart_id: Option<&'a str>,
    subscription_id: Option<&'a str>,
    batch_id: Option<BatchId>,
    on_crash: &'static str,
    recorded_at: i64,
    due_at: i64,
    ring_at: i64,
}

impl<'a> Row<'a> {
    fn of(mail: &'a NewMail) -> Self {
        Self {
            id: mail.id.to_string(),
            merchant_id: mail.merchant.as_str(),
            lane: mail.lane.as_str(),
            template: &mail.template,
            template_version: &mail.template_version,
            sender: &mail.sender,
            reply_to: mail.reply_to.as_ref(),
            recipient_name: mail.recipient.name.as_deref(),
            recipient: mail.recipient.email.to_string(),
            message_id: &mail.message_id,
            tags: &mail.values,
            member_id: mail.origin.member.as_deref(),
            order_id: mail.origin.order.as_deref(),
            cart_id: mail.origin.cart.as_deref(),
            subscription_id: mail.origin.subscription.as_deref(),
            batch_id: mail.origin.batch,
            on_crash: mail.on_crash.as_str(),
            recorded_at: mail.recorded_at.millis(),
            due_at: mail.due_at.millis(),
            ring_at: (mail.due_at + RUNG_BY_INGRESS).millis(),
        }
    }
}

/// Writes a group of recordings; the caller's transaction makes them one.
pub(in crate::store) async fn record(
    dialect: Dialect,
    on: &mut AnyConnection,
    recordings: &[Recording],
) -> Result<Vec<Recorded>, StoreError> {
    let rows: Vec<_> = recordings.iter().flat_map(|recording| &recording.mails).map(Row::of).collect();
    if !rows.is_empty() {
        sqlx::query(INSERT.on(dialect)).bind(to_json(&rows)).execute(&mut *on).await.doing("record mails")?;
    }
    let answers: Vec<_> = recordings.iter().filter_map(|recording| recording.answer.as_ref()).collect();
    idempotency::keep(dialect, on, &answers).await?;
    Ok(vec![Recorded; recordings.len()])
}

/// The JSON that `{rows}` unfolds.
pub(in crate::store) fn to_json<T: Serialize>(rows: &[T]) -> String {
    #[expect(
        clippy::expect_used,
        reason = "rows are plain structs with string keys: writing them cannot fail"
    )]
    serde_json::to_string(rows).expect("rows are writable as JSON")
}
