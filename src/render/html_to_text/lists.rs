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
    /// How many items each `<ol>` of the document has, in order, where one counts down.
    counts: Vec<i64>,
    /// How many `<ol>` have begun.
    numbered: usize,
}

struct List {
    /// The number of the next item and what is added for the one after it.
    number: Option<(i64, i64)>,
    /// Where its markers stand.
    column: usize,
    /// Where the words of its item stand.
    item: usize,
    /// What was waiting to be written when its item began.
    waiting: usize,
}

impl Lists {
    /// Counts the items of lists that count down; they begin with a number that is known only at their end.
    pub(super) fn of(html: &str) -> Self {
        let counts_down = html.as_bytes().windows(8).any(|word| word.eq_ignore_ascii_case(b"reversed"));
        Self { counts: if counts_down { items(html) } else { Vec::new() }, ..Self::default() }
    }

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
            let counted = self.counts.get(self.numbered).copied();
            self.numbered += 1;
            let step = if tag.attribute("reversed").is_some() { -1 } else { 1 };
            let first = if step < 0 { counted.unwrap_or(1) } else { 1 };
            (attribute(html, tag, "start").unwrap_or(first), step)
        });
        let column = self.open.last().map_or(0, |list| list.item);
        self.open.push(List { number, column, item: column, waiting: self.marker.len() });
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
                let _ = write!(self.marker, "{number}. ");
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

fn attribute(html: &str, tag: &Tag<'_>, name: &str) -> Option<i64> {
    html[tag.attribute(name)?.value.clone()].trim().parse().ok()
}

/// How many items each `<ol>` has, in the order in which they begin.
fn items(html: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    // The lists that are open, with their place among the numbered ones.
    let mut open: Vec<Option<usize>> = Vec::new();
    for piece in pieces(html) {
        match piece {
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("ol") => {
                open.push(Some(counts.len()));
                counts.push(0);
            }
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("ul") => open.push(None),
            Piece::Start(tag) if tag.name.eq_ignore_ascii_case("li") => {
                if let Some(Some(list)) = open.last() {
                    counts[*list] += 1;
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
