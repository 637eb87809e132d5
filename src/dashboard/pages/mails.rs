//! `/mails?q=&after=`: mails that fit a query; the address of the page holds it all.

use std::sync::Arc;

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};

use crate::{
    clock,
    dashboard::{
        form::Asked,
        layout,
        page_error::{PageError, encoded},
        parts::{MailLine, More, NoMore, Time},
        state::DashboardState,
        viewer::Viewer,
        words,
    },
    mail::{
        ActionKind, Lane, MailId, MailState, MerchantId, ReplyClass,
        search::{Key, MOST_BYTES, Query},
    },
    store::{FoundMails, MailSearch},
};

/// Mails on a page.
const LISTED: u32 = 50;

pub(super) fn router() -> Router<Arc<DashboardState>> {
    Router::new().route("/mails", get(show))
}

#[derive(Template)]
#[template(path = "dashboard/mails.html")]
struct Page<'a> {
    viewer: &'a Viewer,
    query: &'a str,
    fault: Option<String>,
    terms: Vec<Term>,
    hints: Vec<Hint>,
    values: Vec<Values>,
    keys: Vec<&'static str>,
    found: String,
    no_more: Option<NoMore>,
    searched_to: Option<Time>,
    mails: Vec<MailLine>,
    more: More,
    kinds: Vec<&'static str>,
}

/// A part of the query, and the page without it.
struct Term {
    text: String,
    without: String,
}

/// A term that could be added.
struct Hint {
    text: String,
    href: String,
}

/// All values that a key may have.
struct Values {
    key: Key,
    hints: Vec<Hint>,
}

const HINTS: [&str; 5] = ["state:failed", "state:held", "state:deferred", "since:1h", "to:@example.com"];
/// The most routes that are named.
const MOST_ROUTES: usize = 50;

async fn show(
    State(board): State<Arc<DashboardState>>,
    viewer: Viewer,
    Asked(fields): Asked,
) -> Result<Response, PageError> {
    let given = fields.get("q")?.unwrap_or_default();
    let query = &given[..given.floor_char_boundary(2 * MOST_BYTES)];
    let after = fields.get("after")?.map(str::parse::<MailId>).transpose();
    let after = after.map_err(|_| PageError::bad("`after` must be a mail's id."))?;
    let (found, fault) = match searched(query, &viewer, after) {
        Ok(search) => (board.app.store.search_mails(&search).await?, None),
        Err(fault) => (FoundMails::default(), Some(fault)),
    };
    // A search that goes on with older mails is not at its end.
    let is_beyond = after.is_some() && found.mails.is_empty() && found.next.is_none();
    let page = Page {
        viewer: &viewer,
        query,
        fault,
        terms: terms(query),
        hints: HINTS.iter().map(|text| hint((*text).to_owned(), query)).collect(),
        values: values(&board, &viewer, query),
        keys: Key::ALL.iter().map(|key| key.as_str()).collect(),
        found: how_many(&found, after.is_some()),
        no_more: NoMore::when(is_beyond, page_of(query)),
        searched_to: found.searched_to.map(Time),
        mails: found.mails.iter().map(|mail| MailLine::of(mail, &viewer)).collect(),
        more: more(query, &found),
        kinds: kinds(query, &viewer),
    };
    Ok(layout::page(&viewer, "Mails", &page))
}

/// The search that a query asks for, of this operator.
pub(super) fn searched(query: &str, viewer: &Viewer, after: Option<MailId>) -> Result<MailSearch, String> {
    let query = Query::parse(query, clock::now()).map_err(|error| error.to_string())?;
    let is_foreign = |merchant: &MerchantId| viewer.merchant.as_ref().is_some_and(|own| own != merchant);
    if query.merchants().any(is_foreign) {
        return Err("merchant: you see the mails of your own merchant alone".to_owned());
    }
    Ok(MailSearch {
        query,
        merchant: viewer.merchant.clone(),
        after,
        limit: LISTED,
        count: after.is_none(),
        ..MailSearch::default()
    })
}

fn how_many(found: &FoundMails, goes_on: bool) -> String {
    match found.count {
        Some(count) => {
            let mails = if count.count == 1 && !count.more { "mail" } else { "mails" };
            match found.estimate {
                Some(estimate) => format!("About {} {mails}", words::number(estimate)),
                None => format!("{} {mails}", words::counted(count)),
            }
        }
        None if goes_on => "Further mails".to_owned(),
        None => String::new(),
    }
}

fn more(query: &str, found: &FoundMails) -> More {
    let href = found.next.map(|next| format!("/mails?q={}&after={next}", encoded(query)));
    let label = if found.searched_to.is_some() { "Search older mails" } else { "Next page" };
    More { href, label }
}

/// What may be done to all mails that fit.
fn kinds(query: &str, viewer: &Viewer) -> Vec<&'static str> {
    let fits = |kind: &&ActionKind| kind.selection(query, clock::now()).is_ok();
    if !viewer.acts() {
        return Vec::new();
    }
    ActionKind::ALL.iter().filter(fits).map(|kind| kind.as_str()).collect()
}

fn page_of(query: &str) -> String {
    if query.is_empty() { "/mails".to_owned() } else { format!("/mails?q={}", encoded(query)) }
}

fn hint(text: String, query: &str) -> Hint {
    let query = if query.is_empty() { text.clone() } else { format!("{query} {text}") };
    Hint { href: page_of(&query), text }
}

/// What may stand after a colon, where that is known. Routes are for those who see everything.
fn values(board: &DashboardState, viewer: &Viewer, query: &str) -> Vec<Values> {
    let current = board.app.current();
    let routes = current.smtp.routes.iter().filter(|_| viewer.merchant.is_none()).take(MOST_ROUTES);
    let of = |key: Key, values: Vec<&str>| {
        let hints = values.into_iter().map(|value| hint(format!("{key}:{}", spelled(value)), query));
        Values { key, hints: hints.collect() }
    };
    let all = [
        of(Key::State, MailState::ALL.iter().map(|state| state.as_str()).collect()),
        of(Key::Class, ReplyClass::ALL.iter().map(|class| class.as_str()).collect()),
        of(Key::Lane, [Lane::Transactional, Lane::Bulk].iter().map(|lane| lane.as_str()).collect()),
        of(Key::Route, routes.map(|route| route.name.as_str()).collect()),
    ];
    all.into_iter().filter(|values| !values.hints.is_empty()).collect()
}

/// A value as it is written in a query: in quotes where it has to be.
fn spelled(value: &str) -> String {
    let is_plain = value.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    if is_plain {
        value.to_owned()
    } else {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// A query cut at the space between its terms; quotes hold a term together.
fn terms(query: &str) -> Vec<Term> {
    let mut parts: Vec<String> = Vec::new();
    let (mut current, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for letter in query.chars() {
        if letter.is_whitespace() && !is_quoted {
            parts.extend(Some(std::mem::take(&mut current)).filter(|part| !part.is_empty()));
            continue;
        }
        current.push(letter);
        is_quoted ^= letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
    }
    parts.extend(Some(current).filter(|part| !part.is_empty()));
    let without = |place: usize| {
        let others =
            parts.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, part)| part.as_str());
        page_of(&others.collect::<Vec<_>>().join(" "))
    };
    parts
        .iter()
        .enumerate()
        .map(|(place, text)| Term { text: text.clone(), without: without(place) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_can_be_taken_out_of_a_query() {
        let cut = |query: &str| {
            let terms = terms(query).into_iter().map(|term| (term.text, term.without));
            terms.collect::<Vec<_>>()
        };
        let own = |text: &str, without: &str| (text.to_owned(), without.to_owned());
        assert_eq!(
            cut("order:1001  -state:sent \"two words\""),
            [
                own("order:1001", "/mails?q=-state%3Asent+%22two+words%22"),
                own("-state:sent", "/mails?q=order%3A1001+%22two+words%22"),
                own("\"two words\"", "/mails?q=order%3A1001+-state%3Asent"),
            ]
        );
        assert_eq!(cut("a"), [own("a", "/mails")]);
        assert_eq!(cut(r#"order:"a \" b" c"#).len(), 2);
        assert!(cut("  ").is_empty());
    }
}
