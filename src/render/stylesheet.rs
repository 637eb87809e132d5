//! Reads the style sheets of a template: refuses broken ones and makes placeholders in them pass through CSS.

use std::collections::HashSet;
use std::ops::Range;

use super::syntax::{Mustache, Role, fault_at, inner};
use super::{Part, TemplateFault};

/// css-inline compares each property of an element with all it has.
const MOST_PROPERTIES: usize = 500;

/// The content of one `<style>`.
pub(super) struct Sheet {
    /// What of it can be inlined: all of it with words for its placeholders, or nothing.
    pub(super) inlinable: String,
    /// How many selectors and declarations it has, at most.
    pub(super) weight: usize,
    /// Each word, and the placeholder that it stands for.
    words: Vec<(String, String)>,
}

/// Reads the style sheet at `range` of the template.
///
/// # Errors
/// When a brace, a string or a comment is not closed.
pub(super) fn read(html: &str, range: Range<usize>, mustaches: &[Mustache]) -> Result<Sheet, TemplateFault> {
    let mut sheet = Sheet { inlinable: String::new(), weight: 0, words: Vec::new() };
    let mut is_inlinable = !is_for_other_media(html, range.start);
    let mut css = String::with_capacity(range.len());
    let mut done = range.start;
    for mustache in mustaches.iter().filter(|m| m.range.start >= range.start && m.range.end <= range.end) {
        css.push_str(&html[done..mustache.range.start]);
        done = mustache.range.end;
        let path = inner(&html[mustache.range.clone()]);
        match mustache.role {
            Role::Print if is_plain_path(path) => {
                let word = format!("placeholder{}at{}x", sheet.words.len(), range.start);
                css.push_str(&word);
                sheet.words.push((word, format!("{{{{@root.{path}}}}}")));
            }
            Role::Comment => {}
            _ => is_inlinable = false,
        }
    }
    css.push_str(&html[done..range.end]);
    if is_inlinable {
        check_balance(&css).map_err(|message| fault_at(Part::Html, html, range.start, message))?;
        if properties(&css) > MOST_PROPERTIES {
            return Err(fault_at(
                Part::Html,
                html,
                range.start,
                "the style sheet has too many different properties",
            ));
        }
        sheet.weight = css.bytes().filter(|byte| matches!(byte, b'{' | b';' | b',' | b':')).count();
        sheet.inlinable = css;
    }
    Ok(sheet)
}

/// Puts the placeholders back where their words are.
pub(super) fn with_placeholders(style: &str, sheets: &[Sheet]) -> String {
    let mut style = style.to_owned();
    for (word, placeholder) in sheets.iter().flat_map(|sheet| &sheet.words) {
        if style.contains(word.as_str()) {
            style = style.replace(word, placeholder);
        }
    }
    style
}

/// Whether the `<style …>` that ends at `content_start` is not for screens.
fn is_for_other_media(html: &str, content_start: usize) -> bool {
    let tag =
        html[..content_start].rfind('<').map_or("", |start| &html[start..content_start]).to_ascii_lowercase();
    tag.contains("media") && !tag.contains("screen") && !tag.contains("all")
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

/// Whether braces, strings and comments are closed.
fn check_balance(css: &str) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    let mut rest = css;
    while let Some(at) = rest.find(['{', '}', '"', '\'', '/', '\\']) {
        let (found, after) = rest[at..].split_at(1);
        rest = after;
        match found {
            "{" => depth += 1,
            "}" => {
                depth = depth.checked_sub(1).ok_or("the style sheet closes a brace that was not opened")?
            }
            "/" if rest.starts_with('*') => {
                let end = rest[1..].find("*/").ok_or("the style sheet has a comment that is not closed")?;
                rest = &rest[1 + end + 2..];
            }
            "\\" => rest = rest.strip_prefix(|_: char| true).unwrap_or(rest),
            "\"" | "'" => {
                rest = after_string(rest, found).ok_or("the style sheet has a string that is not closed")?
            }
            _ => {}
        }
    }
    if depth > 0 { Err("the style sheet has a brace that is not closed") } else { Ok(()) }
}

fn after_string<'a>(rest: &'a str, quote: &str) -> Option<&'a str> {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'\n' => return None,
            _ if quote.as_bytes() == [byte] => return rest.get(at + 1..),
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
        let fault = read(html, 11..14, &[]).err().unwrap();
        assert_eq!(
            fault.to_string(),
            "html, line 2, column 8: the style sheet has a brace that is not closed"
        );
    }
}
