//! Claims of deliveries: as for mails, the row moves to `sending` with the worker's id in the statement that takes it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use secrecy::SecretString;
use serde::Serialize;

use super::secrets::EndpointSecrets;
use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MailLane, MerchantId, Timestamp, TraceParent, WorkerId},
    store::{
        claimable::{Claims, ClaimsOf},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        group::{Grouped, WriteOrder},
        row::Columns,
        sql::Sql,
        statement::query,
    },
};

/// Where a delivery goes, before anybody claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The endpoint, or none for a batch webhook.
    pub endpoint: Option<EndpointId>,
    /// Whose delivery it is.
    pub merchant: MerchantId,
    /// Names the receiver for counting what is under way to it.
    pub name: String,
}

/// A delivery that this worker has claimed.
#[derive(Debug)]
pub struct Callback {
    /// Its id.
    pub id: DeliveryId,
    /// Whose callback it is.
    pub merchant: MerchantId,
    /// The endpoint, or none for a batch webhook.
    pub endpoint: Option<EndpointId>,
    /// `webhook-id`: the event, or this delivery where there is none. The same on every attempt.
    pub webhook_id: String,
    /// Where it goes.
    pub url: String,
    /// The JSON body.
    pub body: String,
    /// What signs it, the newest first.
    pub secrets: Vec<SecretString>,
    /// Whether the endpoint still wants anything.
    pub enabled: bool,
    /// The number of this attempt, from 1. With the worker's id it fences the claim.
    pub attempt: u32,
    /// The number of this attempt since the delivery was recorded or last replayed.
    pub attempt_of_schedule: u32,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// The trace of the request that it came of.
    pub trace_parent: Option<TraceParent>,
}

/// The answer to a worker that wants a delivery.
#[derive(Debug)]
pub enum CallbackClaim {
    /// It is this worker's until it settles it or falls silent.
    Granted(Box<Callback>),
    /// Somebody else has it, it is not due, it is settled or gone.
    NotYours,
}

struct CallbackClaimRequest {
    delivery: DeliveryId,
    worker: WorkerId,
}

static DUE_DESTINATION: Sql = Sql::new(
    "SELECT deliveries.merchant_id, deliveries.endpoint_id, COALESCE(deliveries.url, endpoints.url) AS url
     FROM deliveries LEFT JOIN endpoints ON endpoints.id = deliveries.endpoint_id
     WHERE deliveries.id = $1 AND deliveries.state IN {delivery states before claimed} AND deliveries.due_at <= $2",
);

impl Store {
    /// Says where a delivery goes that is due; `None`: it is not due, or settled, or gone.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn due_destination(&self, delivery: DeliveryId) -> Result<Option<Destination>, StoreError> {
        let row = query(DUE_DESTINATION.on(self.dialect))
            .bind(delivery.to_string())
            .bind(clock::now().millis())
            .fetch_optional(&self.readers)
            .await
            .doing("find where a callback goes")?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns { table: "deliveries", row: &row };
        let merchant: MerchantId = columns.parsed("merchant_id")?;
        let endpoint: Option<EndpointId> = columns.optional_parsed("endpoint_id")?;
        let url = columns.optional_text("url")?.unwrap_or_default();
        let name = match &endpoint {
            // With another URL it is another receiver, which is not paused for what this one did.
            Some(endpoint) => format!("{endpoint} {:x}", hash_of(&url)),
            None => format!("{merchant} {}", host_of(&url)),
        };
        Ok(Some(Destination { endpoint, merchant, name }))
    }

    /// Claims a delivery that is due.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn claim_callback(
        &self,
        delivery: DeliveryId,
        worker: WorkerId,
    ) -> Result<CallbackClaim, StoreError> {
        let request = CallbackClaimRequest { delivery, worker };
        self.group.commit(request).await
    }
}

/// Stands for a URL, which may be long and hold a secret.
fn hash_of(url: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    hasher.finish()
}

fn host_of(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    parsed.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

static CLAIMS: LazyLock<Claims> = LazyLock::new(|| {
    Claims::new(&ClaimsOf {
        table: "deliveries",
        machine: "delivery",
        sets: ", wake_at = NULL",
        only: "",
        returns: "deliveries.id",
    })
});

static READ: Sql = Sql::new(
    "SELECT deliveries.id, deliveries.merchant_id, deliveries.endpoint_id, deliveries.attempt,
        deliveries.attempts_before, deliveries.created_at, COALESCE(deliveries.event_id, deliveries.id) AS webhook_id,
        COALESCE(deliveries.url, endpoints.url) AS url, COALESCE(deliveries.body, events.body) AS body,
        COALESCE(endpoints.secret, merchants.secret) AS secret, endpoints.previous_secret,
        endpoints.previous_secret_until, COALESCE(endpoints.enabled, 1) AS enabled, events.traceparent
     FROM {rows: id text}
     JOIN deliveries ON deliveries.id = rows.id
     JOIN merchants ON merchants.id = deliveries.merchant_id
     LEFT JOIN endpoints ON endpoints.id = deliveries.endpoint_id
     LEFT JOIN events ON events.id = deliveries.event_id",
);

#[derive(Serialize)]
struct Taken {
    id: String,
}

impl Grouped for CallbackClaimRequest {
    type Answer = CallbackClaim;

    const ORDER: WriteOrder = WriteOrder::ClaimCallbacks;

    fn lane(&self) -> MailLane {
        MailLane::Bulk
    }

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> Result<Vec<CallbackClaim>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let asked = requests.iter().map(|request| (request.delivery, request.worker));
        let rows = CLAIMS.take(dialect, &mut *on, asked, now).await?;
        let id = |row| Ok(Taken { id: Columns { table: "deliveries", row }.text("id")? });
        let taken = rows.iter().map(id).collect::<Result<Vec<_>, StoreError>>()?;
        let mut granted = HashMap::with_capacity(taken.len());
        if !taken.is_empty() {
            let rows = READ.with(dialect, &taken).fetch_all(on).await.doing("read claimed callbacks")?;
            for row in &rows {
                let callback = read(&Columns { table: "deliveries", row }, now)?;
                granted.insert(callback.id, callback);
            }
        }
        Ok(requests
            .iter()
            .map(|request| match granted.remove(&request.delivery) {
                Some(callback) => CallbackClaim::Granted(Box::new(callback)),
                None => CallbackClaim::NotYours,
            })
            .collect())
    }
}

fn read(columns: &Columns<'_>, now: Timestamp) -> Result<Callback, StoreError> {
    let number = |column| columns.integer(column).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let attempt = number("attempt")?;
    Ok(Callback {
        id: columns.parsed("id")?,
        merchant: columns.parsed("merchant_id")?,
        endpoint: columns.optional_parsed("endpoint_id")?,
        webhook_id: columns.text("webhook_id")?,
        url: columns.text("url")?,
        body: columns.text("body")?,
        secrets: EndpointSecrets::read(columns)?.in_force(now),
        enabled: columns.integer("enabled")? == 1,
        attempt,
        attempt_of_schedule: attempt.saturating_sub(number("attempts_before")?),
        created_at: columns.time("created_at")?,
        trace_parent: columns.optional_parsed("traceparent")?,
    })
}
