//! What css-inline is given of a page, and what it says of it: the rules of each tag.

use std::fmt::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use css_inline::CSSInliner;

use crate::render::html_tokenizer::{Piece, SILENT, Tag, VOID, is_one_of, pieces};

use super::selectors::Asked;
use super::stylesheet::{RULE, Sheet};

/// The attribute that numbers the tags of the skeleton.
const NUMBER: &str = "data-n";
/// How many elements may be open at once; an HTML parser's work grows with them.
const MOST_OPEN: usize = 1000;
/// The same for elements such as `<b>`, which a parser opens again and again where they are not closed.
const MOST_OPEN_FORMATTING: usize = 50;
/// The bound on rules times elements.
const MOST_WORK: usize = 4_000_000;
/// How many attributes of a tag selectors may ask for; a parser compares each with all before it.
const MOST_ATTRIBUTES: usize = 100;

const FORMATTING: [&str; 14] =
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];

/// Where a style goes in a tag of the page.
pub(super) struct Target {
    pub(super) name_end: usize,
    /// The value of its own `style`, without and with quotes.
    pub(super) own: Option<(Range<usize>, Range<usize>)>,
}

/// What css-inline is given. Two pages with the same have the same rules at the same tags.
pub(super) struct Skeleton {
    pub(super) html: String,
    pub(super) tags: Vec<Target>,
}

impl Skeleton {
    /// The skeleton of a page whose mustaches are masked.
    ///
    /// # Errors
    /// When the page is too deep or too large to be worked on.
    pub(super) fn of(masked: &str, sheets: &[Sheet], asked: Asked) -> Result<Self, &'static str> {
        let mut skeleton = Self { html: String::with_capacity(masked.len()), tags: Vec::new() };
        let mut css = sheets.iter();
        let mut open = Open::default();
        for piece in pieces(masked) {
            match piece {
                Piece::Text(text) => skeleton.text(text),
                Piece::Start(tag) => {
                    open.start(tag.name)?;
                    skeleton.start(masked, &tag, asked);
                }
                Piece::End(name) => {
                    open.end(name);
                    let _ = write!(skeleton.html, "</{name}>");
                }
                Piece::Raw(name, _) if name.eq_ignore_ascii_case("style") => {
                    skeleton.html.push_str(css.next().map_or("", |sheet| &sheet.inlinable));
                }
                Piece::Other(doctype)
                    if doctype.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype")) =>
                {
                    skeleton.html.push_str(doctype);
                }
                Piece::Raw(..) | Piece::Other(_) => {}
            }
        }
        let rules: usize = sheets.iter().map(|sheet| sheet.weight).sum();
        if rules.saturating_mul(skeleton.tags.len()) > MOST_WORK {
            return Err("there are too many CSS rules for so many elements");
        }
        Ok(skeleton)
    }

    /// Selectors see whether there is text, and a parser whether it is white space.
    fn text(&mut self, masked: &str) {
        let mut characters = masked.chars().filter(|&c| c != char::from(SILENT));
        match characters.next() {
            None => {}
            Some(first) if first.is_ascii_whitespace() && characters.all(|c| c.is_ascii_whitespace()) => {
                self.html.push(' ');
            }
            Some(_) => self.html.push('x'),
        }
    }

    fn start(&mut self, masked: &str, tag: &Tag<'_>, asked: Asked) {
        let _ = write!(self.html, "<{} {NUMBER}=\"{}\"", tag.name, self.tags.len());
        for attribute in tag.attributes.iter().take(MOST_ATTRIBUTES) {
            let is = |name: &str| attribute.name.eq_ignore_ascii_case(name);
            if is("style") || is(NUMBER) {
                continue;
            }
            let value = &masked[attribute.value.clone()];
            if asked.attributes || is("class") || is("id") || is("data-css-inline") {
                let _ = write!(self.html, " {}=\"{}\"", attribute.name, value.replace('"', "&quot;"));
            } else if is("href") {
                self.html.push_str(" href"); // a link
            }
        }
        self.html.push('>');
        let own = tag.attribute("style").map(|style| (style.value.clone(), style.quoted.clone()));
        self.tags.push(Target { name_end: tag.name_end, own });
    }

    /// The numbers of the rules of each tag, in the order of the cascade.
    ///
    /// # Errors
    /// What css-inline says, for people.
    pub(super) fn rules(&self) -> Result<Vec<Vec<u32>>, String> {
        let inline = || CSSInliner::options().load_remote_stylesheets(false).build().inline(&self.html);
        let inlined = catch_unwind(AssertUnwindSafe(inline))
            .map_err(|_| "the CSS cannot be inlined".to_owned())?
            .map_err(|error| format!("the CSS cannot be inlined: {error}"))?;
        let mut rules = vec![None; self.tags.len()];
        for piece in pieces(&inlined) {
            if let Piece::Start(tag) = piece
                && let (Some(number), Some(style)) = (tag.attribute(NUMBER), tag.attribute("style"))
                && let Ok(number) = inlined[number.value.clone()].parse::<usize>()
                && let Some(slot @ None) = rules.get_mut(number)
            {
                *slot = Some(numbers(&inlined[style.value.clone()]));
            }
        }
        Ok(rules.into_iter().map(Option::unwrap_or_default).collect())
    }
}

/// `r7: x;r9: x` as 7 and 9.
fn numbers(style: &str) -> Vec<u32> {
    let names = style.split(';').filter_map(|declaration| declaration.split(':').next());
    names.filter_map(|name| name.trim().strip_prefix(RULE)?.parse().ok()).collect()
}

/// Counts open elements roughly: an end tag closes one, whatever its name.
#[derive(Default)]
struct Open {
    all: usize,
    formatting: usize,
}

impl Open {
    fn start(&mut self, name: &str) -> Result<(), &'static str> {
        self.all += usize::from(!is_one_of(&VOID, name));
        self.formatting += usize::from(is_one_of(&FORMATTING, name));
        if self.all > MOST_OPEN || self.formatting > MOST_OPEN_FORMATTING {
            return Err("too many elements are open at once; close them");
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        self.all = self.all.saturating_sub(1);
        self.formatting = self.formatting.saturating_sub(usize::from(is_one_of(&FORMATTING, name)));
    }
}
