//! The text as it grows, and what must be written before the next word.

use crate::render::html_tokenizer::Tag;

use super::lists::Lists;
use super::references::{ReferenceContext, decode};
use super::rows::Tables;

/// The width at which lines are broken, in characters.
pub(super) const WIDTH: usize = 78;

/// What white space in a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// A gap between words.
    Flow,
    /// The same, and line ends are shown.
    Lines,
    /// All of it is shown.
    Kept,
}

/// A text that grows.
pub(super) struct Page<'a> {
    html: &'a str,
    text: String,
    /// Characters on the current line.
    column: usize,
    /// A gap was seen since the last word.
    space: bool,
    /// Line ends to be written.
    newlines: usize,
    /// The number of the current line, not counting those that were begun because one was full.
    line: usize,
    lists: Lists,
    tables: Tables,
    /// The link that is open: where it goes and where its text began.
    link: Option<(String, usize)>,
    /// Where the last link ended: one that follows it at once is parted from it.
    link_end: usize,
    /// The same for a picture and a word.
    picture_end: usize,
    /// White space that is kept before the next word of its line.
    kept: String,
}

impl<'a> Page<'a> {
    pub(super) fn of(html: &'a str) -> Self {
        Self {
            html,
            text: String::with_capacity(html.len() / 3),
            column: 0,
            space: false,
            newlines: 0,
            line: 0,
            lists: Lists::default(),
            tables: Tables::default(),
            link: None,
            link_end: usize::MAX,
            picture_end: usize::MAX,
            kept: String::new(),
        }
    }

    /// An element begins; `is_block` when its style makes it a line of its own.
    pub(super) fn start(&mut self, tag: &Tag<'_>, is_block: bool) {
        let mut name = [0; LONGEST_NAME];
        match lower(tag.name, &mut name) {
            "a" => {
                self.leave(usize::from(is_block));
                self.start_link(tag);
            }
            "img" => self.picture(tag),
            "br" => self.newlines = (self.newlines + 1).min(2),
            "hr" => {
                self.leave(2);
                self.word("---");
                self.leave(2);
            }
            "ul" | "ol" | "menu" | "dir" => {
                self.leave_around_list();
                self.lists.start(self.html, tag);
            }
            "li" => {
                if self.lists.marker.is_empty() {
                    self.leave(1);
                }
                self.lists.item(self.html, tag);
            }
            "table" => {
                self.newlines = self.newlines.max(if self.lists.marker.is_empty() { 2 } else { 0 });
                self.tables.start(self.text.len());
            }
            "tr" => {
                self.end_row();
                self.tables.start_row(self.text.len());
            }
            "td" | "th" => {
                self.end_cell();
                self.space = true;
                self.tables.start_cell(self.text.len(), self.line, self.newlines, self.lists.depth());
            }
            name => self.leave(gap(name).max(usize::from(is_block))),
        }
    }

    pub(super) fn end(&mut self, name: &str) {
        let mut lower_name = [0; LONGEST_NAME];
        match lower(name, &mut lower_name) {
            "a" => self.close_link(),
            "ul" | "ol" | "menu" | "dir" => {
                self.lists.end();
                self.leave_around_list();
            }
            "li" => {
                self.lists.end_item();
                self.leave(1);
            }
            "td" | "th" => self.end_cell(),
            "tr" => self.end_row(),
            "table" => {
                self.end_row();
                self.tables.end();
                self.leave(2);
            }
            name => self.leave(gap(name)),
        }
    }

    pub(super) fn text(&mut self, raw: &str, space: Space) {
        if space == Space::Flow {
            return self.words(raw);
        }
        for (number, line) in raw.split('\n').enumerate() {
            if number > 0 {
                self.newlines = (self.newlines + 1).min(2);
                self.kept.clear();
            }
            match space {
                Space::Kept => self.kept_words(line.trim_end_matches('\r')),
                _ => self.words(line),
            }
        }
    }

    /// Adds a stretch of a line whose white space is shown. What ends the line is not.
    fn kept_words(&mut self, stretch: &str) {
        self.kept.push_str(stretch);
        let line = std::mem::take(&mut self.kept);
        let words = line.trim_end();
        if !words.is_empty() {
            self.word(&decode(words, ReferenceContext::Text));
        }
        self.kept.push_str(&line[words.len()..]);
    }

    /// Adds text whose white space means nothing but a gap between words.
    fn words(&mut self, raw: &str) {
        let mut rest = raw;
        while !rest.is_empty() {
            let gap = rest.len() - rest.trim_start_matches(is_gap).len();
            self.space |= gap > 0;
            rest = &rest[gap..];
            let length = rest.find(is_gap).unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            if word.contains('&') {
                self.decoded(&decode(word, ReferenceContext::Text));
            } else if word.is_ascii() {
                self.word(word);
            } else {
                self.decoded(word);
            }
            rest = after;
        }
    }

    /// Adds a word that may have white space in it after all, and characters that nobody sees.
    fn decoded(&mut self, text: &str) {
        for (number, word) in text.split(is_gap).enumerate() {
            self.space |= number > 0;
            if word.contains(is_nothing) {
                self.word(word.replace(is_nothing, "").trim_matches(JOINERS));
            } else {
                self.word(word.trim_matches(JOINERS));
            }
        }
    }

    fn word(&mut self, word: &str) {
        if word.is_empty() || (!word.is_ascii() && word.chars().all(is_unseen)) {
            return;
        }
        let length = word.chars().count();
        let before = self.text.len();
        if before == 0 {
            (self.newlines, self.space) = (0, false);
        }
        self.space |= self.picture_end == before && word.starts_with(char::is_alphanumeric);
        let indent = self.lists.column();
        let is_full = self.column + 1 + length > WIDTH && self.column > indent;
        if self.newlines > 0 || (self.space && is_full) {
            self.line += usize::from(self.newlines > 0);
            self.text.extend(std::iter::repeat_n('\n', self.newlines.max(1)));
            self.text.extend(std::iter::repeat_n(' ', indent));
            self.column = indent;
        } else if self.space && self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(&self.lists.marker);
        self.column += self.lists.marker.len() + length;
        self.lists.marker.clear();
        self.tables.note_word(before, self.line);
        (self.newlines, self.space) = (0, false);
        self.text.push_str(word);
    }

    /// Leaves at least so many line ends before the next word; a paragraph does not part an item from its marker, nor a
    /// cell from its row.
    pub(super) fn leave(&mut self, newlines: usize) {
        if newlines > 0 && self.lists.marker.is_empty() && !self.tables.is_joining(self.text.len()) {
            self.newlines = self.newlines.max(newlines);
        }
    }

    fn leave_around_list(&mut self) {
        self.leave(if self.lists.depth() == 0 { 2 } else { 1 });
    }

    fn end_row(&mut self) {
        self.end_cell();
        let newlines = self.tables.end_row().max(1);
        self.newlines = self.newlines.max(newlines);
    }

    fn end_cell(&mut self) {
        let Some(cell) = self.tables.end_cell() else {
            self.space = true;
            return;
        };
        self.lists.end_all_but(cell.lists);
        if cell.is_one_line(self.text.len(), self.line) {
            self.tables.put_off(self.newlines);
            (self.newlines, self.space) = (0, true);
        }
    }

    fn start_link(&mut self, tag: &Tag<'_>) {
        self.close_link();
        let Some(href) = tag.attribute("href") else { return };
        let target = address(&decode(&self.html[href.value.clone()], ReferenceContext::Attribute));
        if !target.is_empty() && !target.starts_with('#') && !has_scheme(&target, "javascript:") {
            self.space |= self.link_end == self.text.len();
            self.link = Some((target, self.text.len()));
        }
    }

    fn close_link(&mut self) {
        let Some((target, start)) = self.link.take() else { return };
        let text = self.text.get(start..).unwrap_or_default().trim();
        if !says(text, &target) {
            // The address stands beside the text, also where that ends with a paragraph.
            let newlines = if text.is_empty() { 0 } else { std::mem::take(&mut self.newlines) };
            self.space = true;
            self.word(&format!("<{target}>"));
            self.newlines = newlines;
        }
        self.link_end = self.text.len();
    }

    fn picture(&mut self, tag: &Tag<'_>) {
        let Some(alternative) = tag.attribute("alt") else { return };
        self.space |= self.text.ends_with(char::is_alphanumeric) || self.link_end == self.text.len();
        let before = self.text.len();
        self.words(&self.html[alternative.value.clone()]);
        if self.text.len() > before {
            self.picture_end = self.text.len();
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.close_link();
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text
    }
}

/// The longest name of an element that means anything here.
const LONGEST_NAME: usize = 10;

/// A name in lower case; one that is too long to mean anything is none.
fn lower<'a>(name: &str, room: &'a mut [u8; LONGEST_NAME]) -> &'a str {
    let Some(room) = room.get_mut(..name.len()) else { return "" };
    room.copy_from_slice(name.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).unwrap_or_default()
}

/// How many line ends stand before and after an element.
fn gap(name: &str) -> usize {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "dl" | "blockquote" | "pre" => 2,
        "div" | "section" | "header" | "footer" | "article" | "main" | "center" | "dt" | "dd" | "address"
        | "body" | "form" | "caption" | "nav" | "aside" | "figure" | "figcaption" | "fieldset" | "legend"
        | "details" | "summary" | "hgroup" | "dialog" | "option" => 1,
        _ => 0,
    }
}

/// Whether the text of a link says where it leads.
fn says(text: &str, target: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    if has_scheme(target, "mailto:") {
        let address = target["mailto:".len()..].split('?').next().unwrap_or_default();
        return text.eq_ignore_ascii_case(address) || text == target;
    }
    if has_scheme(target, "tel:") || has_scheme(target, "sms:") {
        let number = digits(target.split(['?', ';']).next().unwrap_or_default());
        return !number.is_empty() && digits(text).ends_with(number.trim_start_matches('0'));
    }
    text == target
}

fn has_scheme(address: &str, scheme: &str) -> bool {
    address.as_bytes().get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// White space.
fn is_gap(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// They join or part the letters on both sides.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Says where a word may be broken, or nothing at all; the word is the same without it.
fn is_nothing(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Means something between letters, and nothing alone; previews are padded with it.
fn is_unseen(c: char) -> bool {
    is_nothing(c) || matches!(c, '\u{200c}'..='\u{200f}' | '\u{61c}' | '\u{fe00}'..='\u{fe0f}')
}

/// An address as a browser takes it (URL standard, section 4.4): trimmed, without line ends, spaces and angle brackets.
fn address(href: &str) -> String {
    let is_space = |c: char| c <= ' ';
    let address = href.trim_matches(is_space).replace(['\t', '\n', '\r'], "").replace(is_space, "%20");
    if address.contains(['<', '>']) { address.replace('<', "%3C").replace('>', "%3E") } else { address }
}
