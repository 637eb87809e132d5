//! Lists: what stands before an item, and how far it is moved in.

use std::fmt::Write as _;

use crate::render::html_tokenizer::{Piece, Tag, pieces};

/// The farthest that anything is moved in, in columns.
const FARTHEST: usize = 32;

/// The lists that are open, and the marker of an item that has no words yet.
#[derive(Default)]
pub(super) struct Lists {
    open: Vec<List>,
    /// As in `2. `; empty where it is written.
    pub(super) marker: String,
    /// Where each `<ol>` of the document begins and how many items it has, once one counts down.
    counts: Option<Vec<(usize, i64)>>,
}

struct List {
    /// The number of the next item and what is added for the one after it.
    number: Option<(i64, i64)>,
    /// How it is written: the `type` of an `<ol>`.
    kind: char,
    /// Where its markers stand.
    column: usize,
    /// Where the words of its item stand.
    item: usize,
    /// What was waiting to be written when its item began.
    waiting: usize,
}

impl Lists {
    /// How many are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Where the line of a word begins: at the item's words, or at its marker.
    pub(super) fn column(&self) -> usize {
        self.open.last().map_or(0, |list| list.item).saturating_sub(self.marker.len())
    }

    /// A `<ul>` or `<ol>` begins.
    pub(super) fn start(&mut self, html: &str, tag: &Tag<'_>) {
        let is_numbered = tag.name.eq_ignore_ascii_case("ol");
        let number = is_numbered.then(|| {
            let counts_down = tag.attribute("reversed").is_some();
            let start = attribute(html, tag, "start");
            let first = start.unwrap_or_else(|| if counts_down { self.count(html, tag) } else { 1 });
            (first, if counts_down { -1 } else { 1 })
        });
        let column = self.open.last().map_or(0, |list| list.item);
        let kind =
            tag.attribute("type").and_then(|kind| html[kind.value.clone()].chars().next()).unwrap_or('1');
        self.open.push(List { number, kind, column, item: column, waiting: self.marker.len() });
    }

    /// How many items a list has: it begins with a number that is known only at its end.
    fn count(&mut self, html: &str, tag: &Tag<'_>) -> i64 {
        let counts = self.counts.get_or_insert_with(|| items(html));
        let found = counts.binary_search_by_key(&tag.name_end, |(start, _)| *start);
        found.map_or(1, |at| counts[at].1)
    }

    /// An item begins.
    pub(super) fn item(&mut self, html: &str, tag: &Tag<'_>) {
        let Some(list) = self.open.last_mut() else {
            return self.marker.push_str("- ");
        };
        self.marker.truncate(list.waiting.min(self.marker.len()));
        list.waiting = self.marker.len();
        match &mut list.number {
            Some((number, step)) => {
                *number = attribute(html, tag, "value").unwrap_or(*number);
                let _ = write!(self.marker, "{}. ", counted(*number, list.kind));
                *number = number.saturating_add(*step);
            }
            None => self.marker.push_str("- "),
        }
        list.item = (list.column + self.marker.len() - list.waiting).min(FARTHEST);
    }

    /// An item ends.
    pub(super) fn end_item(&mut self) {
        let waiting = self.open.last().map_or(0, |list| list.waiting);
        self.marker.truncate(waiting.min(self.marker.len()));
    }

    /// The innermost list ends.
    pub(super) fn end(&mut self) {
        self.end_item();
        self.open.pop();
    }

    /// What was begun in a cell ends with it.
    pub(super) fn end_all_but(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.end();
        }
    }
}

/// A number as a list of that type has it: in digits, letters or Roman numerals. What these cannot say is in digits.
fn counted(number: i64, kind: char) -> String {
    let written = match kind {
        'a' | 'A' if number > 0 => in_letters(number),
        'i' | 'I' if (1..4_000).contains(&number) => in_roman(number),
        _ => number.to_string(),
    };
    if kind.is_ascii_uppercase() { written.to_ascii_uppercase() } else { written }
}

fn in_letters(mut number: i64) -> String {
    let mut letters = Vec::new();
    while number > 0 {
        number -= 1;
        letters.push(('a'..='z').nth(usize::try_from(number % 26).unwrap_or_default()).unwrap_or('a'));
        number /= 26;
    }
    letters.iter().rev().collect()
}

fn in_roman(mut number: i64) -> String {
    let mut written = String::new();
    for (worth, letters) in [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ] {
        while number >= worth {
            written.push_str(letters);
            number -= worth;
        }
    }
    written
}

fn attribute(html: &str, tag: &Tag<'_>, name: &str) -> Option<i64> {
    html[tag.attribute(name)?.value.clone()].trim().parse().ok()
}

/// Where each `<ol>` begins and how many items it has, in order.
fn items(html: &str) -> Vec<(usize, i64)> {
    let mut counts = Vec::new();
    // The lists that are open, with their place among the numbered ones.
    let mut open: Vec<Option<usize>> = Vec::new();
    for piece in pieces(html) {
        match piece {
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("ol") => {
                open.push(Some(counts.len()));
                counts.push((tag.name_end, 0));
            }
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("ul") => open.push(None),
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("li") => {
                if let Some(Some(list)) = open.last() {
                    counts[*list].1 += 1;
                }
            }
            Piece::End(name) if name.eq_ignore_ascii_case("ol") || name.eq_ignore_ascii_case("ul") => {
                open.pop();
            }
            _ => {}
        }
    }
    counts
}
