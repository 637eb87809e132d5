//! The small things that many pages show: a time, a state, a link to a mail, the next page.

use askama::Template;

use super::{viewer::Viewer, words};
use crate::{
    clock,
    mail::{BatchState, MailState, Timestamp},
    store::MailRecord,
};

/// A point in time; a script shows it in the viewer's zone.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "dashboard/parts/time.html")]
pub(super) struct Time(pub(super) Timestamp);

impl Time {
    fn written(&self) -> String {
        words::time(self.0)
    }
}

/// The same beside how long ago that was.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "dashboard/parts/ago.html")]
pub(super) struct Ago(pub(super) Timestamp);

impl Ago {
    fn distance(&self) -> String {
        words::distance(self.0, clock::now())
    }

    fn time(&self) -> Time {
        Time(self.0)
    }
}

/// How something is: a word, and a shape for those who do not see the colour.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/parts/badge.html")]
pub(super) struct Badge {
    tone: &'static str,
    shape: &'static str,
    word: String,
}

impl Badge {
    pub(super) fn good(word: impl Into<String>) -> Self {
        Self { tone: "good", shape: "●", word: word.into() }
    }

    pub(super) fn bad(word: impl Into<String>) -> Self {
        Self { tone: "bad", shape: "✕", word: word.into() }
    }

    pub(super) fn warns(word: impl Into<String>) -> Self {
        Self { tone: "warn", shape: "▲", word: word.into() }
    }

    pub(super) fn waits(word: impl Into<String>) -> Self {
        Self { tone: "waits", shape: "○", word: word.into() }
    }

    pub(super) fn works(word: impl Into<String>) -> Self {
        Self { tone: "works", shape: "▶", word: word.into() }
    }

    pub(super) fn over(word: impl Into<String>) -> Self {
        Self { tone: "over", shape: "–", word: word.into() }
    }

    /// What is only tried out: its mails go to the sandbox, never to a relay.
    pub(super) fn test(what: &str) -> Self {
        Self { tone: "over", shape: "–", word: format!("test {what}") }
    }

    pub(super) fn of(state: MailState) -> Self {
        let word = state.as_str();
        match state {
            MailState::Queued => Self::waits(word),
            MailState::Sending => Self::works(word),
            MailState::Deferred => Self { tone: "warn", shape: "◐", word: word.to_owned() },
            MailState::Sent => Self::good(word),
            MailState::Failed | MailState::Bounced => Self::bad(word),
            MailState::Held => Self { tone: "warn", shape: "‖", word: word.to_owned() },
            MailState::Suppressed | MailState::Cancelled | MailState::Expired => Self::over(word),
        }
    }

    pub(super) fn of_batch(state: BatchState, is_paused: bool) -> Self {
        let word = state.as_str();
        match state {
            _ if is_paused => Self { tone: "warn", shape: "‖", word: "paused".to_owned() },
            BatchState::Queued => Self::waits(word),
            BatchState::Processing => Self::works(word),
            BatchState::Finished => Self::good(word),
            BatchState::Cancelled => Self::over(word),
            BatchState::Failed => Self::bad(word),
        }
    }
}

/// A mail in a list.
#[derive(Clone, Debug)]
pub(super) struct MailLine {
    pub(super) id: String,
    pub(super) state: Badge,
    pub(super) recipient: String,
    pub(super) template: String,
    pub(super) merchant: String,
    pub(super) recorded: Time,
    pub(super) note: String,
}

impl MailLine {
    pub(super) fn of(mail: &MailRecord, viewer: &Viewer) -> Self {
        let error = mail.error.as_deref().filter(|_| mail.state != MailState::Sent).unwrap_or_default();
        let note = marked(mail, mail.cancel_reason.map_or(error, |why| why.words()));
        Self {
            id: mail.id.to_string(),
            state: Badge::of(mail.state),
            recipient: viewer.seen(&mail.recipient),
            template: mail.template.clone(),
            merchant: mail.merchant.to_string(),
            recorded: Time(mail.recorded_at),
            note: words::beginning(&viewer.seen(&note), 140),
        }
    }
}

/// What is said of a mail in a list, with the mark of one that is only tried out.
pub(super) fn marked(mail: &MailRecord, note: &str) -> String {
    match (mail.is_test, note) {
        (false, note) => note.to_owned(),
        (true, "") => "test mail".to_owned(),
        (true, note) => format!("test mail – {note}"),
    }
}

/// A field of a form that acts, and what it does when it is sent.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/parts/button.html")]
pub(super) struct Button {
    /// Where the form goes.
    pub(super) action: String,
    /// What the button says.
    pub(super) label: &'static str,
    /// What is asked before, where it cannot be undone.
    pub(super) confirm: Option<String>,
    pub(super) csrf: String,
    /// `primary`, `danger` or nothing.
    pub(super) look: &'static str,
    /// What is sent with it.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Button {
    pub(super) fn new(viewer: &Viewer, action: impl Into<String>, label: &'static str) -> Self {
        Self {
            action: action.into(),
            label,
            confirm: None,
            csrf: viewer.csrf.clone(),
            look: "",
            fields: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn primary(self) -> Self {
        Self { look: "primary", ..self }
    }

    pub(super) fn danger(self, confirm: impl Into<String>) -> Self {
        Self { look: "danger", confirm: Some(confirm.into()), ..self }
    }
}

/// What is said of a page beyond the end of its list, with the link to the list's first page.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/parts/no_more.html")]
pub(super) struct NoMore {
    href: String,
}

impl NoMore {
    /// Of a page without rows that does not begin its list; `href` is the page that does.
    pub(super) fn when(is_beyond: bool, href: impl Into<String>) -> Option<Self> {
        is_beyond.then(|| Self { href: href.into() })
    }
}

/// The link to the page after this one.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/parts/more.html")]
pub(super) struct More {
    pub(super) href: Option<String>,
    pub(super) label: &'static str,
}
