//! From text to terms: words, quotes and keys, each with its place.

use super::query::{Condition, Key, MOST_BYTES, MOST_TERMS, Query, QueryError, Term};
use crate::mail::{Address, MailId, Timestamp, UnknownWord, duration};

const TIMES: &str =
    "must be a duration such as 2h or 7d, a date such as 2026-11-01, or a time such as 2026-11-01T10:00:00Z";

/// A term as it was written.
struct Written {
    /// Where it begins, in characters from 1.
    at: usize,
    is_negated: bool,
    key: Option<String>,
    /// Where the value begins.
    value_at: usize,
    value: String,
    is_quoted: bool,
}

impl Query {
    /// Reads a query; durations such as `since:2h` count back from `now`.
    ///
    /// # Errors
    /// The first thing that is wrong, and where: an unknown key, a value that its key does not take, an open quote, more
    /// than [`MOST_TERMS`] terms or [`MOST_BYTES`] bytes.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, QueryError> {
        query(text, now)
    }
}

fn query(text: &str, now: Timestamp) -> Result<Query, QueryError> {
    if text.len() > MOST_BYTES {
        let at = text.char_indices().take_while(|(byte, _)| *byte < MOST_BYTES).count();
        return Err(wrong(
            at,
            format!("a query has at most {MOST_BYTES} bytes, this one has {}", text.len()),
        ));
    }
    let characters: Vec<char> = text.chars().collect();
    if let Some(index) = characters.iter().position(|character| is_forbidden(*character)) {
        return Err(wrong(index + 1, "a query has no control characters".to_owned()));
    }
    let mut rest = Characters { all: &characters, index: 0 };
    let (mut query, mut count) = (Query::default(), 0);
    while let Some(written) = rest.term()? {
        count += 1;
        if count > MOST_TERMS {
            return Err(wrong(written.at, format!("a query has at most {MOST_TERMS} terms")));
        }
        take(&mut query, written, now)?;
    }
    Ok(query)
}

fn is_forbidden(character: char) -> bool {
    character.is_control() && !character.is_whitespace()
}

fn wrong(at: usize, message: String) -> QueryError {
    QueryError { at, message }
}

struct Characters<'a> {
    all: &'a [char],
    index: usize,
}

impl Characters<'_> {
    fn peek(&self) -> Option<char> {
        self.all.get(self.index).copied()
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        self.index += usize::from(is);
        is
    }

    fn place(&self) -> usize {
        self.index + 1
    }

    fn term(&mut self) -> Result<Option<Written>, QueryError> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.index += 1;
        }
        let at = self.place();
        if self.peek().is_none() {
            return Ok(None);
        }
        let is_negated = self.next_is('-');
        let mut value_at = self.place();
        if let Some(value) = self.quoted()? {
            return Ok(Some(Written { at, is_negated, key: None, value_at, value, is_quoted: true }));
        }
        let mut key = None;
        let mut value = String::new();
        while let Some(character) = self.peek().filter(|character| !character.is_whitespace()) {
            self.index += 1;
            if character == ':' && key.is_none() {
                key = Some(std::mem::take(&mut value));
                value_at = self.place();
                if let Some(value) = self.quoted()? {
                    return Ok(Some(Written { at, is_negated, key, value_at, value, is_quoted: true }));
                }
            } else {
                value.push(character);
            }
        }
        if key.is_none() && value.is_empty() {
            return Err(wrong(at, "there is nothing after the `-`".to_owned()));
        }
        Ok(Some(Written { at, is_negated, key, value_at, value, is_quoted: false }))
    }

    /// What stands between quotes, where one begins here. A backslash makes the quote or the backslash after it plain.
    fn quoted(&mut self) -> Result<Option<String>, QueryError> {
        let at = self.place();
        if !self.next_is('"') {
            return Ok(None);
        }
        let mut value = String::new();
        loop {
            let Some(character) = self.peek() else {
                return Err(wrong(at, "the quote that begins here does not end".to_owned()));
            };
            self.index += 1;
            match (character, self.peek()) {
                ('"', after) if after.is_none_or(char::is_whitespace) => return Ok(Some(value)),
                ('"', _) => {
                    let message = "a space must follow after a quote; write \\\" for a quote within quotes";
                    return Err(wrong(self.place(), message.to_owned()));
                }
                ('\\', Some(escaped @ ('"' | '\\'))) => {
                    self.index += 1;
                    value.push(escaped);
                }
                (plain, _) => value.push(plain),
            }
        }
    }
}

fn take(query: &mut Query, written: Written, now: Timestamp) -> Result<(), QueryError> {
    let Written { at, is_negated, value_at, value, is_quoted, .. } = written;
    if value.trim().is_empty() {
        return Err(wrong(value_at, "there is a value missing".to_owned()));
    }
    let any_of = match written.key {
        None if is_quoted => vec![Condition::Subject(value)],
        None => word(value),
        Some(key) => {
            let key: Key = key.to_lowercase().parse().map_err(|UnknownWord { word, allowed }| {
                let known = allowed.join(", ");
                wrong(
                    at,
                    format!("`{word}` is not a key; the keys are {known}; quotes search for the text itself"),
                )
            })?;
            match key {
                Key::Since | Key::Until => return limit(query, key, &value, at, value_at, is_negated, now),
                _ => vec![
                    condition(key, value).map_err(|message| wrong(value_at, format!("{key}: {message}")))?,
                ],
            }
        }
    };
    query.terms.push(Term { is_negated, any_of });
    Ok(())
}

fn limit(
    query: &mut Query,
    key: Key,
    value: &str,
    at: usize,
    value_at: usize,
    is_negated: bool,
    now: Timestamp,
) -> Result<(), QueryError> {
    if is_negated {
        let other = if key == Key::Since { Key::Until } else { Key::Since };
        return Err(wrong(at, format!("{key}: cannot be negated; use {other}:")));
    }
    let time = time(value, now).ok_or_else(|| wrong(value_at, format!("{key}: {TIMES}")))?;
    match key {
        Key::Since => query.since = query.since.max(Some(time)),
        _ => query.until = Some(query.until.map_or(time, |until| until.min(time))),
    }
    Ok(())
}

fn time(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = duration::parse(value) {
        return Some(now - ago);
    }
    // A date begins with its first moment in UTC.
    let is_date = value.len() == 10 && value.is_ascii();
    let written = if is_date { format!("{value}T00:00:00Z") } else { value.to_owned() };
    Timestamp::parse(&written).ok()
}

fn condition(key: Key, value: String) -> Result<Condition, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    Ok(match key {
        Key::Order => Condition::Order(value),
        Key::Cart => Condition::Cart(value),
        Key::Subscription => Condition::Subscription(value),
        Key::Member => Condition::Member(value),
        Key::To => to(&value)?,
        Key::State => Condition::State(value.to_lowercase().parse().map_err(|error| text(&error))?),
        Key::Class => Condition::Class(value.to_lowercase().parse().map_err(|error| text(&error))?),
        Key::Route => Condition::Route(value),
        Key::Template => Condition::Template(value),
        Key::Lane => Condition::Lane(value.to_lowercase().parse().map_err(|error| text(&error))?),
        Key::Merchant => Condition::Merchant(value.parse().map_err(|error| text(&error))?),
        Key::Batch => Condition::Batch(value.parse().map_err(|_| "must be the id of a batch, a UUID")?),
        Key::Id => Condition::Id(value.parse().map_err(|_| "must be the id of a mail, a UUID")?),
        Key::ProviderId => Condition::ProviderId(value),
        Key::MessageId => {
            let id = id_in(&value).ok_or("must be a Message-ID that postroom made, such as <id@domain>")?;
            Condition::Id(id)
        }
        Key::Test => {
            Condition::Test(value.to_lowercase().parse().map_err(|_| "must be true or false".to_owned())?)
        }
        Key::Tag => Condition::Tag(value),
        Key::Since | Key::Until => return Err("is no condition".to_owned()),
    })
}

fn to(value: &str) -> Result<Condition, String> {
    let shape = "must be an address such as ann@example.net, or a domain such as @example.net";
    if let Some(domain) = value.strip_prefix('@') {
        // As an address at it is written: in lower case and as A-labels.
        let somebody: Address = format!("a@{domain}").parse().map_err(|_| shape)?;
        return Ok(Condition::Domain(somebody.domain().to_owned()));
    }
    let address: Address = value.parse().map_err(|_| shape)?;
    Ok(Condition::Recipient(address.search_key()))
}

/// The id of the mail whose `Message-ID` this is: it stands before the `@`.
fn id_in(message_id: &str) -> Option<MailId> {
    let bare = message_id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(message_id);
    bare.split_once('@').and_then(|(id, _)| id.parse().ok())
}

/// What a word without a key may be: the recipient, the `Message-ID`, the id, the order or the relay's id of a mail.
fn word(value: String) -> Vec<Condition> {
    if let Some(id) = id_in(&value) {
        return vec![Condition::Id(id)];
    }
    if let Ok(recipient) = to(&value) {
        return vec![recipient];
    }
    let mut any_of: Vec<_> = value.parse().ok().map(Condition::Id).into_iter().collect();
    any_of.extend([Condition::Order(value.clone()), Condition::ProviderId(value)]);
    any_of
}
