//! Settles: the state that the verdict asks for and the attempt behind it, fenced by worker and attempt number.

use serde::Serialize;
use sqlx::AnyConnection;

use crate::{
    clock,
    mail::{
        AttemptOutcome, BatchId, Mail, MailEvent, MailId, MailState, MerchantId, Reply, Timestamp, Verdict,
        WorkerId,
    },
    store::{
        Doing, Store, StoreError,
        batches::BatchMove,
        dialect::{Dialect, Sql},
        events::{self, MovedMail},
        group_commit::{Group, Grouped, Members},
        orders,
        row::{Columns, to_json},
    },
};

/// What a worker says of a mail that it claimed.
#[derive(Clone, Debug)]
pub struct Settlement {
    mail: MailId,
    merchant: MerchantId,
    worker: WorkerId,
    attempt: u32,
    is_about_an_order: bool,
    batch: Option<BatchId>,
    started_at: Timestamp,
    reply: Reply,
    state: MailState,
    due_at: Option<Timestamp>,
}

/// Whether the settlement was still the worker's to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The mail is in this state now.
    Now(MailState),
    /// The claim was gone: the worker came back too late and changed nothing.
    TooLate,
}

impl Settlement {
    /// What to write when the route gave `reply` and the policy made `verdict` of it.
    pub fn new(mail: &Mail, worker: WorkerId, started_at: Timestamp, reply: Reply, verdict: Verdict) -> Self {
        let (event, due_at) = match verdict {
            Verdict::Sent => (MailEvent::Accepted, None),
            Verdict::Failed => (MailEvent::Refused, None),
            Verdict::Expired => (MailEvent::TimedOut, None),
            Verdict::Held => (MailEvent::LostAndHeld, None),
            Verdict::Retry(due_at) => (MailEvent::PutOff, Some(due_at)),
        };
        let state = MailState::Sending.after(event).unwrap_or(MailState::Failed);
        Self {
            mail: mail.id,
            merchant: mail.merchant.clone(),
            worker,
            attempt: mail.attempt,
            is_about_an_order: mail.order.is_some(),
            batch: mail.batch,
            started_at,
            reply,
            state,
            due_at,
        }
    }

    /// What the batch's counts have to follow, where the mail is of one.
    pub(in crate::store) fn batch_move(&self) -> Option<BatchMove> {
        let is_first_try = self.attempt == 1;
        self.batch.map(|batch| BatchMove { batch, from: MailState::Sending, to: self.state, is_first_try })
    }

    fn moved(&self) -> MovedMail {
        MovedMail {
            id: self.mail,
            merchant: self.merchant.clone(),
            state: self.state,
            code: self.reply.code,
            enhanced_code: self.reply.enhanced.map(|code| code.to_string()),
            reply: Some(self.reply.text.clone()),
            class: Some(self.reply.judgement.class.as_str()),
        }
    }
}

impl Store {
    /// Records an attempt and moves its mail on.
    ///
    /// # Errors
    /// When the database cannot commit it.
    pub async fn settle_mail(&self, settlement: Settlement) -> Result<Settled, StoreError> {
        self.group.commit(settlement).await
    }
}

static SETTLE: Sql = Sql::new(
    "UPDATE mails SET state = rows.state, worker = NULL, wake_at = rows.due_at, route = rows.route,
        due_at = COALESCE(rows.due_at, mails.due_at), settled_at = rows.settled_at, provider_id = rows.provider_id,
        error = rows.error
     FROM {rows: id text, worker text, number bigint, state text, due_at bigint, route text, settled_at bigint,
        provider_id text, error text}
     WHERE mails.id = rows.id AND mails.state = 'sending' AND mails.worker = rows.worker
        AND mails.attempt = rows.number
     RETURNING mails.id",
);

static INSERT_ATTEMPTS: Sql = Sql::new(
    "INSERT INTO attempts (mail_id, number, worker, at, route, phase, outcome, code, enhanced, reply, millis,
        class, transcript)
     SELECT id, number, worker, at, route, phase, outcome, code, enhanced, reply, millis, class, transcript
     FROM {rows: id text, number bigint, worker text, at bigint, route text, phase text, outcome text, code bigint,
        enhanced text, reply text, millis bigint, class text, transcript text}",
);

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    worker: String,
    number: u32,
    state: &'static str,
    due_at: Option<i64>,
    settled_at: Option<i64>,
    route: &'a str,
    provider_id: Option<&'a str>,
    error: Option<String>,
    at: i64,
    phase: &'static str,
    outcome: &'static str,
    code: Option<u16>,
    enhanced: Option<String>,
    reply: &'a str,
    millis: u64,
    class: &'static str,
    transcript: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(settlement: &'a Settlement, now: Timestamp) -> Self {
        let Settlement { reply, state, .. } = settlement;
        Self {
            id: settlement.mail.to_string(),
            worker: settlement.worker.to_string(),
            number: settlement.attempt,
            state: state.as_str(),
            due_at: settlement.due_at.map(Timestamp::millis),
            settled_at: state.is_settled().then_some(now.millis()),
            route: &reply.route,
            provider_id: reply.provider_id.as_deref(),
            error: (reply.outcome != AttemptOutcome::Accepted).then(|| reply.to_string()),
            at: settlement.started_at.millis(),
            phase: reply.phase.as_str(),
            outcome: reply.outcome.as_str(),
            code: reply.code,
            enhanced: reply.enhanced.map(|code| code.to_string()),
            reply: &reply.text,
            millis: u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
            class: reply.judgement.class.as_str(),
            transcript: reply.transcript.as_deref(),
        }
    }
}

impl Grouped for Settlement {
    type Answer = Settled;

    fn members(group: &mut Group) -> &mut Members<Self> {
        &mut group.settles
    }

    async fn write(
        dialect: Dialect,
        on: &mut AnyConnection,
        requests: &[Self],
    ) -> Result<Vec<Settled>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let mut rows: Vec<_> = requests.iter().map(|settlement| Row::of(settlement, now)).collect();
        let moved = sqlx::query(SETTLE.on(dialect))
            .bind(to_json(&rows))
            .fetch_all(&mut *on)
            .await
            .doing("settle mails")?;
        let moved: std::collections::HashSet<String> =
            moved.iter().map(|row| Columns { table: "mails", row }.text("id")).collect::<Result<_, _>>()?;
        let answers = rows
            .iter()
            .zip(requests)
            .map(
                |(row, settlement)| {
                    if moved.contains(&row.id) { Settled::Now(settlement.state) } else { Settled::TooLate }
                },
            )
            .collect();
        rows.retain(|row| moved.contains(&row.id));
        if !rows.is_empty() {
            sqlx::query(INSERT_ATTEMPTS.on(dialect))
                .bind(to_json(&rows))
                .execute(&mut *on)
                .await
                .doing("record attempts")?;
        }
        let ours: Vec<_> =
            requests.iter().filter(|settlement| moved.contains(&settlement.mail.to_string())).collect();
        let of_orders = ours.iter().filter(|settlement| settlement.is_about_an_order);
        orders::follow(dialect, &mut *on, of_orders.map(|settlement| (settlement.mail, settlement.state)))
            .await?;
        let moved: Vec<_> = ours.iter().map(|settlement| settlement.moved()).collect();
        events::record_for_mails(dialect, on, &moved).await?;
        Ok(answers)
    }
}
