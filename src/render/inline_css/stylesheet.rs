//! Reads the style sheets of a template: refuses broken ones, numbers the rules, and puts the placeholders of a sheet
//! where they work in a `style` attribute.

use std::collections::HashSet;
use std::ops::Range;

use crate::render::html_tokenizer::Tag;
use crate::render::syntax::{Mustache, Role, fault_at, inner};
use crate::render::{Part, TemplateFault};

use super::css_scanner::{end_of_component, find_at_top, without_leading_comments};
use super::declarations::{self, Declaration};
use super::selectors::Asked;

/// How many different properties a style sheet may set: they are compared with each other.
const MOST_PROPERTIES: usize = 500;
/// What is said of a bracket that is not closed.
const NOT_CLOSED: &str = "the style sheet has a parenthesis or a square bracket that is not closed";
/// How deep layers may be nested; deeper ones are not inlined.
const DEEPEST_LAYER: usize = 8;
/// What the declarations of rule 7 are for css-inline: `r7:x`.
pub(super) const RULE: &str = "r";

/// The content of one `<style>`.
#[derive(Default)]
pub(super) struct Sheet {
    /// What of it can be inlined, or nothing; each rule declares its number alone.
    pub(super) inlinable: String,
    /// What the rules declare, by number.
    pub(super) rules: Vec<Vec<Declaration>>,
    /// How many selectors and declarations it has, at most.
    pub(super) weight: usize,
    /// What its selectors ask for.
    pub(super) asked: Asked,
}

/// Reads the style sheet at `range` of the template. Its rules are numbered from `first` on.
///
/// # Errors
/// When a brace, a string or a comment is not closed.
pub(super) fn read(
    html: &str,
    range: Range<usize>,
    mustaches: &[Mustache],
    first: usize,
) -> Result<Sheet, TemplateFault> {
    let mut placeholders = Placeholders { of: range.start, paths: Vec::new() };
    let mut is_inlinable = true;
    let mut css = String::with_capacity(range.len());
    let mut done = range.start;
    for mustache in mustaches.iter().filter(|m| m.range.start >= range.start && m.range.end <= range.end) {
        css.push_str(&html[done..mustache.range.start]);
        done = mustache.range.end;
        let path = inner(&html[mustache.range.clone()]);
        match mustache.role {
            Role::Print if is_plain_path(path) => css.push_str(&placeholders.word(path)),
            Role::Comment => {}
            _ => is_inlinable = false,
        }
    }
    css.push_str(&html[done..range.end]);
    if !is_inlinable {
        return Ok(Sheet::default());
    }
    let refuse = |message: &str| fault_at(Part::Html, html, range.start, message);
    check_balance(&css).map_err(refuse)?;
    if properties(&css) > MOST_PROPERTIES {
        return Err(refuse("the style sheet has too many different properties"));
    }
    let weight = css.bytes().filter(|byte| matches!(byte, b'{' | b';' | b',' | b':')).count();
    let mut sheet = Sheet { weight, ..Sheet::default() };
    sheet.add_rules(&css, &placeholders, first, 0);
    Ok(sheet)
}

impl Sheet {
    fn add_rules(&mut self, css: &str, placeholders: &Placeholders, first: usize, depth: usize) {
        let mut rest = css;
        while let Some(end) = find_at_top(rest, 0, b";{") {
            let prelude = without_leading_comments(&rest[..end]);
            let is_layer = prelude.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("@layer"));
            if rest.as_bytes()[end] == b';' {
                if is_layer {
                    self.inlinable.push_str(&format!("{prelude};"));
                }
                rest = &rest[end + 1..];
                continue;
            }
            let close = find_at_top(rest, end + 1, b"}").unwrap_or(rest.len());
            let block = &rest[end + 1..close];
            if is_layer && depth < DEEPEST_LAYER {
                self.inlinable.push_str(&format!("{prelude}{{"));
                self.add_rules(block, placeholders, first, depth + 1);
                self.inlinable.push('}');
            } else if !prelude.starts_with('@') {
                self.inlinable.push_str(&format!("{prelude}{{{RULE}{}:x}}\n", first + self.rules.len()));
                self.asked.note(prelude);
                let put_back = |it: Declaration| it.map(|value| placeholders.put_back(&value));
                self.rules.push(declarations::read(block).into_iter().map(put_back).collect());
            }
            rest = rest.get(close + 1..).unwrap_or_default();
        }
    }
}

/// The placeholders of a sheet, which are words while it is CSS.
struct Placeholders {
    /// Where the sheet begins, so that no two sheets have the same words.
    of: usize,
    paths: Vec<String>,
}

impl Placeholders {
    const WORD: &str = "placeholder";

    fn word(&mut self, path: &str) -> String {
        self.paths.push(format!("{{{{@root.{path}}}}}"));
        format!("{}{}at{}x", Self::WORD, self.paths.len() - 1, self.of)
    }

    /// A value with its placeholders where their words are.
    fn put_back(&self, value: &str) -> String {
        let mut pieces = value.split(Self::WORD);
        let mut written = pieces.next().unwrap_or_default().to_owned();
        let end = format!("at{}x", self.of);
        for piece in pieces {
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            let path = piece[..digits].parse::<usize>().ok().and_then(|number| self.paths.get(number));
            match (path, piece[digits..].strip_prefix(end.as_str())) {
                (Some(path), Some(rest)) => written.extend([path.as_str(), rest]),
                _ => written.extend([Self::WORD, piece]),
            }
        }
        written
    }
}

/// Whether what a `<style …>` has in it is CSS for all screens: `media` with a condition is not.
pub(super) fn is_for_all_screens(html: &str, tag: &Tag<'_>) -> bool {
    let value = |name| tag.attribute(name).map_or("", |it| html[it.value.clone()].trim());
    let (kind, media) = (value("type"), value("media").to_ascii_lowercase());
    let is_any = |query: &str| ["all", "screen", "only screen"].contains(&query.trim());
    (kind.is_empty() || kind.eq_ignore_ascii_case("text/css"))
        && (media.is_empty() || media.split(',').any(is_any))
}

fn is_plain_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    path.split('.').all(is_name) && !path.starts_with("this")
}

/// How many different properties a style sheet sets, at most.
fn properties(css: &str) -> usize {
    let names = css.split(['{', ';']).filter_map(|rest| rest.split_once(':')).map(|(name, _)| name.trim());
    names.collect::<HashSet<_>>().len()
}

/// Whether brackets, strings and comments are closed: what is not takes in all that comes after it, the tag's own
/// style too.
fn check_balance(css: &str) -> Result<(), &'static str> {
    let bytes = css.as_bytes();
    let mut open = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_component(css, at);
        match bytes[at] {
            b'{' => open.push(b'}'),
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            byte if open.last() == Some(&byte) => {
                open.pop();
            }
            b'}' if open.contains(&b'}') => return Err(NOT_CLOSED),
            b'}' => return Err("the style sheet closes a brace that was not opened"),
            b'/' if end > at + 1 && !(end >= at + 4 && css[..end].ends_with("*/")) => {
                return Err("the style sheet has a comment that is not closed");
            }
            quote @ (b'"' | b'\'') if after_string(&css[at + 1..], quote).is_none() => {
                return Err("the style sheet has a string that is not closed");
            }
            b'u' | b'U' if end > at + 1 && bytes[end - 1] != b')' => return Err(NOT_CLOSED),
            _ => {}
        }
        at = end;
    }
    match open.last() {
        None => Ok(()),
        Some(b'}') => Err("the style sheet has a brace that is not closed"),
        Some(_) => Err(NOT_CLOSED),
    }
}

fn after_string(rest: &str, quote: u8) -> Option<&str> {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'\n' => return None,
            _ if quote == byte => return rest.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_style_sheet_is_named() {
        for (css, is_sound) in [
            ("p { color: red }", true),
            ("p { content: \"}\" } /* } */ q { a: '\\'' }", true),
            ("p { color: red", false),
            ("p } ", false),
            ("p { a: \"x }", false),
            ("/* p {}", false),
        ] {
            assert_eq!(check_balance(css).is_ok(), is_sound, "{css}");
        }
        let html = "<p>\n<style>p {</style>";
        let fault = read(html, 11..14, &[], 0).err().unwrap();
        assert_eq!(
            fault.to_string(),
            "html, line 2, column 8: the style sheet has a brace that is not closed"
        );
    }
}
