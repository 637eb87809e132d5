//! The catcher's HTML: templates filled with values that are escaped unless they are HTML already.
//!
//! The web side calls it; the templates lie in `templates/catcher/` and are part of the binary.

use std::fmt::Write;

use serde::Deserialize;

use super::{
    Attachment, CaughtMail, TABLE,
    house::House,
    list::{Entry, List},
};

/// How much of a text or a source is shown in the pane, in bytes; the whole is a link away.
const MOST_SHOWN: usize = 512 * 1024;

pub(super) const SCRIPT: &str = include_str!("../../../templates/catcher/catcher.js");
pub(super) const STYLE: &str = include_str!("../../../templates/catcher/catcher.css");
const PAGE: &str = include_str!("../../../templates/catcher/page.html");
const ROW: &str = include_str!("../../../templates/catcher/row.html");
const PANE: &str = include_str!("../../../templates/catcher/pane.html");
const EMPTY: &str = include_str!("../../../templates/catcher/empty.html");
const HELP: &str = include_str!("../../../templates/catcher/help.html");

/// What the pane shows of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum View {
    Html,
    Text,
    Source,
    Headers,
}

/// HTML that may be put on a page.
struct Markup(String);

impl Markup {
    fn text(text: &str) -> Self {
        let mut markup = String::with_capacity(text.len() + text.len() / 8);
        for character in text.chars() {
            match character {
                '&' => markup.push_str("&amp;"),
                '<' => markup.push_str("&lt;"),
                '>' => markup.push_str("&gt;"),
                '"' => markup.push_str("&quot;"),
                '\'' => markup.push_str("&#39;"),
                other => markup.push(other),
            }
        }
        Self(markup)
    }

    fn none() -> Self {
        Self(String::new())
    }

    /// `markup` if so, else nothing.
    fn when(so: bool, markup: &'static str) -> Self {
        Self(if so { markup.to_owned() } else { String::new() })
    }
}

/// Puts the values in the place of their `{{name}}`. A name without a value stays empty.
fn fill(template: &str, values: &[(&str, Markup)]) -> Markup {
    let mut pieces = template.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        let value = values.iter().find(|(key, _)| *key == name);
        debug_assert!(value.is_some(), "the template asks for {name}");
        filled.push_str(value.map_or("", |(_, Markup(value))| value));
        filled.push_str(rest);
    }
    Markup(filled)
}

/// The whole page: the list, and the open mail or what there is to say without one.
pub(super) fn page(house: &House, list: &List, open: Option<(&CaughtMail, Option<View>)>) -> String {
    let main = open.map_or_else(|| empty(house).0, |(mail, view)| pane(mail, view));
    let number = open.map(|(mail, _)| mail.number);
    whole(house, if number.is_some() { "reading" } else { "listing" }, rows(list, number), main)
}

/// What the pane says while no mail is open.
fn empty(house: &House) -> Markup {
    fill(EMPTY, &[("command", Markup::text(&first_mail(house)))])
}

/// The page that explains the steering words and how to send a mail.
pub(super) fn help(house: &House) -> String {
    let mut table = String::new();
    for (word, _, meaning) in TABLE {
        let _ = write!(table, "<tr><th><code>{word}</code></th><td>{}</td></tr>", Markup::text(meaning).0);
    }
    let values = [("table", Markup(table)), ("command", Markup::text(&first_mail(house)))];
    whole(house, "reading", rows(&List::newest(&house.inbox), None), fill(HELP, &values).0)
}

fn whole(house: &House, mode: &str, rows: String, main: String) -> String {
    let tally = house.inbox.tally();
    let values = [
        ("mode", Markup::text(mode)),
        ("caught", Markup::text(&tally.caught.to_string())),
        ("cleared", Markup::text(&tally.cleared.to_string())),
        ("smtp", Markup::text(&house.smtp.to_string())),
        ("rows", Markup(rows)),
        ("main", Markup(main)),
        ("empty", empty(house)),
    ];
    fill(PAGE, &values).0
}

/// A list's rows, with links to those that it leaves out.
pub(super) fn rows(list: &List, open: Option<u64>) -> String {
    let mut rows = String::new();
    for entry in &list.entries {
        match entry {
            Entry::Mail(mail) => rows.push_str(&row(mail, open == Some(mail.number)).0),
            Entry::Folded { mails, after, before } => {
                let text = format!("{mails} more with this subject");
                rows.push_str(&left_out(&format!("after={after}&amp;before={before}"), &text));
            }
            Entry::Older { after: None, before } => {
                rows.push_str(&left_out(&format!("before={before}"), "Show older mails"));
            }
            Entry::Older { after: Some(after), before } => {
                rows.push_str(&left_out(&format!("after={after}&amp;before={before}"), "Show more of these"));
            }
        }
    }
    rows
}

fn left_out(query: &str, text: &str) -> String {
    format!(r#"<li class="older"><a href="/?{query}">{text}</a></li>"#)
}

fn row(mail: &CaughtMail, open: bool) -> Markup {
    let subject = Some(mail.subject()).filter(|subject| !subject.trim().is_empty()).unwrap_or("(no subject)");
    let values = [
        ("number", Markup::text(&mail.number.to_string())),
        ("current", Markup::when(open, r#" aria-current="true""#)),
        ("at", Markup::text(&mail.at.to_string())),
        ("clock", Markup::text(mail.at.to_string().get(11..19).unwrap_or_default())),
        ("to", Markup::text(mail.to())),
        ("from", Markup::text(mail.from())),
        ("subject", Markup::text(subject)),
        ("size", Markup::text(&size(mail.bytes.len()))),
        ("badges", badges(mail)),
    ];
    fill(ROW, &values)
}

fn badges(mail: &CaughtMail) -> Markup {
    let tls = Markup::when(mail.tls, r#"<span class="badge" title="Came over TLS">TLS</span>"#);
    let lost = Markup::when(
        !mail.answered,
        r#"<span class="badge warn" title="The final dot was not answered">unanswered</span>"#,
    );
    Markup(tls.0 + &lost.0)
}

/// The open mail in the view that was asked for, if it has it, else in its best.
pub(super) fn pane(mail: &CaughtMail, view: Option<View>) -> String {
    let has = |view| match view {
        View::Html => mail.html().is_some(),
        View::Text => mail.text().is_some(),
        View::Source | View::Headers => true,
    };
    let best = [View::Html, View::Text].into_iter().find(|view| has(*view)).unwrap_or(View::Source);
    let view = view.filter(|view| has(*view)).unwrap_or(best);
    let all =
        [(View::Html, "HTML"), (View::Text, "Text"), (View::Source, "Source"), (View::Headers, "Headers")];
    let tabs = all.into_iter().filter(|(view, _)| has(*view)).map(|(each, label)| {
        let (number, name) = (mail.number, label.to_lowercase());
        let current = if each == view { r#" aria-current="true""# } else { "" };
        format!(r#"<a href="/mails/{number}?view={name}" data-view="{name}"{current}>{label}</a>"#)
    });
    let body = match view {
        View::Html => frame(mail),
        View::Text => excerpt(mail.text().unwrap_or_default()),
        View::Source => excerpt(&String::from_utf8_lossy(&mail.bytes)),
        View::Headers => headers(mail),
    };
    let values = [
        ("number", Markup::text(&mail.number.to_string())),
        ("subject", row_subject(mail)),
        ("from", Markup::text(mail.from())),
        ("to", Markup::text(mail.to())),
        ("envelope", envelope(mail)),
        ("at", Markup::text(&mail.at.to_string())),
        ("date", Markup::text(&mail.at.to_rfc5322())),
        ("size", Markup::text(&size(mail.bytes.len()))),
        ("badges", badges(mail)),
        ("attachments", attachments(mail)),
        ("tabs", Markup(tabs.collect())),
        ("tools", Markup::when(view == View::Html, TOOLS)),
        ("body", body),
    ];
    fill(PANE, &values).0
}

/// The buttons that only make sense beside an HTML frame; the script gives them life and shows them.
const TOOLS: &str = r#"<span class="tools" hidden>
<span class="group" role="group" aria-label="Width"><button type="button" data-width="320">320</button><button type="button" data-width="600">600</button><button type="button" data-width="full">Full</button></span>
<span class="group" role="group" aria-label="Colours"><button type="button" data-scheme="light">Light</button><button type="button" data-scheme="dark">Dark</button></span>
</span>"#;

fn row_subject(mail: &CaughtMail) -> Markup {
    match mail.subject().trim() {
        "" => Markup(r#"<span class="muted">(no subject)</span>"#.to_owned()),
        subject => Markup::text(subject),
    }
}

/// The envelope's recipient where the header `To` does not name it.
fn envelope(mail: &CaughtMail) -> Markup {
    if mail.to().contains(&mail.recipient) {
        return Markup::none();
    }
    Markup(format!("<dt>For</dt><dd>{}</dd>", Markup::text(&mail.recipient).0))
}

fn attachments(mail: &CaughtMail) -> Markup {
    let each = mail.attachments().iter().map(|attachment| {
        let Attachment { name, media_type, size: bytes } = attachment;
        format!(
            "<dt>File</dt><dd>{}</dd>",
            Markup::text(&format!("{name} ({media_type}, {})", size(*bytes))).0
        )
    });
    Markup(each.collect())
}

fn frame(mail: &CaughtMail) -> Markup {
    Markup(format!(
        r#"<div class="stage"><iframe title="The mail" src="/mails/{}/html" sandbox="allow-popups allow-popups-to-escape-sandbox"></iframe></div>"#,
        mail.number
    ))
}

fn headers(mail: &CaughtMail) -> Markup {
    let rows = mail.headers().iter().map(|(name, value)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", Markup::text(name).0, Markup::text(value).0)
    });
    Markup(format!(r#"<table class="headers">{}</table>"#, rows.collect::<String>()))
}

fn excerpt(text: &str) -> Markup {
    let shown = &text[..text.floor_char_boundary(MOST_SHOWN)];
    let cut =
        if shown.len() < text.len() { r#"<p class="muted">Only the beginning is shown.</p>"# } else { "" };
    Markup(format!("<pre>{}</pre>{cut}", Markup::text(shown).0))
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
fn first_mail(house: &House) -> String {
    let options = &house.options;
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
        house.smtp
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
    fn what_is_not_html_is_escaped() {
        let filled = fill(
            "<p title=\"{{a}}\">{{b}}</p>",
            &[("a", Markup::text("\"><script>alert('1 & 2')</script>")), ("b", Markup("<b>bold</b>".into()))],
        );
        assert_eq!(
            filled.0,
            "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt;\"><b>bold</b></p>"
        );
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_filled_again() {
        assert_eq!(fill("{{a}}", &[("a", Markup::text("{{a}}"))]).0, "{{a}}");
    }

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
