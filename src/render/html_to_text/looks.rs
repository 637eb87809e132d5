//! What an element's own attributes make of it: hidden, as preheaders are, a line of its own, or text whose lines count.
//! Styles from sheets have been written into them before.

use crate::render::html_tokenizer::{Piece, Tag, VOID, is_one_of};

/// How far behind an element's start a link is looked for.
const FAR: usize = 2048;

/// Sizes that leave no room to what overflows, where that is hidden.
const SIZES: [&str; 3] = ["height", "width", "max-width"];

/// How an element looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// It is not shown, nor is what is in it.
    pub(super) is_hidden: bool,
    /// It begins and ends a line, whatever its name is.
    pub(super) is_block: bool,
    /// Line ends in its text are shown.
    pub(super) keeps_lines: bool,
}

/// How an element looks by its own attributes.
pub(super) fn looks(html: &str, tag: &Tag<'_>) -> Looks {
    let mut looks = Looks::default();
    // What has no content can hide none.
    if is_one_of(&VOID, tag.name) {
        return looks;
    }
    looks.is_hidden = tag.name.eq_ignore_ascii_case("template");
    for attribute in &tag.attributes {
        if attribute.name.eq_ignore_ascii_case("hidden") {
            looks.is_hidden = true;
        } else if attribute.name.eq_ignore_ascii_case("style") {
            by_style(html, tag, &html[attribute.value.clone()], &mut looks);
        }
    }
    looks
}

/// What a style makes of its element; of several declarations of a property the last one holds.
fn by_style(html: &str, tag: &Tag<'_>, style: &str, looks: &mut Looks) {
    let mut display = false;
    let mut visibility = false;
    let mut height = false;
    let mut no_room = [false; 3];
    let mut overflow = false;
    let mut opacity = false;
    let mut in_outlook = false;
    for declaration in style.split(';') {
        // Few properties begin so: most are passed over at their first letter.
        let declaration = declaration.trim_start();
        if !declaration.starts_with(['d', 'D', 'v', 'V', 'm', 'M', 'o', 'O', 'w', 'W', 'h', 'H']) {
            continue;
        }
        let Some((name, value)) = declaration.split_once(':') else { continue };
        let (name, value) = (name.trim_end(), value.split('!').next().unwrap_or_default().trim());
        let is = |property: &str| name.eq_ignore_ascii_case(property);
        if is("display") {
            display = value.eq_ignore_ascii_case("none");
            // A cell or an item is what its name says, also where a phone shows it below the one before.
            looks.is_block = is_one_of(&["block", "table", "flex", "grid", "list-item"], value)
                && !is_one_of(&["td", "th", "tr", "li"], tag.name);
        } else if is("visibility") {
            visibility = value.eq_ignore_ascii_case("hidden");
        } else if is("max-height") {
            height = is_zero(value);
        } else if let Some(size) = SIZES.iter().position(|size| is(size)) {
            no_room[size] = is_zero(value);
        } else if is("overflow") {
            overflow = is_one_of(&["hidden", "clip"], value);
        } else if is("opacity") {
            opacity = is_zero(value);
        } else if is("mso-hide") {
            in_outlook = value.eq_ignore_ascii_case("all");
        } else if is("white-space") {
            looks.keeps_lines = is_one_of(&["pre", "pre-line", "pre-wrap", "break-spaces"], value);
        }
    }
    height |= overflow && no_room.contains(&true);
    looks.is_hidden |= display || visibility || height || opacity || (in_outlook && !is_button(html, tag));
}

fn is_zero(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f32>().is_ok_and(|number| number == 0.0)
}

/// Whether it is a link or has one in it. Buttons are hidden from Outlook for Windows alone, which is given another.
fn is_button(html: &str, tag: &Tag<'_>) -> bool {
    if tag.name.eq_ignore_ascii_case("a") {
        return true;
    }
    let rest = &html[tag.name_end..];
    let rest = &rest[..rest.floor_char_boundary(FAR)];
    let is_end = |at: usize| {
        rest.as_bytes()
            .get(at + 2..at + 2 + tag.name.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(tag.name.as_bytes()))
    };
    let end = rest.match_indices("</").map(|(at, _)| at).find(|at| is_end(*at)).unwrap_or(rest.len());
    rest[..end].contains("href")
}

/// What ends an element whose end tag may be left out (HTML standard, section 13.1.2.4).
struct Optional {
    name: &'static str,
    /// Elements that take more of its kind in; what is in them ends nothing.
    around: &'static [&'static str],
    /// What begins after it.
    next: &'static [&'static str],
    /// What ends around it.
    outer: &'static [&'static str],
}

const BLOCKS: &[&str] = &[
    "p",
    "div",
    "table",
    "ul",
    "ol",
    "dl",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
    "blockquote",
    "section",
    "header",
    "footer",
    "article",
    "main",
    "form",
    "address",
    "center",
];
const PARTS_OF_TABLES: &[&str] = &["tr", "tbody", "thead", "tfoot", "table"];
const OPTIONAL: [Optional; 7] = [
    Optional {
        name: "p",
        around: &[],
        next: BLOCKS,
        outer: &[
            "div",
            "td",
            "th",
            "li",
            "dd",
            "section",
            "article",
            "center",
            "blockquote",
            "body",
            "table",
        ],
    },
    Optional { name: "li", around: &["ul", "ol", "menu"], next: &["li"], outer: &["ul", "ol", "menu"] },
    Optional { name: "td", around: &["table"], next: &["td", "th", "tr", "tbody"], outer: PARTS_OF_TABLES },
    Optional { name: "th", around: &["table"], next: &["td", "th", "tr", "tbody"], outer: PARTS_OF_TABLES },
    Optional { name: "tr", around: &["table"], next: &["tr", "tbody", "tfoot"], outer: PARTS_OF_TABLES },
    Optional { name: "dt", around: &["dl"], next: &["dt", "dd"], outer: &["dl"] },
    Optional { name: "dd", around: &["dl"], next: &["dt", "dd"], outer: &["dl"] },
];

/// An element that is hidden, until it ends.
pub(super) struct Hidden<'a> {
    name: &'a str,
    depth: usize,
    optional: Option<&'static Optional>,
}

/// What a piece means for the element that hides it.
pub(super) enum Ends {
    /// It goes on.
    No,
    /// It ends with this piece.
    With,
    /// It ended before this piece, which is shown.
    Before,
}

impl<'a> Hidden<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        let optional = OPTIONAL.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        Self { name, depth: 0, optional }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &Piece<'_>) -> Ends {
        match (piece, self.optional) {
            (Piece::Start(tag), None) => self.depth += usize::from(tag.name.eq_ignore_ascii_case(self.name)),
            (Piece::End(end), None) if end.eq_ignore_ascii_case(self.name) => match self.depth {
                0 => return Ends::With,
                _ => self.depth -= 1,
            },
            (Piece::Start(tag), Some(it)) if self.depth == 0 && is_one_of(it.next, tag.name) => {
                return Ends::Before;
            }
            (Piece::Start(tag), Some(it)) => self.depth += usize::from(is_one_of(it.around, tag.name)),
            (Piece::End(end), Some(it)) if self.depth == 0 => {
                if end.eq_ignore_ascii_case(self.name) {
                    return Ends::With;
                }
                if is_one_of(it.outer, end) {
                    return Ends::Before;
                }
            }
            (Piece::End(end), Some(it)) => self.depth -= usize::from(is_one_of(it.around, end)),
            _ => {}
        }
        Ends::No
    }
}

/// The elements that are lines of their own or keep their lines by their style.
#[derive(Default)]
pub(super) struct Styled<'a> {
    open: Vec<(&'a str, usize, Looks)>,
    keeping: usize,
}

impl<'a> Styled<'a> {
    /// Whether line ends in the text are shown now.
    pub(super) fn keeps_lines(&self) -> bool {
        self.keeping > 0
    }

    pub(super) fn start(&mut self, name: &'a str, looks: Looks) {
        if let Some((open, depth, _)) = self.open.last_mut() {
            if open.eq_ignore_ascii_case("p") && is_one_of(BLOCKS, name) {
                self.close();
            } else if open.eq_ignore_ascii_case(name) {
                *depth += 1;
            }
        }
        if looks != Looks::default() {
            self.open.push((name, 0, looks));
            self.keeping += usize::from(looks.keeps_lines);
        }
    }

    /// An element ends; whether it was a line of its own.
    pub(super) fn end(&mut self, name: &str) -> bool {
        match self.open.last_mut().filter(|(open, ..)| open.eq_ignore_ascii_case(name)) {
            Some((_, 0, looks)) => {
                let is_block = looks.is_block;
                self.close();
                is_block
            }
            Some((_, depth, _)) => {
                *depth -= 1;
                false
            }
            None => false,
        }
    }

    fn close(&mut self) {
        let closed = self.open.pop();
        self.keeping -= usize::from(closed.is_some_and(|(_, _, looks)| looks.keeps_lines));
    }
}
