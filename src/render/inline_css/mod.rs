//! Inlines CSS: many mail programs ignore `<style>`.
//!
//! It is done when a template is stored. css-inline works on a parsed document and writes it anew, and an HTML parser moves
//! what it finds in the wrong place: `{{#each rows}}<tr>` inside a table would land before it. So css-inline is never given
//! the template. It gets a skeleton of it: each start tag with a number, without mustaches, and each rule with a number
//! for its declarations. It says which rules a tag has. What these declare is then written into the `style` of that tag in
//! the template, and nothing else of the template changes: a fragment stays a fragment, `<style>` with its media queries
//! stays, and a template without `<style>` is untouched.
//!
//! Where the answer depends on the values, as with `tr:last-child` around a loop, it is done for each mail, with the page
//! as it is rendered ([`Rendered`]); `dependence.rs` says where. The answers of the last pages are kept: mails with equally
//! many rows have the same.
//!
//! A placeholder in a style sheet is inlined too, counted from `@root`, because the element may stand in a loop. A
//! sheet with other mustaches (conditions) is left in `<style>` only.

mod css_scanner;
mod declarations;
mod dependence;
mod rendered;
mod selectors;
mod skeleton;
mod stylesheet;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;

use super::html_tokenizer::{Piece, SILENT, pieces};
use super::syntax::{self, Mustache, Role};
use super::{Part, TemplateFault};
use declarations::Declaration;
pub(super) use rendered::{Effort, Rendered};
use selectors::Asked;
use skeleton::{Skeleton, Target};
use stylesheet::Sheet;

/// Stands for each byte of a mustache that prints something.
const PRINTED: u8 = 0x02;
/// The bytes that styles may make of a template.
const MOST_BYTES: usize = 8 << 20;

/// The HTML part with its style sheets written into its tags, as far as that does not depend on values.
///
/// # Errors
/// When a style sheet is broken, or the document is too deep or too large to be worked on.
pub(super) fn inline(html: &str) -> Result<String, TemplateFault> {
    let mustaches = syntax::mustaches(Part::Html, html)?;
    let page = Page::read(html, &mustaches)?;
    if page.has_no_rules() {
        return Ok(html.to_owned());
    }
    let skeleton = page.skeleton().map_err(fault)?;
    if page.depends_on_values() {
        return Ok(html.to_owned());
    }
    let rules = skeleton.rules().map_err(|why| fault(&why))?;
    page.write(&skeleton, &rules, MOST_BYTES).ok_or_else(|| fault("the styles make it too large"))
}

/// Whether the styles of a template must be written into each of its mails.
pub(super) fn depends_on_values(html: &str) -> bool {
    let Ok(mustaches) = syntax::mustaches(Part::Html, html) else { return false };
    !mustaches.is_empty()
        && Page::read(html, &mustaches).is_ok_and(|page| !page.has_no_rules() && page.depends_on_values())
}

fn fault(message: &str) -> TemplateFault {
    TemplateFault { part: Part::Html, line: None, column: None, message: message.to_owned() }
}

/// HTML, what is a mustache in it, and its style sheets.
struct Page<'a> {
    html: &'a str,
    /// The same with each mustache blotted out, byte for byte, so that places stay the same.
    masked: Cow<'a, str>,
    mustaches: &'a [Mustache],
    sheets: Vec<Sheet>,
}

impl<'a> Page<'a> {
    fn read(html: &'a str, mustaches: &'a [Mustache]) -> Result<Self, TemplateFault> {
        let masked: Cow<'_, str> =
            if mustaches.is_empty() { html.into() } else { mask(html, mustaches).into() };
        let mut sheets: Vec<Sheet> = Vec::new();
        if has_style(html) {
            let (mut rules, mut is_inlinable) = (0, true);
            for piece in pieces(&masked) {
                match piece {
                    Piece::Start(tag) if tag.name.eq_ignore_ascii_case("style") => {
                        is_inlinable = stylesheet::is_for_all_screens(&masked, &tag);
                    }
                    Piece::Raw(name, _) if name.eq_ignore_ascii_case("style") && !is_inlinable => {
                        sheets.push(Sheet::default());
                    }
                    Piece::Raw(name, range) if name.eq_ignore_ascii_case("style") => {
                        let sheet = stylesheet::read(html, range, mustaches, rules)?;
                        rules += sheet.rules.len();
                        sheets.push(sheet);
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { html, masked, mustaches, sheets })
    }

    fn has_no_rules(&self) -> bool {
        self.sheets.iter().all(|sheet| sheet.rules.is_empty())
    }

    fn asked(&self) -> Asked {
        self.sheets.iter().fold(Asked::default(), |asked, sheet| asked.and(sheet.asked))
    }

    fn skeleton(&self) -> Result<Skeleton, &'static str> {
        Skeleton::of(&self.masked, &self.sheets, self.asked())
    }

    fn depends_on_values(&self) -> bool {
        dependence::depends_on_values(self.html, &self.masked, self.mustaches, self.asked())
    }

    /// The page with the styles written into its tags. What a tag says itself comes last, so it wins. `None` where this
    /// would make it larger than `most_bytes`.
    fn write(&self, skeleton: &Skeleton, rules: &[Vec<u32>], most_bytes: usize) -> Option<String> {
        let all: Vec<&[Declaration]> =
            self.sheets.iter().flat_map(|sheet| sheet.rules.iter().map(Vec::as_slice)).collect();
        let html = self.html;
        let mut written = String::with_capacity(html.len() * 2);
        let mut done = 0;
        for (target, numbers) in skeleton.tags.iter().zip(rules) {
            let of_tag: Vec<_> =
                numbers.iter().filter_map(|number| all.get(*number as usize).copied()).collect();
            let style = declarations::write(&of_tag);
            if style.is_empty() {
                continue;
            }
            match target {
                Target { name_end, own: None } => {
                    written.push_str(&html[done..*name_end]);
                    let _ = write!(written, " style=\"{style}\"");
                    done = *name_end;
                }
                Target { own: Some((value, quoted)), .. } => {
                    written.push_str(&html[done..quoted.start]);
                    let own = &html[value.clone()];
                    if quoted.is_empty() && !written.trim_end().ends_with('=') {
                        written.push('='); // `<p style>`
                    }
                    if html[quoted.clone()].starts_with('\'') {
                        let _ = write!(written, "'{}; {own}'", style.replace('\'', "&#39;"));
                    } else {
                        let _ = write!(written, "\"{style}; {own}\"");
                    }
                    done = quoted.end;
                }
            }
            if written.len() > most_bytes {
                return None;
            }
        }
        written.push_str(&html[done..]);
        (written.len() <= most_bytes).then_some(written)
    }
}

fn has_style(html: &str) -> bool {
    html.as_bytes().windows(6).any(|bytes| bytes.eq_ignore_ascii_case(b"<style"))
}

pub(super) fn mask(html: &str, mustaches: &[Mustache]) -> String {
    let mut masked = String::with_capacity(html.len());
    for Mustache { range, role } in mustaches {
        masked.push_str(&html[masked.len()..range.start]);
        let blot = if *role == Role::Print { PRINTED } else { SILENT };
        masked.extend(range.clone().map(|_| char::from(blot)));
    }
    masked.push_str(&html[masked.len()..]);
    masked
}
