//! Idempotency keys: the first answer, kept for 24 hours per merchant and path.

use std::time::Duration;

use serde::Serialize;
use sqlx::AnyConnection;
use uuid::Uuid;

use super::{
    Doing, Store, StoreError,
    dialect::{Dialect, Sql},
    group_commit::Change,
    mails::to_json,
    row::Columns,
};
use crate::{
    clock,
    mail::{MerchantId, Timestamp},
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request may hold a key before another may take it over: its process died.
const HELD: Duration = Duration::from_secs(60);

/// The request that holds a key and may keep an answer under it.
#[derive(Clone, Debug)]
pub struct KeyHolder {
    /// Whose key.
    pub merchant: MerchantId,
    /// The path of the request.
    pub path: String,
    /// The key.
    pub key: String,
    /// Names this request among those with the same key.
    pub request: Uuid,
}

/// An answer as it went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
}

/// What a key means for this request.
#[derive(Clone, Debug)]
pub enum Reservation {
    /// It is new: this request holds it now.
    Granted,
    /// The same request was answered before.
    Answered(Answer),
    /// Another request used it.
    Reused,
    /// The same request is under way; try again after this.
    Running(Duration),
}

pub(super) struct ReservationRequest {
    holder: KeyHolder,
    fingerprint: String,
}

impl Store {
    /// Reserves a key for a request whose body has this fingerprint.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn reserve_key(
        &self,
        holder: KeyHolder,
        fingerprint: String,
    ) -> Result<Reservation, StoreError> {
        self.group.commit(|reply| Change::Reserve(ReservationRequest { holder, fingerprint }, reply)).await
    }

    /// Keeps an answer that recorded nothing, such as a refusal.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn keep_answer(&self, holder: &KeyHolder, answer: &Answer) -> Result<(), StoreError> {
        let mut writer = self.writers.acquire().await.doing("be reached")?;
        keep(self.dialect, &mut writer, &[&(holder.clone(), answer.clone())]).await.map(drop)
    }

    /// Gives a key back, so that the request can be made again.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn release_key(&self, holder: &KeyHolder) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM idempotency WHERE merchant_id = $1 AND path = $2 AND key = $3 AND request = $4 AND status IS NULL")
            .bind(holder.merchant.as_str())
            .bind(&holder.path)
            .bind(&holder.key)
            .bind(holder.request.to_string())
            .execute(&self.writers)
            .await
            .map(drop)
            .doing("release an idempotency key")
    }

    /// Forgets answers older than 24 hours; returns how many.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn forget_old_answers(&self) -> Result<u64, StoreError> {
        sqlx::query("DELETE FROM idempotency WHERE created_at < $1")
            .bind((clock::now() - KEPT).millis())
            .execute(&self.writers)
            .await
            .map(|done| done.rows_affected())
            .doing("forget old answers")
    }
}

// Takes a key that is new, older than a day, or whose holder died without an answer.
static RESERVE: Sql = Sql::new(
    "INSERT INTO idempotency (merchant_id, path, key, fingerprint, request, locked_until, created_at)
     SELECT merchant, path, key, fingerprint, request, locked_until, now
     FROM {rows: merchant text, path text, key text, fingerprint text, request text, locked_until bigint,
        now bigint} WHERE true
     ON CONFLICT (merchant_id, path, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        request = excluded.request, locked_until = excluded.locked_until, created_at = excluded.created_at,
        status = NULL, body = NULL
     WHERE idempotency.created_at < excluded.created_at - 86400000
        OR (idempotency.status IS NULL AND idempotency.locked_until < excluded.created_at
            AND idempotency.fingerprint = excluded.fingerprint)",
);

static HELD_BY: &str = "SELECT fingerprint, request, locked_until, status, body FROM idempotency
     WHERE merchant_id = $1 AND path = $2 AND key = $3";

#[derive(Serialize)]
struct ReserveRow<'a> {
    merchant: &'a str,
    path: &'a str,
    key: &'a str,
    fingerprint: &'a str,
    request: String,
    locked_until: i64,
    now: i64,
}

/// Reserves for a group. One statement a request: the same key may stand twice in a group.
pub(super) async fn reserve(
    dialect: Dialect,
    on: &mut AnyConnection,
    requests: &[ReservationRequest],
) -> Result<Vec<Reservation>, StoreError> {
    let mut answers = Vec::with_capacity(requests.len());
    let now = clock::now();
    for ReservationRequest { holder, fingerprint } in requests {
        let row = ReserveRow {
            merchant: holder.merchant.as_str(),
            path: &holder.path,
            key: &holder.key,
            fingerprint,
            request: holder.request.to_string(),
            locked_until: (now + HELD).millis(),
            now: now.millis(),
        };
        sqlx::query(RESERVE.on(dialect))
            .bind(to_json(&[row]))
            .execute(&mut *on)
            .await
            .doing("reserve an idempotency key")?;
        let row = sqlx::query(HELD_BY)
            .bind(holder.merchant.as_str())
            .bind(&holder.path)
            .bind(&holder.key)
            .fetch_one(&mut *on)
            .await
            .doing("read an idempotency key")?;
        answers.push(judge(&Columns { table: "idempotency", row: &row }, holder, fingerprint, now)?);
    }
    Ok(answers)
}

fn judge(
    columns: &Columns<'_>,
    holder: &KeyHolder,
    fingerprint: &str,
    now: Timestamp,
) -> Result<Reservation, StoreError> {
    if columns.text("request")? == holder.request.to_string() {
        return Ok(Reservation::Granted);
    }
    if columns.text("fingerprint")? != fingerprint {
        return Ok(Reservation::Reused);
    }
    Ok(match columns.optional_integer("status")? {
        Some(status) => Reservation::Answered(Answer {
            status: u16::try_from(status).unwrap_or(200),
            body: columns.optional_text("body")?.unwrap_or_default(),
        }),
        None => Reservation::Running(columns.time("locked_until")?.since(now)),
    })
}

static KEEP: Sql = Sql::new(
    "UPDATE idempotency SET status = rows.status, body = rows.body
     FROM {rows: merchant text, path text, key text, request text, status bigint, body text}
     WHERE idempotency.merchant_id = rows.merchant AND idempotency.path = rows.path AND idempotency.key = rows.key
        AND idempotency.request = rows.request AND idempotency.status IS NULL",
);

#[derive(Serialize)]
struct KeepRow<'a> {
    merchant: &'a str,
    path: &'a str,
    key: &'a str,
    request: String,
    status: u16,
    body: &'a str,
}

/// Keeps answers under the keys that their requests still hold; tells how many did.
pub(super) async fn keep(
    dialect: Dialect,
    on: &mut AnyConnection,
    answers: &[&(KeyHolder, Answer)],
) -> Result<u64, StoreError> {
    if answers.is_empty() {
        return Ok(0);
    }
    let rows: Vec<_> = answers
        .iter()
        .map(|(holder, answer)| KeepRow {
            merchant: holder.merchant.as_str(),
            path: &holder.path,
            key: &holder.key,
            request: holder.request.to_string(),
            status: answer.status,
            body: &answer.body,
        })
        .collect();
    sqlx::query(KEEP.on(dialect))
        .bind(to_json(&rows))
        .execute(on)
        .await
        .map(|done| done.rows_affected())
        .doing("keep answers")
}
