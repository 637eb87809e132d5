//! Makes the mails of a batch, a chunk of its users at a time, as long as the queue has room for them; takes a batch back
//! that was cancelled.
//!
//! Comes after the ingress, after itself or after the scheduler; enqueues the mails that it makes. Between two chunks
//! another merchant's batch has its turn. Running twice is harmless: the transaction that writes a chunk's mails takes
//! the chunk away.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    job::{Job, Outcome, Row, job_id, until_recorded},
    mail_job::send_mail_job,
};
use crate::{
    app::App,
    clock,
    cpu_pool::Share,
    mail::{
        Address, BatchId, Lane, MailDraft, MailLane, MailState, Mailbox, MerchantId, NewMail, Origin,
        Schedule,
    },
    queue::QueuedJob,
    render::{RenderError, Values},
    shop::{
        TemplateVersion,
        filled_mail::{FilledMail, Filling, sender_of},
        identifier_in,
        mailing::{Brand, Member},
        pass::{self, PassSubject},
    },
    store::{
        BatchRecord, Chunk, MadeMail, Making, Merchant, NewPass, StagedChunk, Store, StoreError, TakenBack,
    },
    telemetry::{METRICS, Outage, chain},
};

/// Chunks whose mails the queue does not take.
static REFUSED: Outage = Outage::new();
/// What is stored of batches and their members, and cannot be read.
static UNREAD: Outage = Outage::new();

/// The lane of its mails.
const LANE: MailLane = MailLane::Bulk;
/// The most users in a chunk.
const CHUNK: u64 = StagedChunk::USERS as u64;
/// All batches together may keep so many windows of mails waiting.
const WINDOWS: u64 = 4;
/// Between two looks at a queue without room, or at mails that are just being sent.
const PUT_OFF_FOR: Duration = Duration::from_millis(250);
/// Mails that are made before another task has its turn.
const AT_A_STRETCH: usize = 50;
/// Stands where the address of a member was that is gone. No host has this name (RFC 2606, section 2).
const GONE: &str = "member-gone@postroom.invalid";

/// Takes a batch one step further.
pub struct FanOutBatch {
    /// Which.
    pub batch: BatchId,
}

/// The job that makes the next mails of a batch, or takes them back.
pub fn fan_out_batch_job(batch: BatchId, merchant: MerchantId) -> QueuedJob {
    QueuedJob::new(job_id::<FanOutBatch>(batch), Lane::Batch, merchant)
}

#[async_trait]
impl Job for FanOutBatch {
    const NAME: &'static str = "fan_out_batch";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let Some(batch) = app.store.batch(None, self.batch).await? else {
            return Ok(Outcome::NothingToDo);
        };
        if !batch.state.is_open() {
            return take_back(app, &batch).await;
        }
        if batch.stopped_at.is_some() {
            return Ok(Outcome::NothingToDo);
        }
        if !has_room(app, &batch).await? {
            // Until its time comes none of its mails goes, so that there is no room before.
            let until_its_time = batch.schedule.send_at.map(|at| at.since(clock::now())).unwrap_or_default();
            app.store.put_off_batch(batch.id, until_its_time.max(PUT_OFF_FOR)).await?;
            return Ok(Outcome::Postponed);
        }
        // Counted before the users are read: whatever ends this process is on record then.
        let Some((number, tries)) = app.store.begin_chunk(batch.id).await? else {
            let lacking = app.store.all_made(batch.id).await?;
            if lacking > 0 {
                tracing::error!(batch = %batch.id, lacking, "a batch has fewer mails than its request was answered");
            }
            return Ok(Outcome::Done);
        };
        let lost = tries.saturating_sub(1);
        if lost > 0 && lost >= app.config.retry.rescues {
            return give_up(app, &batch, &format!("its worker ended {lost} times over the same users")).await;
        }
        let mut counted = Counted { store: &app.store, batch: batch.id, number, stands: false };
        let made = make(app, &batch, number).await;
        // What ended it was no fault of the users.
        let is_forgiven = match &made {
            Ok(outcome) => *outcome == Outcome::Postponed,
            Err(error) => error.is::<StoreError>(),
        };
        counted.stands = true;
        if is_forgiven {
            app.store.forgive_chunk(batch.id, number).await?;
        }
        made
    }
}

/// A chunk that was begun. Where its job is given up, as that of a worker which is cut off from the database, that is no fault
/// of the users: it is forgiven as soon as the database takes that.
struct Counted<'a> {
    store: &'a Store,
    batch: BatchId,
    number: i64,
    stands: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.stands || std::thread::panicking() {
            return;
        }
        let (store, batch, number) = (self.store.clone(), self.batch, self.number);
        tokio::spawn(until_recorded("what a chunk is forgiven", Row::Batch(batch), move || {
            let store = store.clone();
            async move { store.forgive_chunk(batch, number).await }
        }));
    }
}

/// Makes the mails of a chunk.
async fn make(app: &App, batch: &BatchRecord, number: i64) -> anyhow::Result<Outcome> {
    let Some(chunk) = app.store.chunk(batch.id, number).await? else {
        return Ok(Outcome::NothingToDo);
    };
    match BatchContext::of(app, batch).await? {
        Ok(context) => context.make(app, &chunk).await,
        Err(why) => give_up(app, batch, why).await,
    }
}

/// Fails a batch that cannot be run; its webhook says why.
async fn give_up(app: &App, batch: &BatchRecord, why: &str) -> anyhow::Result<Outcome> {
    tracing::error!(batch = %batch.id, why, "a batch cannot be run");
    app.store.fail_batch(batch.id, why).await?;
    app.enqueue(fan_out_batch_job(batch.id, batch.merchant.clone()));
    Ok(Outcome::Done)
}

/// Whether another chunk's mails may wait in the queue. A batch of which none waits always has its chance.
async fn has_room(app: &App, batch: &BatchRecord) -> anyhow::Result<bool> {
    let window = app.config.batches.window;
    let waiting = batch.made.saturating_sub(batch.tried);
    if waiting == 0 {
        return Ok(true);
    }
    let lanes = app.queue.status().await?.lanes;
    let in_lane: u64 = lanes
        .iter()
        .filter(|status| status.lane == Lane::Bulk)
        .map(|status| status.waiting - status.set_aside)
        .sum();
    Ok(waiting + CHUNK <= window && in_lane + CHUNK <= window * WINDOWS)
}

/// Takes back what a closed batch has not sent.
async fn take_back(app: &App, batch: &BatchRecord) -> anyhow::Result<Outcome> {
    match app.store.take_back(batch.id, batch.state).await? {
        TakenBack::More { cancelled } => {
            METRICS.count_settled(LANE, MailState::Cancelled, batch.is_test, cancelled);
            app.enqueue(fan_out_batch_job(batch.id, batch.merchant.clone()));
        }
        TakenBack::Waits => app.store.put_off_batch(batch.id, PUT_OFF_FOR).await?,
        TakenBack::Done => return Ok(Outcome::NothingToDo),
    }
    Ok(Outcome::Done)
}

/// What all mails of a batch have in common.
struct BatchContext<'a> {
    batch: &'a BatchRecord,
    merchant: Merchant,
    brand: Brand,
    version: std::sync::Arc<TemplateVersion>,
}

impl<'a> BatchContext<'a> {
    /// Gathers it; the inner error says why the batch cannot be run at all.
    async fn of(app: &App, batch: &'a BatchRecord) -> anyhow::Result<Result<Self, &'static str>> {
        let Some(merchant) = app.store.merchant(&batch.merchant).await? else {
            return Ok(Err("the merchant is gone"));
        };
        let Some(version) = app.templates.version(&batch.template_version).await? else {
            return Ok(Err("the template's version is gone"));
        };
        let Some(brand) = read(batch.id, "the brand", &batch.brand) else {
            return Ok(Err("the brand cannot be read"));
        };
        Ok(Ok(Self { batch, merchant, brand, version }))
    }

    async fn make(&self, app: &App, chunk: &Chunk) -> anyhow::Result<Outcome> {
        // One user at a time becomes more than text: a chunk is small, what it says may be large.
        let Some(users) = read::<Vec<&RawValue>>(self.batch.id, "a chunk of its users", &chunk.users) else {
            return give_up(app, self.batch, "its users cannot be read").await;
        };
        let ids: Vec<Option<String>> = users.iter().map(|user| identifier(user)).collect();
        let named: Vec<&str> = ids.iter().flatten().map(String::as_str).collect();
        let members = app.store.members(&self.batch.merchant, &named).await?;
        let (mut made, mut passes) = (Vec::with_capacity(users.len()), Vec::new());
        for (index, (user, id)) in users.iter().zip(&ids).enumerate() {
            let Some((mail, pass)) = self.mail_for(app, id.as_deref(), user, &members).await? else {
                app.store.put_off_batch(self.batch.id, PUT_OFF_FOR).await?;
                return Ok(Outcome::Postponed);
            };
            made.push(mail);
            passes.extend(pass);
            if index % AT_A_STRETCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        let sendable = made.iter().filter(|made| made.error.is_none());
        // Those that wait for their time are enqueued by the scheduler.
        let due_now = sendable.filter(|made| !made.mail.is_scheduled());
        let mut jobs: Vec<QueuedJob> = due_now.map(|made| send_mail_job(&made.mail)).collect();
        jobs.push(fan_out_batch_job(self.batch.id, self.batch.merchant.clone()));
        let recorded = made.len();
        let making = app.store.make_mails(self.batch.id, chunk.number, made, passes).await?;
        let Making::Done(settled) = making else { return Ok(Outcome::NothingToDo) };
        let is_test = self.batch.is_test;
        settled.into_iter().for_each(|state| METRICS.count_settled(LANE, state, is_test, 1));
        METRICS.count_recorded(LANE, recorded as u64);
        if let Err(error) = app.queue.enqueue(&jobs).await
            && let Some(times) = REFUSED.failed()
        {
            tracing::warn!(
                error = %chain(&error),
                times,
                batch = %self.batch.id,
                "the queue takes no jobs, the scheduler will enqueue them"
            );
        }
        Ok(Outcome::Done)
    }

    /// The mail of a user and its pass; none while too much of the merchant's work waits for a thread. What cannot be
    /// read fails this mail alone.
    async fn mail_for(
        &self,
        app: &App,
        id: Option<&str>,
        user: &RawValue,
        members: &HashMap<String, String>,
    ) -> anyhow::Result<Option<(MadeMail, Option<NewPass>)>> {
        let unsendable = |why| self.unsendable(id, why).map(|made| Some((made, None)));
        let Some(id) = id else { return unsendable("the user object cannot be read") };
        let Some(member) = members.get(id) else { return unsendable("the member is gone") };
        let Some(member) = read::<Member>(self.batch.id, "a member's document", member) else {
            return unsendable("the member's document cannot be read");
        };
        // The member's document is that of now: another brand may have it since the request was answered.
        if member.brand_id.as_str() != self.batch.brand_id {
            return unsendable("the member is gone");
        }
        let Some(user) = read(self.batch.id, "a user object", user.get()) else {
            return unsendable("the user object cannot be read");
        };
        let pass = self.batch.coupon.as_ref().map(|coupon| self.pass_of(coupon, id));
        let pass_link = pass.as_ref().map(|pass| app.config.http.link_to(&pass::path_of(&pass.id)));
        let of_merchant = self.merchant.locale();
        let filling = Filling { user, link_to_pass: pass_link, of_merchant };
        let link_to = |path: &str| app.config.http.link_to(path);
        let filled = FilledMail::of(&self.version, LANE, (&self.brand, &member), filling, link_to);
        let FilledMail { values, consent, sender, reply_to } = filled;
        let values = Values::from(values);
        let share = || Share::Job(self.merchant.id.clone());
        let error = match app.templates.missing(share, &self.version, &values).await {
            Ok(missing) if missing.is_empty() => None,
            Ok(missing) => Some(format!("the template needs a value for {}", missing.join(", "))),
            Err(RenderError::Busy) => return Ok(None),
            Err(error) => Some(format!("the template cannot be rendered: {error}")),
        };
        let recipient = Mailbox { name: member.full_name(), email: member.email };
        let mail = self.mail(Some(id), (sender, reply_to), recipient, values.as_json());
        let mail = consent.applied_to(mail);
        Ok(Some((MadeMail { mail, error }, pass)))
    }

    /// The batch was answered that this user's mail is queued, so there is one to look up.
    fn unsendable(&self, id: Option<&str>, why: &str) -> anyhow::Result<MadeMail> {
        let email: Address = GONE.parse()?;
        let senders = sender_of(&self.version, &self.brand);
        let mail = self.mail(id, senders, Mailbox { name: None, email }, &Value::Object(Map::new()));
        Ok(MadeMail { mail, error: Some(why.to_owned()) })
    }

    fn pass_of(&self, coupon: &str, member: &str) -> NewPass {
        let subject =
            PassSubject { coupon: Some(coupon.to_owned()), storecard: None, member: member.to_owned() };
        let id = subject.secret_id(&self.merchant.secret);
        let merchant = self.merchant.id.clone();
        NewPass { id, merchant, subject, identifier: None, is_tried_out: self.batch.is_test }
    }

    fn mail(
        &self,
        member: Option<&str>,
        (sender, reply_to): (Mailbox, Option<Mailbox>),
        recipient: Mailbox,
        values: &Value,
    ) -> NewMail {
        let member = member.map(str::to_owned);
        let origin = Origin { member, batch: Some(self.batch.id), ..Origin::default() };
        NewMail::new(MailDraft {
            merchant: self.batch.merchant.clone(),
            lane: LANE,
            template: self.version.pinned(),
            sender,
            reply_to,
            recipient,
            values,
            origin,
            schedule: Schedule {
                send_at: self.batch.schedule.send_at.filter(|at| *at > clock::now()),
                ..self.batch.schedule
            },
            is_test: self.batch.is_test,
        })
    }
}

/// Reads what is stored. Of what cannot be read the log has the place and the kind of the fault: the words of the error may
/// quote a value.
fn read<'a, T: Deserialize<'a>>(batch: BatchId, what: &'static str, json: &'a str) -> Option<T> {
    let unread = |error: serde_json::Error| {
        if let Some(times) = UNREAD.failed() {
            let (line, column, fault) = (error.line(), error.column(), error.classify());
            tracing::error!(%batch, what, line, column, ?fault, times, "what a batch needs cannot be read");
        }
    };
    serde_json::from_str(json).map_err(unread).ok()
}

/// Whom a user object is about, as the request for the batch read it.
fn identifier(user: &RawValue) -> Option<String> {
    match identifier_in(user).ok()?? {
        Value::String(identifier) => Some(identifier),
        _ => None,
    }
}
