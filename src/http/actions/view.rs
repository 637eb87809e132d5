//! A bulk action as people and programs see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::mails::MailView,
    mail::{ActionKind, ActionResult, ActionState, Timestamp, search::MailCount},
    store::{ActionRecord, MailRecord, MailResult},
};

/// A bulk action.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionView {
    /// UUIDv7.
    pub id: String,
    /// What it does to each mail.
    pub kind: ActionKind,
    /// Which mails it is for. Times in it count back from `drafted_at`; later mails are not touched.
    pub q: String,
    /// Where it is on its way.
    pub state: ActionState,
    /// What happens to each mail.
    pub consequence: &'static str,
    /// How many mails it was for when it was drafted.
    pub matched: MailCount,
    /// For how many mails it is done.
    pub done: u64,
    /// How many mails it passed over: they moved meanwhile, or there was nothing to do.
    pub skipped: u64,
    /// Why it cannot be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who drafted it. Nobody else can confirm it.
    pub drafted_by: String,
    /// When it was drafted.
    #[schema(value_type = String)]
    pub drafted_at: Timestamp,
    /// Who confirmed it.
    pub confirmed_by: Option<String>,
    /// When it was confirmed.
    #[schema(value_type = Option<String>)]
    pub confirmed_at: Option<Timestamp>,
    /// Who stopped it.
    pub stopped_by: Option<String>,
    /// When it was stopped.
    #[schema(value_type = Option<String>)]
    pub stopped_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
    /// The newest of its mails, while it is a draft.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<MailView>,
}

/// What an action came to for a mail.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailResultView {
    /// The mail's id.
    pub mail: String,
    /// What it came to.
    pub result: ActionResult,
    /// Why the mail was passed over.
    pub why: Option<String>,
}

impl ActionView {
    /// Shows an action, with some of its mails.
    pub fn of(action: ActionRecord, sample: Vec<MailRecord>) -> Self {
        Self {
            id: action.id.to_string(),
            kind: action.kind,
            q: action.query,
            state: action.state,
            consequence: action.kind.consequence(),
            matched: action.matched,
            done: action.done,
            skipped: action.skipped,
            error: action.error,
            drafted_by: action.drafted_by,
            drafted_at: action.drafted_at,
            confirmed_by: action.confirmed_by,
            confirmed_at: action.confirmed_at,
            stopped_by: action.stopped_by,
            stopped_at: action.stopped_at,
            finished_at: action.finished_at,
            sample: sample.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MailResult> for MailResultView {
    fn from(result: MailResult) -> Self {
        Self { mail: result.mail.to_string(), result: result.result, why: result.why }
    }
}
