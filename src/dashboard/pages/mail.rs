//! `/mails/{id}`: one mail from request to callback, and what may be done with it.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};

use super::callbacks::{answer_of, state_of_delivery};
use crate::{
    app::App,
    audit::Action,
    clock,
    dashboard::{
        causes::meaning_of,
        form::Act,
        layout,
        page_error::PageError,
        parts::{Badge, Button, Time},
        state::DashboardState,
        viewer::{Flash, Viewer, back_to},
        words,
    },
    http::Waiting,
    mail::{MailEvent, MailId, MailState, MerchantId, ReplyClass, Timestamp, WaitReason},
    store::{Attempt, AuditFilter, AuditRecord, DeliveryAbout, MailRecord, Moved, StoreError},
};

/// How many of the newest changes of a kind are looked at.
const LOOKED_AT: u32 = 200;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new()
        .route("/mails/{id}", get(show))
        .route("/mails/{id}/retry", post(retry))
        .route("/mails/{id}/cancel", post(cancel))
}

#[derive(Template)]
#[template(path = "dashboard/mail.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    id: String,
    state: Badge,
    recipient: String,
    waits: Option<String>,
    buttons: Vec<Button>,
    facts: Vec<Fact>,
    timeline: Vec<Event>,
    attempts: Vec<Tried>,
    told: Vec<CallbackRow>,
}

/// Something about a mail, perhaps with a page of its own.
struct Fact {
    name: &'static str,
    value: String,
    href: Option<String>,
    /// Whether it is something to copy.
    is_id: bool,
}

struct Event {
    at: Time,
    tone: &'static str,
    text: String,
    note: String,
}

/// What its merchant was told about it.
struct CallbackRow {
    event: String,
    state: Badge,
    answer: String,
    at: Time,
    href: String,
}

struct Tried {
    number: u32,
    at: Time,
    state: Badge,
    route: String,
    phase: String,
    took: String,
    class: ReplyClass,
    meaning: &'static str,
    reply: String,
    transcript: Option<String>,
}

pub(super) fn id_of(text: &str) -> Result<MailId, PageError> {
    text.parse().map_err(|_| PageError::not_found("mail"))
}

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (app, id) = (&board.app, id_of(&id)?);
    let mail = app.store.mail(viewer.merchant.as_ref(), id).await?;
    let mail = mail.ok_or_else(|| PageError::not_found("mail"))?;
    let attempts = app.store.attempts(id).await?;
    let told = app.store.deliveries_about(id).await?;
    let waiting = Waiting::of(app, &mail).await;
    let acted = acted_on(app, &mail).await?;
    let page = Page {
        viewer: &viewer,
        id: id.to_string(),
        state: Badge::of(mail.state),
        recipient: viewer.seen(&mail.recipient),
        waits: waiting.map(|waiting| in_words(&waiting)),
        buttons: buttons(&viewer, &mail),
        facts: facts(&viewer, &mail),
        timeline: timeline(&viewer, &mail, &attempts, &acted, &told),
        attempts: attempts.into_iter().map(|attempt| Tried::of(attempt, &viewer)).collect(),
        told: told.into_iter().map(|about| CallbackRow::of(about, &mail.merchant, &viewer)).collect(),
    };
    Ok(layout::page(&viewer, &format!("Mail to {}", page.recipient), &page))
}

/// Why a mail waits, as a sentence.
fn in_words(waiting: &Waiting) -> String {
    let about = match (&waiting.scope, &waiting.name) {
        (Some(scope), Some(name)) => format!(" of {scope} {name}"),
        (Some(scope), None) => format!(" of {scope}"),
        _ => String::new(),
    };
    let text = match waiting.reason {
        WaitReason::Rate => format!("It waits for the rate{about}"),
        WaitReason::Paused => format!("Somebody paused it{}", about.replacen(" of ", ": ", 1)),
        WaitReason::RouteAway => format!("The relay{about} is away"),
        WaitReason::NoConnection => format!("All connections{about} are in use"),
        WaitReason::Backoff => "The pause after the last attempt lasts".to_owned(),
        WaitReason::Scheduled => "It is not to be sent before its time".to_owned(),
        WaitReason::NoRoute => "No route takes it".to_owned(),
        WaitReason::BatchWindow => {
            "It waits for room in the queue: as many mails of batches wait there as may".to_owned()
        }
        WaitReason::Queued => "It waits for a worker; nothing keeps it back".to_owned(),
    };
    match waiting.until {
        Some(until) => {
            format!("{text}, until {} ({}).", words::time(until), words::distance(until, clock::now()))
        }
        None => format!("{text}."),
    }
}

fn buttons(viewer: &Viewer, mail: &MailRecord) -> Vec<Button> {
    let can = |event| mail.state.after(event).is_some() && viewer.acts();
    let to = |what: &str| format!("/mails/{}/{what}", mail.id);
    let mut buttons = Vec::new();
    if can(MailEvent::Retried) {
        let label = if mail.state == MailState::Held { "Release: send it" } else { "Try again now" };
        buttons.push(Button::new(viewer, to("retry"), label).primary());
    }
    if can(MailEvent::Cancelled) {
        let ask = "Cancel this mail? It is not sent.";
        buttons.push(Button::new(viewer, to("cancel"), "Cancel it").danger(ask));
    }
    buttons
}

fn facts(viewer: &Viewer, mail: &MailRecord) -> Vec<Fact> {
    let plain = |name, value: String| Some(Fact { name, value, href: None, is_id: false });
    let id = |name, value: String| Some(Fact { name, value, href: None, is_id: true });
    let page = |name, value: &Option<String>, kind: &str| {
        let value = value.clone()?;
        let href = Some(format!("/{kind}/{}", segment(&value)));
        Some(Fact { name, value, href, is_id: false })
    };
    let of_merchant = format!("/merchants/{}", mail.merchant);
    let origin = &mail.origin;
    [
        Some(Fact {
            name: "Merchant",
            value: mail.merchant.to_string(),
            href: Some(of_merchant),
            is_id: false,
        }),
        plain("Lane", mail.lane.to_string()),
        plain("Template", mail.template.clone()),
        page("Order", &origin.order, "orders"),
        page("Cart", &origin.cart, "carts"),
        page("Subscription", &origin.subscription, "subscriptions"),
        page("Batch", &origin.batch.map(|batch| batch.to_string()), "batches"),
        origin.member.as_ref().and_then(|member| plain("Member", viewer.seen(member))),
        id("Mail", mail.id.to_string()),
        id("Message-ID", mail.message_id.clone()),
        mail.route.clone().filter(|route| !route.is_empty()).and_then(|route| plain("Route", route)),
        mail.provider_id.clone().and_then(|given| id("Relay's id", given)),
        mail.schedule.send_at.and_then(|at| plain("To be sent", words::time(at))),
        mail.schedule.expires_at.and_then(|at| plain("Expires", words::time(at))),
        mail.cancel_reason.and_then(|why| plain("Not sent because", why.words().to_owned())),
        mail.is_test
            .then(|| "yes: it goes to the sandbox, never to a relay".to_owned())
            .and_then(|it| plain("Test", it)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An id as a part of a path.
pub(super) fn segment(id: &str) -> String {
    crate::dashboard::page_error::encoded(id).replace('+', "%20")
}

/// What people did to a mail by itself, as far as it is found among the newest of their kind.
async fn acted_on(app: &App, mail: &MailRecord) -> Result<Vec<AuditRecord>, StoreError> {
    let of = |action| AuditFilter {
        merchant: Some(mail.merchant.clone()),
        action: Some(action),
        since: Some(mail.recorded_at),
        limit: LOOKED_AT,
        ..AuditFilter::default()
    };
    let (retried, cancelled) = (of(Action::MailRetried), of(Action::MailCancelled));
    let (mut acted, cancelled) = tokio::try_join!(app.store.audit(&retried), app.store.audit(&cancelled))?;
    let id = mail.id.to_string();
    acted.extend(cancelled);
    acted.retain(|entry| entry.target == id);
    Ok(acted)
}

fn timeline(
    viewer: &Viewer,
    mail: &MailRecord,
    attempts: &[Attempt],
    acted: &[AuditRecord],
    told: &[DeliveryAbout],
) -> Vec<Event> {
    let event =
        |at: Timestamp, tone, text: String, note: String| (at, Event { at: Time(at), tone, text, note });
    let mut events = vec![event(mail.recorded_at, "good", "Recorded".to_owned(), String::new())];
    if mail.due_at > mail.recorded_at && attempts.is_empty() {
        events.push(event(mail.due_at, "", "Due".to_owned(), String::new()));
    }
    for attempt in attempts {
        let tone = match attempt.outcome.as_str() {
            "accepted" => "good",
            "transient" => "warn",
            _ => "bad",
        };
        let text = format!("Attempt {} over {}: {}", attempt.number, route_of(attempt), attempt.outcome);
        let note = format!("{} – {}", attempt.class, viewer.seen(&words::beginning(&attempt.reply, 300)));
        events.push(event(attempt.at, tone, text, note));
    }
    if let (MailState::Sending, Some(at)) = (mail.state, mail.claimed_at) {
        events.push(event(at, "", format!("Attempt {} begun", mail.attempt), String::new()));
    }
    if let Some(at) = mail.settled_at {
        let tone = match mail.state {
            MailState::Sent => "good",
            MailState::Failed | MailState::Bounced => "bad",
            _ => "warn",
        };
        let why = mail.cancel_reason.map_or_else(String::new, |why| format!("Not sent: {}.", why.words()));
        events.push(event(at, tone, format!("Settled: {}", mail.state), why));
    }
    for entry in acted {
        let what = if entry.action == Action::MailRetried { "Tried again" } else { "Cancelled" };
        events.push(event(entry.at, "", format!("{what} by {}", entry.actor), String::new()));
    }
    for DeliveryAbout { delivery, .. } in told {
        let kind = delivery.kind.as_deref().unwrap_or("what happened");
        let at = delivery.settled_at.unwrap_or(delivery.created_at);
        events.push(event(at, "", format!("Merchant told of {kind}: {}", delivery.state), String::new()));
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

fn route_of(attempt: &Attempt) -> &str {
    Some(attempt.route.as_str()).filter(|route| !route.is_empty()).unwrap_or("no route")
}

impl CallbackRow {
    fn of(about: DeliveryAbout, merchant: &MerchantId, viewer: &Viewer) -> Self {
        let delivery = about.delivery;
        Self {
            state: state_of_delivery(delivery.state),
            answer: answer_of(&delivery, viewer),
            at: Time(delivery.settled_at.unwrap_or(delivery.created_at)),
            href: format!("/callbacks/{merchant}/{}", about.endpoint),
            event: delivery.kind.unwrap_or_default(),
        }
    }
}

impl Tried {
    fn of(attempt: Attempt, viewer: &Viewer) -> Self {
        let state = match attempt.outcome.as_str() {
            "accepted" => Badge::good("accepted"),
            "transient" => Badge::warns("not now"),
            "permanent" => Badge::bad("refused"),
            other => Badge::warns(other),
        };
        let code = attempt.code.map(|code| format!("{code} ")).unwrap_or_default();
        let enhanced = attempt.enhanced.as_deref().filter(|code| !attempt.reply.starts_with(*code));
        let enhanced = enhanced.map(|code| format!("{code} ")).unwrap_or_default();
        Self {
            number: attempt.number,
            at: Time(attempt.at),
            state,
            route: route_of(&attempt).to_owned(),
            phase: attempt.phase.clone().unwrap_or_else(|| "nobody knows".to_owned()),
            took: words::length(Duration::from_millis(attempt.millis)),
            class: attempt.class,
            meaning: meaning_of(attempt.class),
            reply: viewer.seen(&format!("{code}{enhanced}{}", attempt.reply)),
            transcript: attempt.transcript.map(|transcript| viewer.seen(&transcript)),
        }
    }
}

async fn retry(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    move_mail(&board.app, &viewer, &id, MailEvent::Retried, "It is in the queue again.").await
}

async fn cancel(
    State(board): State<Arc<DashboardState>>,
    Path(id): Path<String>,
    Act { viewer, .. }: Act,
) -> Result<Response, PageError> {
    move_mail(&board.app, &viewer, &id, MailEvent::Cancelled, "It is cancelled.").await
}

async fn move_mail(
    app: &App,
    viewer: &Viewer,
    id: &str,
    event: MailEvent,
    done: &'static str,
) -> Result<Response, PageError> {
    viewer.may_act()?;
    let id = id_of(id)?;
    let merchant: Option<&MerchantId> = viewer.merchant.as_ref();
    let said = match viewer.store(app).move_mail(merchant, id, event).await? {
        Moved::Unknown => return Err(PageError::not_found("mail")),
        Moved::Refused(state) => Flash::not(format!("Nothing was done: the mail is {state} meanwhile.")),
        Moved::ToNobody => Flash::not("Nothing was done: the mail's recipient is gone.".to_owned()),
        Moved::Now(_) => {
            if let Some(due) = app.store.due_mail(id).await? {
                app.enqueue(due.into());
            }
            Flash::done(done)
        }
    };
    Ok(back_to(&format!("/mails/{id}"), said))
}
