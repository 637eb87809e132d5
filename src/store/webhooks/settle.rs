//! Settles deliveries, fenced by worker and attempt number, and keeps watch over endpoints that fail.

use std::{sync::LazyLock, time::Duration};

use serde::Serialize;

use super::Callback;
use crate::{
    clock,
    mail::{DeliveryId, EndpointId, MailLane, Timestamp, WorkerId},
    store::{
        claimable::{Attempted, Settling, SettlingOf},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        group::{Grouped, WriteOrder},
        sql::Sql,
    },
    webhook::{CallbackReply, CallbackVerdict, DeliveryState},
};

/// An endpoint that has taken nothing for this long is disabled.
const LONGEST_FAILING: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// What a worker says of a delivery that it claimed.
#[derive(Clone, Debug)]
pub struct CallbackSettlement {
    delivery: DeliveryId,
    endpoint: Option<EndpointId>,
    url: String,
    worker: WorkerId,
    attempt: u32,
    started_at: Timestamp,
    reply: CallbackReply,
    verdict: CallbackVerdict,
    was_sent: bool,
}

/// Whether the settlement was still the worker's to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackSettled {
    /// The delivery is in this state now.
    Now(DeliveryState),
    /// The claim was gone: the worker came back too late and changed nothing.
    TooLate,
}

impl CallbackSettlement {
    /// What to write when the receiver gave `reply` and `verdict` was made of it.
    pub fn new(
        callback: &Callback,
        worker: WorkerId,
        started_at: Timestamp,
        reply: CallbackReply,
        verdict: CallbackVerdict,
    ) -> Self {
        Self {
            delivery: callback.id,
            endpoint: callback.endpoint,
            url: callback.url.clone(),
            worker,
            attempt: callback.attempt,
            started_at,
            reply,
            verdict,
            was_sent: callback.enabled,
        }
    }
}

impl Store {
    /// Records an attempt and moves its delivery on. An endpoint that answered 410, or took nothing for five days, is
    /// disabled in the same transaction, unless it has another URL by now: that one has said nothing.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn settle_callback(
        &self,
        settlement: CallbackSettlement,
    ) -> Result<CallbackSettled, StoreError> {
        self.group.commit(settlement).await
    }
}

static SETTLING: LazyLock<Settling> = LazyLock::new(|| {
    let keeps = "outcome text, status bigint, millis bigint, answer text";
    Settling::new(&SettlingOf {
        table: "deliveries",
        keeps,
        attempts: "delivery_attempts",
        of: "delivery_id",
        records: keeps,
        besides: "NULL::text",
    })
});

// Each names endpoints in $1, by the URL that was asked, and the time now in $2; those that need no change are not written.
static WORKS: Sql = Sql::new(
    "UPDATE endpoints SET failing_since = NULL
     WHERE (id, url) IN (SELECT rows.id, rows.url FROM {rows: id text, url text}) AND failing_since <= $2",
);
static FAILS: Sql = Sql::new(
    "UPDATE endpoints SET failing_since = $2
     WHERE (id, url) IN (SELECT rows.id, rows.url FROM {rows: id text, url text}) AND failing_since IS NULL",
);
// An endpoint that took nothing since $3 is disabled.
static FAILS_FOR_LONG: Sql = Sql::new(
    "UPDATE endpoints SET enabled = 0, disabled_reason = 'failing', disabled_at = $2, notified_at = NULL
     WHERE (id, url) IN (SELECT rows.id, rows.url FROM {rows: id text, url text}) AND enabled = 1 AND failing_since <= $3",
);
static GONE: Sql = Sql::new(
    "UPDATE endpoints SET enabled = 0, disabled_reason = 'gone', disabled_at = $2, notified_at = NULL
     WHERE (id, url) IN (SELECT rows.id, rows.url FROM {rows: id text, url text}) AND enabled = 1",
);

/// What a delivery keeps and records of an attempt.
#[derive(Serialize)]
struct Row<'a> {
    outcome: &'static str,
    status: Option<u16>,
    millis: u64,
    answer: &'a str,
}

fn row_of(settlement: &CallbackSettlement, now: Timestamp) -> Attempted<Row<'_>> {
    let CallbackSettlement { delivery, worker, attempt, started_at, reply, verdict, .. } = settlement;
    let row = Row {
        outcome: reply.outcome.as_str(),
        status: reply.status,
        millis: u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
        answer: &reply.text,
    };
    let due_at = match verdict {
        CallbackVerdict::Retry(at) => Some(*at),
        _ => None,
    };
    let state = verdict.state();
    Attempted::new(delivery.to_string(), *worker, *attempt, *started_at, row).into_state(
        state.as_str(),
        due_at,
        state.is_settled().then_some(now),
    )
}

impl Grouped for CallbackSettlement {
    type Answer = CallbackSettled;

    const ORDER: WriteOrder = WriteOrder::SettleCallbacks;

    fn lane(&self) -> MailLane {
        MailLane::Bulk
    }

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> Result<Vec<CallbackSettled>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let rows = requests.iter().map(|settlement| row_of(settlement, now)).collect();
        let moved = SETTLING.settle(dialect, &mut *on, rows).await?;
        let is_ours = |settlement: &&CallbackSettlement| moved.includes(settlement.delivery);
        watch_endpoints(dialect, on, requests.iter().filter(is_ours), now).await?;
        Ok(requests
            .iter()
            .map(|settlement| match is_ours(&settlement) {
                true => CallbackSettled::Now(settlement.verdict.state()),
                false => CallbackSettled::TooLate,
            })
            .collect())
    }
}

/// Notes which endpoints work, which fail, and disables those that must be.
async fn watch_endpoints<'a>(
    dialect: Dialect,
    on: &mut Connection,
    settlements: impl Iterator<Item = &'a CallbackSettlement>,
    now: Timestamp,
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Named<'a> {
        id: EndpointId,
        url: &'a str,
    }
    let (mut works, mut fails, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for settlement in settlements.filter(|settlement| settlement.was_sent) {
        let list = match settlement.verdict {
            CallbackVerdict::Delivered => &mut works,
            CallbackVerdict::Gone => &mut gone,
            CallbackVerdict::Retry(_) | CallbackVerdict::Failed => &mut fails,
        };
        list.extend(settlement.endpoint.map(|id| Named { id, url: &settlement.url }));
    }
    let since = |length| Some((now - length).millis());
    let changes = [
        (&GONE, &gone, None),
        (&FAILS, &fails, None),
        (&FAILS_FOR_LONG, &fails, since(LONGEST_FAILING)),
        (&WORKS, &works, None),
    ];
    for (statement, endpoints, since) in changes.into_iter().filter(|(_, endpoints, _)| !endpoints.is_empty())
    {
        let mut change = statement.with(dialect, endpoints).bind(now.millis());
        if let Some(since) = since {
            change = change.bind(since);
        }
        change.execute(&mut *on).await.doing("watch over endpoints")?;
    }
    Ok(())
}
