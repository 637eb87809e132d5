//! Idempotency keys: the first answer, kept for 24 hours per merchant and path.

use std::{collections::HashSet, time::Duration};

use futures_util::FutureExt;
use serde::Serialize;
use uuid::Uuid;

use super::{
    connection::Connection,
    database::Store,
    dialect::Dialect,
    error::{Doing, StoreError},
    group::{Grouped, WriteOrder},
    pending_write::WriteKind,
    rounds,
    row::Columns,
    sql::Sql,
    statement::query,
    steps::{STEP, in_steps},
};
use crate::{
    clock,
    mail::{MerchantId, Timestamp},
    telemetry::chain,
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request may hold a key before another may take it over: its process died.
const HELD: Duration = Duration::from_secs(60);

/// Between two tries to give a key back.
const RELEASE_AGAIN: Duration = Duration::from_secs(2);
/// How often a key is looked for whose reservation may still be committed: longer than a transaction can take.
const LATE_LOOKS: u32 = 12;

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

struct ReservationRequest {
    holder: KeyHolder,
    fingerprint: String,
}

impl Store {
    /// Reserves a key for a request whose body has this fingerprint.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn reserve_key(
        &self,
        holder: KeyHolder,
        fingerprint: String,
    ) -> Result<Reservation, StoreError> {
        self.group.commit(ReservationRequest { holder, fingerprint }).await
    }

    /// Keeps an answer that recorded nothing, such as a refusal.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn keep_answer(&self, holder: &KeyHolder, answer: &Answer) -> Result<(), StoreError> {
        let (dialect, kept) = (self.dialect, (holder.clone(), answer.clone()));
        self.writer
            .in_background()
            .run(move |on| async move { keep(dialect, on, &[&kept]).await.map(drop) }.boxed())
            .await
    }

    /// Gives a key back, so that the request can be made again; tells whether it was held.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn release_key(&self, holder: &KeyHolder) -> Result<bool, StoreError> {
        let release = query(
            "DELETE FROM idempotency
             WHERE merchant_id = $1 AND path = $2 AND key = $3 AND request = $4 AND status IS NULL",
        )
        .bind(holder.merchant.as_str())
        .bind(&holder.path)
        .bind(&holder.key)
        .bind(holder.request.to_string());
        self.writer.in_background().execute(release, "release an idempotency key").await.map(|rows| rows > 0)
    }

    /// Gives a key back without keeping anybody waiting, again and again until the database takes it or others may take
    /// the key over anyway. With `may_come_late` the commit of the reservation may still be under way: then the key is
    /// looked for as long as that can take.
    pub fn release_key_in_background(&self, holder: KeyHolder, may_come_late: bool) {
        let store = self.clone();
        let releasing = async move {
            let mut looks = if may_come_late { LATE_LOOKS } else { 1 };
            while looks > 0 {
                match store.release_key(&holder).await {
                    Ok(true) => return,
                    Ok(false) => looks -= 1,
                    Err(error) => {
                        tracing::debug!(
                            error = %chain(&error),
                            "an idempotency key could not be given back, trying again"
                        );
                    }
                }
                tokio::time::sleep(RELEASE_AGAIN).await;
            }
        };
        tokio::spawn(async move { tokio::time::timeout(HELD, releasing).await });
    }

    /// Forgets answers older than 24 hours; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_old_answers(&self) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - KEPT).millis();
        in_steps(STEP, || async {
            let delete = query(FORGET.on(self.dialect)).bind(long_ago).bind(STEP);
            self.writer.in_background().execute(delete, "forget old answers").await
        })
        .await
    }
}

static FORGET: Sql = Sql::new(
    "DELETE FROM idempotency WHERE created_at < $1 AND (merchant_id, path, key) IN (
        SELECT merchant_id, path, key FROM idempotency WHERE created_at < $1
        ORDER BY created_at LIMIT $2 {skip_locked})",
);

// Takes a key that is new, taken before $2, or whose holder died without an answer.
static RESERVE: Sql = Sql::new(
    "INSERT INTO idempotency (merchant_id, path, key, fingerprint, request, locked_until, created_at)
     SELECT merchant, path, key, fingerprint, request, locked_until, now
     FROM {rows: merchant text, path text, key text, fingerprint text, request text, locked_until bigint,
        now bigint} WHERE true
     ON CONFLICT (merchant_id, path, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        request = excluded.request, locked_until = excluded.locked_until, created_at = excluded.created_at,
        status = NULL, body = NULL
     WHERE idempotency.created_at < $2
        OR (idempotency.status IS NULL AND idempotency.locked_until < excluded.created_at
            AND idempotency.fingerprint = excluded.fingerprint)",
);

static HELD_BY: Sql = Sql::new(
    "SELECT n, fingerprint, request, locked_until, status, body
     FROM {rows: n bigint, merchant text, path text, key text}
     JOIN idempotency ON idempotency.merchant_id = rows.merchant AND idempotency.path = rows.path
        AND idempotency.key = rows.key",
);

#[derive(Serialize)]
struct ReserveRow<'a> {
    /// The place of its request.
    n: usize,
    merchant: &'a str,
    path: &'a str,
    key: &'a str,
    fingerprint: &'a str,
    request: String,
    locked_until: i64,
    now: i64,
}

impl<'a> ReserveRow<'a> {
    fn of(n: usize, request: &'a ReservationRequest, now: Timestamp) -> Self {
        let ReservationRequest { holder, fingerprint } = request;
        Self {
            n,
            merchant: holder.merchant.as_str(),
            path: &holder.path,
            key: &holder.key,
            fingerprint,
            request: holder.request.to_string(),
            locked_until: (now + HELD).millis(),
            now: now.millis(),
        }
    }

    /// What no other key has.
    fn name(&self) -> (&'a str, &'a str, &'a str) {
        (self.merchant, self.path, self.key)
    }
}

impl Grouped for ReservationRequest {
    type Answer = Reservation;

    const ORDER: WriteOrder = WriteOrder::ReserveKeys;

    // Nothing is promised yet.
    const KIND: WriteKind = WriteKind::Background;

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> Result<Vec<Reservation>, StoreError> {
        let now = clock::now();
        let mut answers: Vec<Option<Reservation>> = requests.iter().map(|_| None).collect();
        let rows = requests.iter().enumerate().map(|(n, request)| ReserveRow::of(n, request, now));
        for mut round in rounds::with_distinct_keys(rows.map(|row| (row.name(), row))) {
            // In one order, so that two groups never wait for each other.
            round.sort_unstable_by_key(ReserveRow::name);
            RESERVE
                .with(dialect, &round)
                .bind((now - KEPT).millis())
                .execute(&mut *on)
                .await
                .doing("reserve idempotency keys")?;
            let held = HELD_BY.with(dialect, &round).fetch_all(&mut *on).await;
            for row in &held.doing("read idempotency keys")? {
                let columns = Columns { table: "idempotency", row };
                let n = columns.place("n")?;
                if let Some((request, answer)) = requests.get(n).zip(answers.get_mut(n)) {
                    *answer = Some(judge(&columns, &request.holder, &request.fingerprint, now)?);
                }
            }
        }
        let missing = || StoreError::Corrupt {
            table: "idempotency",
            why: "a key that was reserved is gone".to_owned(),
        };
        answers.into_iter().map(|answer| answer.ok_or_else(missing)).collect()
    }
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
        AND idempotency.request = rows.request AND idempotency.status IS NULL
     RETURNING idempotency.request",
);

static TAKE_BACK: Sql = Sql::new(
    "UPDATE idempotency SET status = NULL, body = NULL
     FROM {rows: merchant text, path text, key text, request text, status bigint, body text}
     WHERE idempotency.merchant_id = rows.merchant AND idempotency.path = rows.path AND idempotency.key = rows.key
        AND idempotency.request = rows.request",
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

impl<'a> KeepRow<'a> {
    fn of((holder, answer): &'a (KeyHolder, Answer)) -> Self {
        Self {
            merchant: holder.merchant.as_str(),
            path: &holder.path,
            key: &holder.key,
            request: holder.request.to_string(),
            status: answer.status,
            body: &answer.body,
        }
    }
}

/// Keeps answers under the keys that their requests still hold; returns which requests do.
pub(super) async fn keep(
    dialect: Dialect,
    on: &mut Connection,
    answers: &[&(KeyHolder, Answer)],
) -> Result<HashSet<Uuid>, StoreError> {
    if answers.is_empty() {
        return Ok(HashSet::new());
    }
    let rows: Vec<_> = answers.iter().map(|answer| KeepRow::of(answer)).collect();
    let kept = KEEP.with(dialect, &rows).fetch_all(on).await.doing("keep answers")?;
    kept.iter().map(|row| Columns { table: "idempotency", row }.parsed("request")).collect()
}

/// Takes answers back that were kept in this transaction for what is not recorded after all.
pub(super) async fn take_back(
    dialect: Dialect,
    on: &mut Connection,
    answers: &[&(KeyHolder, Answer)],
) -> Result<(), StoreError> {
    if answers.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = answers.iter().map(|answer| KeepRow::of(answer)).collect();
    let query = TAKE_BACK.with(dialect, &rows);
    query.execute(on).await.map(drop).doing("take answers back")
}
