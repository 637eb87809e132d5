//! Renders and signs a recorded mail, hands it to a route and records what the route said.
//!
//! Comes after the ingress, the fan-out or the scheduler, when the mail may go: see [`admission`](crate::admission). Its
//! connection is there before the claim, or comes free within milliseconds, so that a claim is followed at once by an
//! offer; a claim without an offer is given back. Running twice is harmless: a worker that cannot claim the mail leaves it alone.
//! A mail that was recorded as claimed (`hand_over.rs`) joins at [`carry_out`].

use std::{
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::timeout;

use super::{
    attached_files, before_sending,
    job::{Job, Outcome, Row, until_recorded},
};
use crate::{
    admission::{NotAdmitted, Offer, Permit},
    app::App,
    clock,
    cpu_pool::Share,
    limits::InFlightPermit,
    mail::{
        self, CrashPolicy, Mail, MailId, MailLane, Message, Phase, Reply, TraceParent, Tried,
        sandbox::SandboxFate,
    },
    render::{self, Headers, RenderError},
    smtp::{Envelope, Sent},
    store::{Settled, Settlement, StoreError},
    telemetry::{METRICS, metrics::RouteLabels, whole_millis},
    worker::AtWork,
};

/// How long a claimed mail waits for the connection that it was admitted ahead of; then its claim is given back.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);
/// How long a claimed mail that was held up waits for its rates to let it go; then its claim is given back.
const RATE_WAIT: Duration = Duration::from_secs(1);
/// A mail that something else than itself keeps back is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sends one mail, once.
pub struct SendMail {
    /// Which.
    pub mail: MailId,
    /// Its lane.
    pub lane: MailLane,
    /// The permit to send it. It was taken before the mail was fetched; without it the mail waits.
    pub permit: Mutex<Option<Permit>>,
}

#[async_trait]
impl Job for SendMail {
    const NAME: &'static str = "send_mail";

    async fn run(&self, app: &App) -> anyhow::Result<Outcome> {
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(permit) = permit.filter(|_| app.worker.may_begin()) else { return Ok(Outcome::Waits) };
        let Some(at_work) = app.worker.begin(self.mail.0, self.lane) else {
            return Ok(Outcome::NothingToDo);
        };
        let connection = match permit.is_ahead() {
            true => Ok(RelayConnection::Ahead(Box::new(permit))),
            // Nobody has claimed the mail, so there is nothing to give back.
            false => match unless_stopping(app, pin!(permit.connect())).await {
                Some(Ok(offer)) => Ok(RelayConnection::Now(Box::new(offer))),
                // The relay could not be reached: an attempt, as soon as the mail is claimed.
                Some(Err(NotAdmitted::Failed(reply))) => Err(reply),
                Some(Err(NotAdmitted::Later)) | None => return Ok(Outcome::Waits),
            },
        };
        let Some(mail) = at_work.claim(&app.store).await? else {
            connection.into_iter().for_each(RelayConnection::leave);
            return Ok(Outcome::NothingToDo);
        };
        match carry_out(app, &mail, Some(connection), &at_work).await? {
            Outcome::Postponed if at_work.give_back_now(&app.store, app.config.retry.rescues).await => {
                Ok(Outcome::Waits)
            }
            outcome => Ok(outcome),
        }
    }
}

/// Offers a claimed mail and records what came of it. Without a connection to a relay it goes to the sandbox or nowhere.
pub(super) async fn carry_out(
    app: &App,
    mail: &Mail,
    connection: Option<Result<RelayConnection, Reply>>,
    at_work: &AtWork,
) -> anyhow::Result<Outcome> {
    let started_at = clock::now();
    if let Some(why) = before_sending::why_not(mail, started_at) {
        connection.into_iter().flatten().for_each(RelayConnection::leave);
        let (outcome, settled) = before_sending::stop(app, mail, why, at_work).await?;
        note_settled(app, mail, settled);
        return Ok(outcome);
    }
    let offered = match connection.transpose() {
        Ok(connection) => offer(app, mail, connection, at_work).await.inspect_err(|error| {
            if error.downcast_ref().is_some_and(StoreError::may_pass) {
                at_work.retry_after(RETRY_AFTER);
            }
        })?,
        Err(unreachable) => Some(unreachable),
    };
    let Some(reply) = offered else {
        return Ok(Outcome::Postponed); // the claim is given back
    };
    let verdict = app.config.retry.judge(&reply, &tried(mail), clock::now(), rand::random());
    let verdict = verdict.until(mail.schedule.expires_at);
    note_attempt(mail, &reply);
    let settlement = Settlement::new(mail, app.worker.id, started_at, reply, verdict);
    let settle = || app.store.settle_mail(settlement.clone());
    let settled = until_recorded("an attempt", Row::Mail(mail.id), settle).await?;
    at_work.note_settled();
    note_settled(app, mail, settled);
    Ok(Outcome::Done)
}

fn tried(mail: &Mail) -> Tried {
    Tried {
        attempt: mail.attempt,
        rescues: mail.rescues,
        on_unknown: if mail.is_test { CrashPolicy::Hold } else { mail.on_crash },
        meant_for: mail.meant_for(),
    }
}

/// How a mail that is admitted gets to its connection.
pub(super) enum RelayConnection {
    /// It has one.
    Now(Box<Offer>),
    /// It waits for one with its message ready.
    Ahead(Box<Permit>),
}

impl RelayConnection {
    /// Leaves the connection to another mail.
    pub(super) fn leave(self) {
        if let Self::Now(offer) = self {
            offer.keep();
        }
    }
}

/// Renders a claimed mail and offers it to the relay, or to the sandbox: nobody else decides which. `None`: it was not
/// offered, and nothing is broken.
async fn offer(
    app: &App,
    mail: &Mail,
    connection: Option<RelayConnection>,
    at_work: &AtWork,
) -> anyhow::Result<Option<Reply>> {
    let (message, _room) = match message_of(app, mail).await? {
        Rendered::Message(message, room) => (message, room),
        Rendered::Refused(reply) => {
            connection.into_iter().for_each(RelayConnection::leave);
            return Ok(Some(reply));
        }
        Rendered::Busy => {
            connection.into_iter().for_each(RelayConnection::leave);
            at_work.retry_after(RETRY_AFTER);
            return Ok(None);
        }
    };
    if mail.is_test {
        connection.into_iter().for_each(RelayConnection::leave);
        let fate = SandboxFate::of(&mail.recipient.email);
        return Ok(Some(fate.reply(mail.id, Duration::ZERO)));
    }
    let Some(connection) = connection else {
        at_work.retry_after(Duration::ZERO); // its job is of another kind, and is enqueued at once
        return Ok(None);
    };
    match send_over(app, mail, connection, &message, at_work).await {
        Ok(reply) => Ok(Some(reply)),
        Err(after) => {
            at_work.retry_after(after);
            Ok(None)
        }
    }
}

/// Sends a message over the connection that the mail has, or will have. The error says after which time the mail may be tried
/// again: it was not offered, and nothing is broken.
async fn send_over(
    app: &App,
    mail: &Mail,
    connection: RelayConnection,
    message: &Message,
    at_work: &AtWork,
) -> Result<Reply, Duration> {
    let envelope = Envelope { sender: Some(&mail.sender.email), recipient: &mail.recipient.email };
    let offer = match connection {
        RelayConnection::Now(offer) => *offer,
        RelayConnection::Ahead(mut permit) => {
            let connected = pin!(async {
                let arrived = timeout(CONNECTION_WAIT, permit.arrive(mail.lane, &envelope, message)).await;
                arrived.map_err(|_| NotAdmitted::Later)?;
                permit.connect().await
            });
            match unless_stopping(app, connected).await {
                Some(Ok(offer)) => offer,
                Some(Err(NotAdmitted::Failed(reply))) => return Ok(reply),
                Some(Err(NotAdmitted::Later)) | None => return Err(Duration::ZERO),
            }
        }
    };
    let offer = offer.in_rate(RATE_WAIT).await.ok_or(Duration::ZERO)?;
    let sending = pin!(offer.send(&envelope, message, at_work));
    match unless_stopped_before_the_offer(app, at_work, sending).await {
        Some(Sent::Answered(reply)) => Ok(reply),
        Some(Sent::SenderWaits(pause)) => Err(pause),
        Some(Sent::Withheld | Sent::RouteWaits) | None => Err(Duration::ZERO),
    }
}

/// What comes of this, unless the process is asked to stop before. Pinned where it is made: moved here, it would take its room
/// twice.
async fn unless_stopping<T>(app: &App, what: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::select! {
        biased;
        done = what => Some(done),
        () = app.worker.stopping.cancelled() => None,
    }
}

/// What comes of sending, unless the process is asked to stop before the relay is offered the message: whatever a relay that
/// says nothing is waited for then, the mail is nobody's. From the offer on the relay may have it.
async fn unless_stopped_before_the_offer<T>(
    app: &App,
    at_work: &AtWork,
    sending: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let stopped = async {
        app.worker.stopping.cancelled().await;
        if at_work.is_offered() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        sent = sending => Some(sent),
        () = stopped => None,
    }
}

/// A mail as it goes over the wire: with its files, and signed where its sender's domain has keys. The inner error says why
/// it cannot be made.
///
/// # Errors
/// When the database does not answer, or its row cannot be read.
pub async fn source_of(app: &App, mail: &Mail) -> anyhow::Result<Result<Message, String>> {
    Ok(match message_of(app, mail).await? {
        Rendered::Message(message, _room) => Ok(message),
        Rendered::Refused(reply) => Err(reply.text),
        Rendered::Busy => Err("there is no room for it now".to_owned()),
    })
}

/// What became of a mail's values and its template.
enum Rendered {
    /// With the room that its files take until it is sent.
    Message(Message, Option<InFlightPermit>),
    /// It cannot be rendered: a refusal, on record like a relay's.
    Refused(Reply),
    /// Too much of the merchant's work waits for a thread, or there is no room for its files.
    Busy,
}

/// The mail's bytes, signed where its sender's domain has keys.
async fn message_of(app: &App, mail: &Mail) -> anyhow::Result<Rendered> {
    let share = || Share::Job(mail.merchant.clone());
    let link = app.unsubscribe_link(mail);
    let rendered = app.templates.render_mail(share, mail, link.as_deref()).await?;
    let Some(mut files) = attached_files::of(app, mail).await? else { return Ok(Rendered::Busy) };
    let headers = Headers::of(mail, clock::now()).with_link(link.as_deref().filter(|_| mail.is_promotional));
    let composed =
        rendered.and_then(|content| render::compose_with(&headers, &content, files.contents(mail)?));
    Ok(match composed {
        Ok(message) => {
            let message = app.signing.signed(&mail.merchant, &mail.sender.email, message).await?;
            Rendered::Message(message, files.room.take())
        }
        Err(RenderError::Busy) => Rendered::Busy,
        Err(error) => Rendered::Refused(Reply {
            outcome: mail::AttemptOutcome::Permanent,
            judgement: mail::Judgement::MESSAGE_FAULT,
            ..Reply::silent("", Phase::Render, error.to_string(), Duration::ZERO)
        }),
    })
}

fn note_attempt(mail: &Mail, reply: &Reply) {
    let class = reply.judgement.class.as_str();
    let labels = RouteLabels { route: reply.route.clone(), outcome: reply.outcome.as_str(), class };
    METRICS.attempts.get_or_create(&labels).inc();
    METRICS.attempt_seconds.observe(reply.took.as_secs_f64());
    tracing::info!(
        mail = %mail.id,
        merchant = %mail.merchant,
        attempt = mail.attempt,
        route = reply.route,
        phase = %reply.phase,
        outcome = %reply.outcome,
        class,
        code = reply.code,
        millis = whole_millis(reply.took),
        trace_id = mail.trace_parent.as_ref().map(TraceParent::trace_id),
        "attempt"
    );
}

fn note_settled(app: &App, mail: &Mail, settled: Settled) {
    if matches!(settled, Settled::Now { is_told: true, .. }) {
        app.callbacks_recorded.notify_one();
    }
    match settled {
        Settled::Now { state, .. } if state.is_settled() => {
            METRICS.count_settled(mail.lane, state, mail.is_test, 1);
            METRICS.delivery_seconds.observe(clock::now().since(mail.meant_for()).as_secs_f64());
        }
        Settled::Now { .. } => {}
        Settled::TooLate => {
            METRICS.settled_too_late.inc();
            tracing::warn!(mail = %mail.id, attempt = mail.attempt, "settled too late, the claim was gone");
        }
    }
}
