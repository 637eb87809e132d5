//! The catcher's HTML.
//!
//! The web side calls it; the templates lie in `templates/catcher/` and are part of the binary.

use std::{borrow::Cow, net::SocketAddr};

use askama::Template;
use serde::Deserialize;

use super::{
    Attachment, CaughtMail, Conduct, TABLE,
    list::{Entry, List},
    state::CatcherState,
};
use crate::html::written;

/// How much of a text or a source is shown in the pane, in bytes; the whole is a link away.
const MOST_SHOWN: usize = 512 * 1024;

pub(super) const SCRIPT: &str = include_str!("../../../templates/catcher/catcher.js");
pub(super) const STYLE: &str = include_str!("../../../templates/catcher/catcher.css");

/// What the pane shows of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum View {
    Html,
    Text,
    Source,
    Headers,
}

impl View {
    const ALL: [Self; 4] = [Self::Html, Self::Text, Self::Source, Self::Headers];

    /// Whether a mail can be shown so.
    fn is_of(self, mail: &CaughtMail) -> bool {
        match self {
            Self::Html => mail.html().is_some(),
            Self::Text => mail.text().is_some(),
            Self::Source | Self::Headers => true,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Html => "HTML",
            Self::Text => "Text",
            Self::Source => "Source",
            Self::Headers => "Headers",
        }
    }

    /// As the query says it.
    fn name(self) -> String {
        self.label().to_lowercase()
    }
}

/// The whole page.
#[derive(Template)]
#[template(path = "catcher/page.html")]
struct WholePage<'a> {
    mode: &'a str,
    caught: u64,
    cleared: u64,
    smtp: SocketAddr,
    rows: Rows<'a>,
    /// What stands in the pane; HTML.
    main: String,
    empty: EmptyPane,
}

/// What the pane says while no mail is open.
#[derive(Template)]
#[template(path = "catcher/empty.html")]
struct EmptyPane {
    command: String,
}

/// The steering words and how to send a mail.
#[derive(Template)]
#[template(path = "catcher/help.html")]
struct HelpPane {
    table: &'static [(&'static str, Conduct, &'static str)],
    command: String,
}

/// The open mail.
#[derive(Template)]
#[template(path = "catcher/pane.html")]
struct MailPane<'a> {
    mail: &'a CaughtMail,
    view: View,
    tabs: Vec<View>,
    /// As much of the text or the source as is shown.
    shown: &'a str,
    is_cut: bool,
}

/// A list's rows, with links to those that it leaves out.
#[derive(Template)]
#[template(path = "catcher/rows.html")]
struct Rows<'a> {
    lines: Vec<Line<'a>>,
    open: Option<u64>,
}

/// A line of the list.
enum Line<'a> {
    Mail(&'a CaughtMail),
    LeftOut { query: String, text: String },
}

/// The whole page: the list, and the open mail or what there is to say without one.
pub(super) fn page(state: &CatcherState, list: &List, open: Option<(&CaughtMail, Option<View>)>) -> String {
    let main = open.map_or_else(|| written(&EmptyPane::of(state)), |(mail, view)| pane(mail, view));
    let number = open.map(|(mail, _)| mail.number);
    whole(state, if number.is_some() { "reading" } else { "listing" }, Rows::of(list, number), main)
}

/// The page that explains the steering words and how to send a mail.
pub(super) fn help(state: &CatcherState) -> String {
    let main = written(&HelpPane { table: &TABLE, command: first_mail(state) });
    whole(state, "reading", Rows::of(&List::newest(&state.inbox), None), main)
}

fn whole(state: &CatcherState, mode: &str, rows: Rows<'_>, main: String) -> String {
    let tally = state.inbox.tally();
    written(&WholePage {
        mode,
        caught: tally.caught,
        cleared: tally.cleared,
        smtp: state.smtp,
        rows,
        main,
        empty: EmptyPane::of(state),
    })
}

impl EmptyPane {
    fn of(state: &CatcherState) -> Self {
        Self { command: first_mail(state) }
    }
}

/// A list's rows, with links to those that it leaves out.
pub(super) fn rows(list: &List, open: Option<u64>) -> String {
    written(&Rows::of(list, open))
}

impl<'a> Rows<'a> {
    fn of(list: &'a List, open: Option<u64>) -> Self {
        let left_out = |query, text: &str| Line::LeftOut { query, text: text.to_owned() };
        let line = |entry: &'a Entry| match entry {
            Entry::Mail(mail) => Line::Mail(mail),
            Entry::Folded { mails, after, before } => {
                left_out(format!("after={after}&before={before}"), &format!("{mails} more with this subject"))
            }
            Entry::Older { after: None, before } => left_out(format!("before={before}"), "Show older mails"),
            Entry::Older { after: Some(after), before } => {
                left_out(format!("after={after}&before={before}"), "Show more of these")
            }
        };
        Self { lines: list.entries.iter().map(line).collect(), open }
    }

    fn is_open(&self, mail: &CaughtMail) -> bool {
        self.open == Some(mail.number)
    }

    fn subject_of(mail: &CaughtMail) -> &str {
        Some(mail.subject()).filter(|subject| !subject.trim().is_empty()).unwrap_or("(no subject)")
    }

    /// When the mail was caught, as a clock shows it.
    fn clock_of(mail: &CaughtMail) -> String {
        mail.at.to_string().get(11..19).unwrap_or_default().to_owned()
    }
}

/// The open mail in the view that was asked for, if it has it, else in its best.
pub(super) fn pane(mail: &CaughtMail, view: Option<View>) -> String {
    let best = [View::Html, View::Text].into_iter().find(|view| view.is_of(mail)).unwrap_or(View::Source);
    let view = view.filter(|view| view.is_of(mail)).unwrap_or(best);
    let text = match view {
        View::Text => mail.text().unwrap_or_default().into(),
        View::Source => String::from_utf8_lossy(&mail.bytes),
        View::Html | View::Headers => Cow::Borrowed(""),
    };
    let shown = &text[..text.floor_char_boundary(MOST_SHOWN)];
    let tabs = View::ALL.into_iter().filter(|view| view.is_of(mail)).collect();
    written(&MailPane { mail, view, tabs, shown, is_cut: shown.len() < text.len() })
}

impl MailPane<'_> {
    fn size_of(file: &Attachment) -> String {
        size(file.size)
    }
}

/// A length in bytes as people say it.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} kB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

/// A command that sends a first mail to this catcher.
fn first_mail(state: &CatcherState) -> String {
    let options = &state.options;
    let scheme = if options.implicit_tls { "smtps" } else { "smtp" };
    let tls = match (&options.tls, options.implicit_tls) {
        (None, _) => "",
        (Some(_), true) => " --insecure",
        (Some(_), false) => " --ssl-reqd --insecure",
    };
    let login = if options.credentials.is_some() { " --user NAME:PASSWORD" } else { "" };
    format!(
        "printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' |\n  \
         curl {scheme}://{}{tls}{login} --mail-from shop@a.test --mail-rcpt you@b.test -T -",
        state.smtp
    )
}

/// Makes links open in a tab of their own: the frame could not leave its sandbox.
pub(super) fn with_links_in_new_tabs(html: &str) -> String {
    const BASE: &str = r#"<base target="_blank">"#;
    let lower = html.to_ascii_lowercase();
    let head = lower.find("<head").and_then(|start| lower[start..].find('>').map(|end| start + end + 1));
    match head {
        Some(place) => format!("{}{BASE}{}", &html[..place], &html[place..]),
        // Before a doctype it would change how the page is laid out; and a fragment has none.
        None if lower.trim_start().starts_with("<!") || lower.contains("<html") => html.to_owned(),
        None => format!("{BASE}{html}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_goes_where_it_leaves_the_layout_alone() {
        let base = r#"<base target="_blank">"#;
        for (html, changed) in [
            ("<p>Hi</p>", format!("{base}<p>Hi</p>")),
            ("<!doctype html><HEAD lang=a><title>", format!("<!doctype html><HEAD lang=a>{base}<title>")),
            (" <!doctype html><p>Hi", " <!doctype html><p>Hi".to_owned()),
        ] {
            assert_eq!(with_links_in_new_tabs(html), changed);
        }
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!([size(12), size(2_048), size(3_670_016)], ["12 B", "2.0 kB", "3.5 MB"]);
    }
}
