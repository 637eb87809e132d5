//! Why a mail waits: from its row, its place in the queue, and what this process knows of the routes.
//!
//! Another process has another queue when the queue is embedded: there only the row tells.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    app::App,
    clock, jobs,
    mail::{BatchId, MailState, PauseScope, Timestamp, WaitReason, domain_name},
    queue::{self, QueueError, Whereabouts},
    store::MailRecord,
};

/// What a mail waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// Why.
    pub reason: WaitReason,
    /// What it is about: `all`, `lane`, `merchant`, `domain`, `route`, `batch` or `sender`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Which of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When that may be over: for a rate or a pause, for the first of the mails that wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub until: Option<Timestamp>,
}

impl Waiting {
    fn until(reason: WaitReason, until: Timestamp) -> Self {
        Self { reason, scope: None, name: None, until: Some(until) }
    }

    fn at(reason: WaitReason, scope: &str, until: Option<Timestamp>) -> Self {
        let (scope, name) = match scope.split_once(':') {
            Some((scope, name)) => (scope, Some(name.to_owned())),
            None => (scope, None),
        };
        Self { reason, scope: Some(scope.to_owned()), name, until }
    }

    /// Why this mail waits; `None` when it is being sent or settled. A queue that does not answer is not waited for: then the row
    /// tells what it can.
    pub async fn of(app: &App, mail: &MailRecord) -> Option<Self> {
        if !matches!(mail.state, MailState::Queued | MailState::Deferred) {
            return None;
        }
        if mail.due_at > clock::now() {
            let reason = if mail.attempt > 0 { WaitReason::Backoff } else { WaitReason::Scheduled };
            return Some(Self::until(reason, mail.due_at));
        }
        if let Some(paused) = paused(app, mail).await {
            return Some(paused);
        }
        let in_queue = in_queue(app, mail).await.ok().flatten();
        Some(in_queue.unwrap_or_else(|| for_a_worker(app, mail)))
    }

    fn batch(reason: WaitReason, batch: BatchId) -> Self {
        Self { reason, scope: Some("batch".to_owned()), name: Some(batch.to_string()), until: None }
    }
}

/// Which pause holds a mail back, by what the database knows: that is the same in every process.
async fn paused(app: &App, mail: &MailRecord) -> Option<Waiting> {
    if let Some(id) = mail.origin.batch {
        let batch = app.store.batch(None, id).await.ok().flatten();
        if batch.is_some_and(|batch| batch.paused_at().is_some()) {
            return Some(Waiting::batch(WaitReason::Paused, id));
        }
    }
    let pauses = app.store.pauses().await.ok().filter(|pauses| !pauses.is_empty())?;
    let domain = mail.recipient.rsplit_once('@').and_then(|(_, domain)| domain_name(domain).ok());
    let is_about_it = |scope: &PauseScope| match scope {
        PauseScope::Lane(lane) => *lane == mail.lane.into(),
        PauseScope::Merchant(merchant) => *merchant == mail.merchant,
        PauseScope::Domain(name) => Some(name) == domain.as_ref(),
        PauseScope::Route(_) => false,
    };
    let is_of_a_route = |name: &str| {
        pauses.iter().any(|pause| matches!(&pause.scope, PauseScope::Route(route) if route == name))
    };
    let of_it: Vec<_> = pauses.iter().filter(|pause| is_about_it(&pause.scope)).collect();
    // A route's pause holds it back when no other route is left.
    let of_routes = || {
        let has_none_left =
            !app.routes.is_empty() && app.routes.all().iter().all(|route| is_of_a_route(route.name()));
        pauses.iter().filter(|pause| has_none_left && matches!(pause.scope, PauseScope::Route(_))).collect()
    };
    let all: Vec<_> = if of_it.is_empty() { of_routes() } else { of_it };
    // Of several the one that ends last.
    let last = all.into_iter().max_by_key(|pause| pause.ends_at.unwrap_or(Timestamp(i64::MAX)))?;
    Some(Waiting::at(WaitReason::Paused, &last.scope.to_string(), last.ends_at))
}

async fn in_queue(app: &App, mail: &MailRecord) -> Result<Option<Waiting>, QueueError> {
    let places = app.queue.where_are(&[jobs::send_mail_id(mail.id, mail.is_test)]).await?;
    match places.into_iter().next() {
        Some(Whereabouts::InLine { name, reason, until }) => {
            // Of several things that it waits for at once, the first.
            let scope = queue::parts(&name).next().unwrap_or(&name);
            Ok(Some(Waiting::at(reason, scope, until)))
        }
        // The scheduler leaves it in the database as long as there are enough others in the queue.
        Some(Whereabouts::Unknown) => match mail.origin.batch {
            Some(batch) if !app.queue.status().await?.has_room(mail.lane.into()) => {
                Ok(Some(Waiting::batch(WaitReason::BatchWindow, batch)))
            }
            _ => Ok(None),
        },
        Some(Whereabouts::Waiting | Whereabouts::Leased) | None => Ok(None),
    }
}

/// Why no worker takes it, as far as this process knows.
fn for_a_worker(app: &App, mail: &MailRecord) -> Waiting {
    let queued = Waiting { reason: WaitReason::Queued, scope: None, name: None, until: None };
    if app.routes.is_empty() && !mail.is_test {
        return Waiting { reason: WaitReason::NoRoute, ..queued };
    }
    match app.admission.wait().filter(|_| !mail.is_test) {
        Some(wait) if wait.reason != WaitReason::Queued => Waiting {
            reason: wait.reason,
            scope: wait.route.as_ref().map(|_| "route".to_owned()),
            name: wait.route,
            until: wait.until.map(|until| clock::now() + until.saturating_duration_since(Instant::now())),
        },
        _ => queued,
    }
}
