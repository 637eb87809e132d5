//! Claims: a mail moves to `sending` with the worker's id, in the statement that reads it.

use std::{collections::HashMap, sync::LazyLock};

use serde::Serialize;

use super::facts;
use crate::{
    clock,
    mail::{ClaimFacts, Mail, MailId, MailLane, MailState, Mailbox, Schedule, Unsubscribe, WorkerId},
    store::{
        claimable::{Claims, ClaimsOf},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::{Doing, StoreError},
        group::{Grouped, WriteOrder},
        row::Columns,
        sql::Sql,
        suppressions,
    },
};

/// The answer to a worker that wants a mail.
#[derive(Debug)]
pub enum Claim {
    /// The mail is this worker's until it settles it or falls silent.
    Granted(Box<Mail>),
    /// Somebody else has it, it is not due, or it is settled. `None`: there is no such mail.
    NotYours(Option<MailState>),
}

struct ClaimRequest {
    mail: MailId,
    worker: WorkerId,
    lane: MailLane,
}

impl Store {
    /// Claims a mail of this lane that is due.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn claim_mail(
        &self,
        mail: MailId,
        worker: WorkerId,
        lane: MailLane,
    ) -> Result<Claim, StoreError> {
        self.group.commit(ClaimRequest { mail, worker, lane }).await
    }
}

/// What a mail is read from.
pub(super) const COLUMNS: &str =
    "mails.id, merchant_id, lane, template_version, sender, reply_to, recipient_name, recipient,
    message_id, tags, on_crash, order_id, batch_id, recorded_at, send_at, expires_at, test, attempt, rescues, extras, traceparent,
    promotional, unsubscribe_token, unsubscribe_language";

static CLAIMS: LazyLock<Claims> = LazyLock::new(|| {
    Claims::new(&ClaimsOf {
        table: "mails",
        machine: "mail",
        // `wake_at`, and with it the only index that a claim could touch, stays as it is.
        sets: "",
        // Mails of a batch that is paused or cancelled stay where they are; correlated, for Postgres would pay for a
        // list of those batches once per mail.
        only: " AND NOT EXISTS (SELECT 1 FROM batches WHERE batches.id = mails.batch_id AND batches.stopped_at IS NOT NULL)",
        returns: RETURNS.as_str(),
    })
});

static RETURNS: LazyLock<String> = LazyLock::new(|| {
    format!("{COLUMNS}, {}, {} AS suppressed", *CLAIM_FACTS, suppressions::reason_of_mail("$2"))
});

/// Columns of a statement that claims mails: what is learned of each, beside `unsubscribe_token`.
pub(super) static CLAIM_FACTS: LazyLock<String> =
    LazyLock::new(|| format!("{}, {} AS was_bad_address", facts::COLUMNS, suppressions::WAS_REFUSED));

/// Whether anything is learned of a mail, in a statement that reads from the rows of another one with these columns.
pub(super) const HAS_CLAIM_FACTS: &str =
    "cart_id IS NOT NULL OR subscription_id IS NOT NULL OR order_template IS NOT NULL
    OR was_bad_address = 1 OR unsubscribe_token IS NOT NULL";

static STATES: Sql = Sql::new("SELECT mails.id, state FROM {rows: id text} JOIN mails ON mails.id = rows.id");

#[derive(Serialize)]
struct Refused {
    id: String,
}

impl Grouped for ClaimRequest {
    type Answer = Claim;

    const ORDER: WriteOrder = WriteOrder::ClaimMails;

    fn lane(&self) -> MailLane {
        self.lane
    }

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> Result<Vec<Claim>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let asked = requests.iter().map(|request| (request.mail, request.worker));
        let rows = CLAIMS.take(dialect, &mut *on, asked, now).await?;
        let mut granted = HashMap::with_capacity(rows.len());
        for row in &rows {
            let columns = Columns { table: "mails", row };
            let mail = Mail { suppressed: columns.optional_parsed("suppressed")?, ..read(&columns)? };
            let mail = mail.with_claim_facts(claim_facts(&columns)?);
            granted.insert(mail.id, mail);
        }
        let states = states_of(dialect, on, requests, &granted).await?;
        Ok(requests
            .iter()
            .map(|request| match granted.remove(&request.mail) {
                Some(mail) => Claim::Granted(Box::new(mail)),
                None => Claim::NotYours(states.get(&request.mail).copied()),
            })
            .collect())
    }
}

async fn states_of(
    dialect: Dialect,
    on: &mut Connection,
    requests: &[ClaimRequest],
    granted: &HashMap<MailId, Mail>,
) -> Result<HashMap<MailId, MailState>, StoreError> {
    let refused: Vec<Refused> = requests
        .iter()
        .filter(|request| !granted.contains_key(&request.mail))
        .map(|request| Refused { id: request.mail.to_string() })
        .collect();
    if refused.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = STATES.with(dialect, &refused).fetch_all(on).await.doing("say why mails were not claimed")?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "mails", row };
            Ok((columns.parsed("id")?, columns.parsed("state")?))
        })
        .collect()
}

pub(super) fn claim_facts(columns: &Columns<'_>) -> Result<ClaimFacts, StoreError> {
    Ok(ClaimFacts {
        facts: facts::read(columns)?,
        was_bad_address: columns.integer("was_bad_address")? == 1,
        unsubscribe_token: columns.optional_parsed("unsubscribe_token")?,
    })
}

pub(super) fn read(columns: &Columns<'_>) -> Result<Mail, StoreError> {
    Ok(Mail {
        id: columns.parsed("id")?,
        merchant: columns.parsed("merchant_id")?,
        lane: columns.parsed("lane")?,
        template_version: columns.text("template_version")?,
        sender: columns.json("sender")?,
        reply_to: columns.optional_json("reply_to")?,
        recipient: Mailbox {
            name: columns.optional_text("recipient_name")?,
            email: columns.parsed("recipient")?,
        },
        message_id: columns.text("message_id")?,
        values: columns.text("tags")?,
        on_crash: columns.parsed("on_crash")?,
        order: columns.optional_text("order_id")?,
        batch: columns.optional_parsed("batch_id")?,
        recorded_at: columns.time("recorded_at")?,
        schedule: Schedule {
            send_at: columns.optional_time("send_at")?,
            expires_at: columns.optional_time("expires_at")?,
        },
        is_test: columns.integer("test")? != 0,
        facts: None,
        extras: columns.optional_json("extras")?,
        attempt: u32::try_from(columns.integer("attempt")?).unwrap_or(u32::MAX),
        rescues: u32::try_from(columns.integer("rescues")?).unwrap_or(u32::MAX),
        trace_parent: columns.optional_parsed("traceparent")?,
        is_promotional: columns.integer("promotional")? == 1,
        unsubscribe: unsubscribe(columns)?,
        suppressed: None,
        was_bad_address: false,
    })
}

fn unsubscribe(columns: &Columns<'_>) -> Result<Option<Unsubscribe>, StoreError> {
    let token = columns.optional_parsed("unsubscribe_token")?;
    let language = columns.optional_text("unsubscribe_language")?.unwrap_or_default();
    Ok(token.map(|token| Unsubscribe { token, language }))
}
