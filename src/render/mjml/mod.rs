//! Makes HTML of MJML when a template is stored.
//!
//! The language is that of <https://documentation.mjml.io>, read by the crate `mrml`. It knows nothing of handlebars,
//! so each mustache is given to it as a word, and put back into what it makes. A mustache between MJML's elements, as
//! `{{#each}}` around a section, goes through `mj-raw`. One that does not come back is a fault: no value is lost
//! without a word.
//!
//! `mrml` reads by recursion, and what some elements say is written for each of the elements in them. It knows
//! neither a depth nor a size nor a time at which to stop. So the number of elements is bounded, and what is written
//! for many of them. It works on a thread of its own, whose stack takes even all of them inside each other, and is
//! waited for only so long (`threads.rs`).

mod threads;

use std::fmt::Write as _;
use std::time::Duration;

use mrml::prelude::parser::{Error, Span};
use mrml::prelude::render::RenderOptions;

use super::html_tokenizer::{Piece, pieces};
use super::inline_css;
use super::syntax::{self, Mustache, Role, fault_at};
use super::{Part, TemplateFault};
use threads::Threads;

/// The most elements of a document.
const MOST_ELEMENTS: usize = 4_000;
/// The most pictures of carousels: each has rules in CSS about every other.
const MOST_CAROUSEL_IMAGES: usize = 64;
/// What elements inherit, times how many there are, in bytes.
const MOST_INHERITED: usize = 16 << 20;
/// Elements whose attributes are written again for those in them.
const BEQUEATHING: [&str; 5] =
    ["<mj-attributes", "<mj-accordion", "<mj-carousel", "<mj-navbar", "<mj-social"];
/// The threads that read MJML: milliseconds are enough for what people write.
static THREADS: Threads = Threads::new(2, Duration::from_secs(5), Duration::from_secs(2));
/// The elements of MJML that hold text or HTML, not other elements of MJML.
const ENDING: [&str; 12] = [
    "mj-text",
    "mj-button",
    "mj-raw",
    "mj-table",
    "mj-title",
    "mj-preview",
    "mj-style",
    "mj-accordion-title",
    "mj-accordion-text",
    "mj-navbar-link",
    "mj-social-element",
    "mj-font",
];

/// Whether an HTML part is MJML: its first element is `<mjml>`.
pub(super) fn is_mjml(html: &str) -> bool {
    let mut rest = html.trim_start_matches('\u{feff}').trim_start();
    while let Some(comment) = rest.strip_prefix("<!--") {
        let Some((_, after)) = comment.split_once("-->") else { return false };
        rest = after.trim_start();
    }
    rest.strip_prefix("<mjml")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/'))
}

/// The HTML of an MJML document, with its mustaches. Not for an async thread.
///
/// # Errors
/// When it is no MJML, with the place; when it is too large or takes too long, or a mustache stands where MJML drops
/// it.
pub(super) fn to_html(mjml: &str, most_bytes: usize) -> Result<String, TemplateFault> {
    let start = mjml.find("<mjml").unwrap_or_default();
    if mjml.matches('<').take(2 * MOST_ELEMENTS + 1).count() > 2 * MOST_ELEMENTS {
        let message = format!("MJML may have at most {MOST_ELEMENTS} elements");
        return Err(fault_at(Part::Html, mjml, start, &message));
    }
    if mjml.matches("<mj-carousel-image").count() > MOST_CAROUSEL_IMAGES {
        let message = format!("MJML may have at most {MOST_CAROUSEL_IMAGES} pictures in carousels");
        return Err(fault_at(Part::Html, mjml, start, &message));
    }
    if inherited(mjml).saturating_mul(mjml.matches("<mj-").count()) > MOST_INHERITED {
        let message = "this MJML says too much in `mj-attributes` and the like for so many elements";
        return Err(fault_at(Part::Html, mjml, start, message));
    }
    let mustaches = syntax::mustaches(Part::Html, mjml)?;
    let words = Words::of(mjml, &mustaches);
    let mut masked = words.masked(mjml, start);
    let text = std::mem::take(&mut masked.text);
    let made = THREADS.run(move || render(&text)).unwrap_or_else(|why| Err((why.to_string(), 0)));
    let made = made.map_err(|(message, at)| fault_at(Part::Html, mjml, masked.given(at), &message))?;
    words.put_back(mjml, &made, most_bytes)
}

/// How many bytes elements may inherit from those around them and from `mj-attributes`.
fn inherited(mjml: &str) -> usize {
    let length = |rest: &str, is_end: &str| rest[1..].find(is_end).map_or(rest.len(), |end| end + 1);
    let of_one = |tag: &str| {
        let end = if tag == BEQUEATHING[0] { "</mj-attributes" } else { "<mj-" };
        mjml.match_indices(tag).map(|(at, _)| length(&mjml[at..], end)).sum::<usize>()
    };
    BEQUEATHING.iter().map(|tag| of_one(tag)).sum()
}

/// What `mrml` makes of it, or what is wrong and where.
fn render(mjml: &str) -> Result<String, (String, usize)> {
    let parsed = mrml::parse(mjml).map_err(|error| said(&error))?;
    let rendered = parsed.element.render(&RenderOptions::default());
    rendered.map_err(|error| (format!("this MJML cannot be rendered: {error}"), 0))
}

fn said(error: &Error) -> (String, usize) {
    let at = |span: &Span| span.start;
    match error {
        Error::UnexpectedElement { position, .. } => {
            ("MJML has no such element here".to_owned(), at(position))
        }
        Error::UnexpectedToken { position, .. } => ("MJML does not allow this here".to_owned(), at(position)),
        Error::MissingAttribute { name, position, .. } => {
            (format!("this element of MJML needs the attribute `{name}`"), at(position))
        }
        Error::InvalidAttribute { position, .. } => ("this attribute is not MJML's".to_owned(), at(position)),
        Error::InvalidFormat { position, .. } => ("this is not MJML".to_owned(), at(position)),
        Error::IncludeLoaderError { position, .. } => {
            ("`mj-include` is not supported; use a partial".to_owned(), at(position))
        }
        Error::EndOfStream { .. } => ("this MJML ends too early: an element is not closed".to_owned(), 0),
        Error::SizeLimit { .. } => ("this MJML is too large".to_owned(), 0),
        Error::NoRootNode | Error::ParserError { .. } => ("this is not MJML".to_owned(), 0),
    }
}

/// The words that stand for mustaches.
struct Words<'a> {
    prefix: String,
    mustaches: &'a [Mustache],
    /// Whether each stands between elements of MJML.
    is_between: Vec<bool>,
}

/// A document as `mrml` gets it.
struct MaskedDocument {
    text: String,
    /// Where stretches of it come from: bytes here, bytes there.
    stretches: Vec<(usize, usize)>,
}

impl MaskedDocument {
    /// The byte of the template that a byte of this comes from.
    fn given(&self, at: usize) -> usize {
        let stretch = self.stretches.iter().rev().find(|(here, _)| *here <= at);
        stretch.map_or(0, |(here, there)| there + (at - here))
    }
}

impl<'a> Words<'a> {
    fn of(mjml: &str, mustaches: &'a [Mustache]) -> Self {
        // A word that the template does not have.
        let mut prefix = "pmv".to_owned();
        while mjml.contains(&prefix) {
            prefix.push('q');
        }
        let masked = inline_css::mask(mjml, mustaches);
        let mut is_between = Vec::with_capacity(mustaches.len());
        let mut inside = 0_usize;
        let mut pieces = pieces(&masked);
        while let Some(piece) = pieces.next() {
            let is_ending = |name: &str| ENDING.contains(&name);
            match &piece {
                Piece::Start(tag) if is_ending(tag.name) => {
                    let is_closed = masked[..pieces.at()].ends_with("/>");
                    inside += usize::from(!is_closed);
                }
                Piece::End(name) if is_ending(name) => inside = inside.saturating_sub(1),
                _ => {}
            }
            let is_text = matches!(piece, Piece::Text(_));
            while let Some(mustache) = mustaches.get(is_between.len())
                && mustache.range.start < pieces.at()
            {
                is_between.push(is_text && inside == 0);
            }
        }
        is_between.resize(mustaches.len(), false);
        Self { prefix, mustaches, is_between }
    }

    fn word(&self, number: usize) -> String {
        format!("{}{number:05}x", self.prefix)
    }

    /// The document with words for mustaches, from `start` on.
    fn masked(&self, mjml: &str, start: usize) -> MaskedDocument {
        let mut masked = MaskedDocument { text: String::with_capacity(mjml.len()), stretches: Vec::new() };
        let mut done = start;
        for (number, mustache) in self.mustaches.iter().enumerate() {
            if mustache.range.start < done {
                continue; // before the document
            }
            masked.stretches.push((masked.text.len(), done));
            masked.text.push_str(&mjml[done..mustache.range.start]);
            masked.stretches.push((masked.text.len(), mustache.range.start));
            let word = self.word(number);
            let _ = match (mustache.role, self.is_between[number]) {
                (Role::Comment, _) => Ok(()),
                (_, true) => write!(masked.text, "<mj-raw>{word}</mj-raw>"),
                (_, false) => write!(masked.text, "{word}"),
            };
            done = mustache.range.end;
        }
        masked.stretches.push((masked.text.len(), done));
        masked.text.push_str(&mjml[done..]);
        masked
    }

    /// What was made, with the mustaches in place of their words.
    fn put_back(&self, mjml: &str, made: &str, most_bytes: usize) -> Result<String, TemplateFault> {
        let mut is_back = vec![false; self.mustaches.len()];
        let mut html = String::with_capacity(made.len() * 2);
        let mut rest = made;
        while let Some((before, after)) = rest.split_once(&self.prefix) {
            html.push_str(before);
            let number = after.get(..5).and_then(|number| number.parse::<usize>().ok());
            let mustache = number.and_then(|number| Some((number, self.mustaches.get(number)?)));
            rest = match mustache {
                Some((number, mustache)) => {
                    is_back[number] = true;
                    html.push_str(&mjml[mustache.range.clone()]);
                    after[5..].strip_prefix('x').unwrap_or(&after[5..])
                }
                None => after,
            };
            if html.len() > most_bytes {
                break;
            }
        }
        html.push_str(rest);
        if html.len() > most_bytes {
            let message = format!("the HTML of this MJML is larger than {most_bytes} bytes");
            return Err(fault_at(Part::Html, mjml, 0, &message));
        }
        let is_lost =
            |(number, mustache): &(usize, &Mustache)| mustache.role != Role::Comment && !is_back[*number];
        match self.mustaches.iter().enumerate().find(is_lost) {
            Some((_, lost)) => {
                let message = "MJML leaves out what stands here, so this placeholder would be lost";
                Err(fault_at(Part::Html, mjml, lost.range.start, message))
            }
            None => Ok(html),
        }
    }
}

#[cfg(test)]
mod tests;
