//! Settles: the state that the verdict asks for and the attempt behind it, fenced by worker and attempt number.

use std::sync::LazyLock;

use serde::Serialize;

use crate::{
    clock,
    mail::{
        AttemptOutcome, BatchId, Consequence, Judgement, Mail, MailEvent, MailId, MailLane, MailState,
        MerchantId, Reply, ReplyClass, Timestamp, Verdict, WorkerId,
    },
    store::{
        batches::{self, BatchMove},
        claimable::{Attempted, Settling, SettlingOf},
        connection::Connection,
        database::Store,
        dialect::Dialect,
        error::StoreError,
        events::{self, Listeners, MovedMail},
        group::{Grouped, WriteOrder},
        orders,
        suppressions::{self, AddressReply},
    },
};

/// What a worker says of a mail that it claimed.
#[derive(Clone, Debug)]
pub struct Settlement {
    mail: MailId,
    merchant: MerchantId,
    lane: MailLane,
    worker: WorkerId,
    attempt: u32,
    is_about_an_order: bool,
    batch: Option<BatchId>,
    started_at: Timestamp,
    reply: Reply,
    state: MailState,
    due_at: Option<Timestamp>,
    /// How often it was sent again, or will be, although a relay may have had it.
    rescues: u32,
    /// It was so often that a person shall decide.
    is_spent: bool,
    /// What the reply says of the recipient's address, where that is of note.
    address: Option<AddressReply>,
}

/// Whether the settlement was still the worker's to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was.
    Now {
        /// The mail is in this state.
        state: MailState,
        /// Whether callbacks wait that this settlement or one beside it caused.
        is_told: bool,
    },
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
            Verdict::Held | Verdict::HeldAfter(_) => (MailEvent::LostAndHeld, None),
            Verdict::Retry(due_at) => (MailEvent::PutOff, Some(due_at)),
        };
        let state = MailState::Sending.after(event).unwrap_or(MailState::Failed);
        let is_sent_again = due_at.is_some() && reply.outcome == AttemptOutcome::Unknown;
        Self {
            rescues: mail.rescues.saturating_add(u32::from(is_sent_again)),
            is_spent: matches!(verdict, Verdict::HeldAfter(_)),
            address: address_reply(mail, &reply),
            mail: mail.id,
            merchant: mail.merchant.clone(),
            lane: mail.lane,
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

    /// What the mail says of this attempt, for people.
    fn error(&self) -> Option<String> {
        let Self { reply, rescues, .. } = self;
        match reply.outcome {
            AttemptOutcome::Accepted => None,
            _ if self.is_spent => Some(format!(
                "{reply}; it was sent again {rescues} times already, the most that `retry.rescues` allows"
            )),
            _ => Some(reply.to_string()),
        }
    }

    /// What the batch's counts have to follow, where the mail is of one.
    fn batch_move(&self) -> Option<BatchMove> {
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

/// A refusal for good that counts towards suppression; or a success after one. The sandbox says nothing of an address.
fn address_reply(mail: &Mail, reply: &Reply) -> Option<AddressReply> {
    let Judgement { class, then, .. } = reply.judgement;
    let is_bad = then == Consequence::Suppress
        || (class == ReplyClass::BadAddress && reply.judgement.fails_the_mail());
    let is_good = mail.was_bad_address && reply.outcome == AttemptOutcome::Accepted;
    (!mail.is_test && (is_bad || is_good)).then(|| AddressReply {
        merchant: mail.merchant.clone(),
        key: mail.recipient.email.search_key(),
        is_good,
    })
}

impl Store {
    /// Records an attempt and moves its mail on.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn settle_mail(&self, settlement: Settlement) -> Result<Settled, StoreError> {
        self.group.commit(settlement).await
    }
}

static SETTLING: LazyLock<Settling> = LazyLock::new(|| {
    Settling::new(&SettlingOf {
        table: "mails",
        keeps: "route text, provider_id text, error text, class text, rescues bigint",
        attempts: "attempts",
        of: "mail_id",
        records: "route text, phase text, outcome text, code bigint, enhanced text, reply text, millis bigint, class text, transcript text",
        besides: events::LISTENERS_OF_MOVED,
    })
});

/// What a mail keeps and records of an attempt.
#[derive(Serialize)]
struct Row<'a> {
    route: &'a str,
    provider_id: Option<&'a str>,
    error: Option<String>,
    rescues: u32,
    phase: &'static str,
    outcome: &'static str,
    code: Option<u16>,
    enhanced: Option<String>,
    reply: &'a str,
    millis: u64,
    class: &'static str,
    transcript: Option<&'a str>,
}

fn row_of(settlement: &Settlement, now: Timestamp) -> Attempted<Row<'_>> {
    let Settlement { mail, worker, attempt, started_at, reply, state, due_at, rescues, .. } = settlement;
    let row = Row {
        route: &reply.route,
        provider_id: reply.provider_id.as_deref(),
        error: settlement.error(),
        rescues: *rescues,
        phase: reply.phase.as_str(),
        outcome: reply.outcome.as_str(),
        code: reply.code,
        enhanced: reply.enhanced.map(|code| code.to_string()),
        reply: &reply.text,
        millis: u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
        class: reply.judgement.class.as_str(),
        transcript: reply.transcript.as_deref(),
    };
    Attempted::new(mail.to_string(), *worker, *attempt, *started_at, row).into_state(
        state.as_str(),
        *due_at,
        state.is_settled().then_some(now),
    )
}

impl Grouped for Settlement {
    type Answer = Settled;

    const ORDER: WriteOrder = WriteOrder::SettleMails;

    fn lane(&self) -> MailLane {
        self.lane
    }

    async fn write(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
    ) -> Result<Vec<Settled>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let now = clock::now();
        let rows = requests.iter().map(|settlement| row_of(settlement, now)).collect();
        let moved = SETTLING.settle(dialect, on, rows).await?;
        let is_ours = |settlement: &&Settlement| moved.includes(settlement.mail);
        let ours: Vec<_> = requests.iter().filter(is_ours).collect();
        let of_orders = ours.iter().filter(|settlement| settlement.is_about_an_order);
        orders::follow(dialect, &mut *on, of_orders.map(|settlement| (settlement.mail, settlement.state)))
            .await?;
        let told: Vec<_> = ours.iter().map(|settlement| settlement.moved()).collect();
        let listeners = moved.besides.as_deref().map(Listeners::read).transpose()?;
        let is_told = events::record_for_listeners(dialect, on, &told, listeners).await? > 0;
        let replies = ours.iter().filter_map(|settlement| settlement.address.clone());
        suppressions::judge_replies(dialect, on, replies.collect()).await?;
        let answer = |settlement: &Settlement| match is_ours(&settlement) {
            true => Settled::Now { state: settlement.state, is_told },
            false => Settled::TooLate,
        };
        Ok(requests.iter().map(answer).collect())
    }

    async fn write_last(
        dialect: Dialect,
        on: &mut Connection,
        requests: &[Self],
        answers: &[Settled],
    ) -> Result<(), StoreError> {
        let settled =
            requests.iter().zip(answers).filter(|(_, answer)| matches!(answer, Settled::Now { .. }));
        let moves: Vec<_> = settled.filter_map(|(settlement, _)| settlement.batch_move()).collect();
        batches::follow(dialect, on, &moves).await
    }
}
