//! Why a mail waits: from its row, its place in the queue, and what this process knows of the routes.
//!
//! Another process has another queue when the queue is embedded: there only the row tells.

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    app::App,
    clock, jobs,
    mail::{MailState, Timestamp, WaitReason},
    queue::{self, QueueError, Whereabouts},
    store::MailRecord,
};

/// What a mail waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Waiting {
    /// Why.
    pub reason: WaitReason,
    /// What it is about: `all`, `lane`, `merchant`, `domain` or `route`.
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
        let in_queue = in_queue(app, mail).await.ok().flatten();
        Some(in_queue.unwrap_or_else(|| for_a_worker(app)))
    }
}

async fn in_queue(app: &App, mail: &MailRecord) -> Result<Option<Waiting>, QueueError> {
    let places = app.queue.where_are(&[jobs::send_mail_id(mail.id)]).await?;
    match places.into_iter().next() {
        Some(Whereabouts::InLine { name, reason, until }) => {
            // Of several things that it waits for at once, the first.
            let scope = queue::parts(&name).next().unwrap_or(&name);
            Ok(Some(Waiting::at(reason, scope, until)))
        }
        Some(Whereabouts::Waiting) => {
            let status = app.queue.status().await?;
            let is_paused = status.lanes.iter().any(|lane| lane.lane == mail.lane.into() && lane.paused);
            let lane = || Waiting::at(WaitReason::Paused, &format!("lane:{}", mail.lane), None);
            Ok(is_paused.then(lane))
        }
        Some(Whereabouts::Leased | Whereabouts::Unknown) | None => Ok(None),
    }
}

/// Why no worker takes it, as far as this process knows.
fn for_a_worker(app: &App) -> Waiting {
    let queued = Waiting { reason: WaitReason::Queued, scope: None, name: None, until: None };
    if app.routes.is_empty() {
        return Waiting { reason: WaitReason::NoRoute, ..queued };
    }
    match app.admission.wait() {
        Some(wait) if wait.reason != WaitReason::Queued => Waiting {
            reason: wait.reason,
            scope: wait.route.as_ref().map(|_| "route".to_owned()),
            name: wait.route,
            until: wait.until.map(|until| clock::now() + until.saturating_duration_since(Instant::now())),
        },
        _ => queued,
    }
}
