//! Finds the mustaches in a template, before handlebars sees it.
//!
//! handlebars parses by recursion, so a template of a hundred thousand open blocks would exhaust the stack. What
//! [`mustaches`] has passed is nested at most [`DEEPEST`] deep, compiles in bounded time and says nothing that we
//! refuse.

use std::ops::Range;

use super::{Part, TemplateFault};

/// How deep blocks may be nested; an `else if` counts as a block in its block.
pub(super) const DEEPEST: usize = 32;
/// How deep `each` may be nested in `each`.
pub(super) const DEEPEST_LOOP: usize = 3;
/// The bound on mustaches times bytes: handlebars finds the line of each by counting from the top of the template,
/// a second's work at this bound.
const MOST_WORK: usize = 256_000_000;
/// How deep parentheses may be nested in one mustache.
const DEEPEST_CALL: usize = 8;

/// What a mustache does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Prints something.
    Print,
    /// Opens a block.
    Open,
    /// `else`, with or without another condition.
    Else,
    /// Closes a block.
    Close,
    /// A comment.
    Comment,
    /// Calls a partial.
    Partial,
    /// Opens what a partial is given as a block.
    OpenPartial,
}

/// One `{{…}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mustache {
    /// Its bytes in the template, braces and all.
    pub(super) range: Range<usize>,
    /// What it does.
    pub(super) role: Role,
}

/// Finds all mustaches, in order.
///
/// # Errors
/// When a mustache is not closed or says what we refuse, or blocks are nested too deep.
pub(super) fn mustaches(part: Part, source: &str) -> Result<Vec<Mustache>, TemplateFault> {
    let found = with_partials(part, source)?;
    match found.iter().find(|mustache| matches!(mustache.role, Role::Partial | Role::OpenPartial)) {
        Some(partial) => Err(fault_at(part, source, partial.range.start, "partials are not supported here")),
        None => Ok(found),
    }
}

/// The same where partials are not in their places yet.
///
/// # Errors
/// As [`mustaches`].
pub(super) fn with_partials(part: Part, source: &str) -> Result<Vec<Mustache>, TemplateFault> {
    let mut found = Vec::new();
    let mut nesting = Nesting::default();
    let mut at = 0;
    while let Some(start) = source[at..].find("{{").map(|offset| at + offset) {
        if is_escaped(&source[at..start]) {
            at = start + escaped_length(&source[start..]);
            continue;
        }
        let refuse = |message: &str| fault_at(part, source, start, message);
        let mustache = read(source, start).map_err(&refuse)?;
        nesting.enter(mustache.role, inner(&source[mustache.range.clone()])).map_err(&refuse)?;
        at = mustache.range.end;
        found.push(mustache);
        if found.len().saturating_mul(source.len()) > MOST_WORK {
            return Err(refuse("there are too many placeholders for a template of this size"));
        }
    }
    Ok(found)
}

/// The fault at a byte of a part.
pub(super) fn fault_at(part: Part, source: &str, byte: usize, message: &str) -> TemplateFault {
    let before = source.get(..byte).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    TemplateFault {
        part,
        line: Some(before.matches('\n').count() + 1),
        column: Some(before[line_start..].chars().count() + 1),
        message: message.to_owned(),
    }
}

/// What stands between the braces, without `~`, `#`, `/` and the like.
pub(super) fn inner(mustache: &str) -> &str {
    mustache.trim_matches(|c: char| {
        matches!(c, '{' | '}' | '~' | '#' | '/' | '&' | '^' | '>') || c.is_ascii_whitespace()
    })
}

/// One backslash before the braces makes text of them; two or more are backslashes.
fn is_escaped(text_before: &str) -> bool {
    text_before.ends_with('\\') && !text_before.ends_with("\\\\")
}

/// How many braces one backslash makes text of: two, or all four that open a raw block.
fn escaped_length(braces: &str) -> usize {
    if braces.starts_with("{{{{") { 4 } else { 2 }
}

fn read(source: &str, start: usize) -> Result<Mustache, &'static str> {
    let rest = &source[start..];
    if rest.starts_with("{{{{") {
        return Err("raw blocks are not supported");
    }
    let skipped = |text: &str| {
        text.len() - text.trim_start_matches(|c: char| c == '~' || c.is_ascii_whitespace()).len()
    };
    let mut body = 2 + skipped(&rest[2..]);
    let role = match rest[body..].chars().next() {
        Some('!') => {
            let end = start + comment_end(&rest[body + 1..]).ok_or("this comment is not closed")? + body + 1;
            return Ok(Mustache { range: start..end, role: Role::Comment });
        }
        Some('>') => {
            body += 1;
            Role::Partial
        }
        Some('*') => return Err("decorators are not supported"),
        Some('#') => {
            body += 1 + skipped(&rest[body + 1..]);
            match rest[body..].chars().next() {
                Some('>') => {
                    body += 1;
                    Role::OpenPartial
                }
                Some('*') => return Err("decorators are not supported"),
                _ => Role::Open,
            }
        }
        Some('/') => Role::Close,
        Some('^') => Role::Else,
        _ if word(&rest[body..]) == "else" => Role::Else,
        _ => Role::Print,
    };
    let end = start + body + expression_end(&rest[body..])?;
    Ok(Mustache { range: start..end, role })
}

fn word(text: &str) -> &str {
    text.split(|c: char| c.is_ascii_whitespace() || matches!(c, '}' | '~')).next().unwrap_or_default()
}

/// The length of a comment's rest, from after the `!`.
fn comment_end(rest: &str) -> Option<usize> {
    let spaces = rest.len() - rest.trim_start().len();
    if let Some(long) = rest[spaces..].strip_prefix("--")
        && let Some(end) = long.find("--}}")
    {
        return Some(spaces + 2 + end + 4);
    }
    rest.find("}}").map(|end| end + 2)
}

/// The length of a mustache's rest, up to and with its closing braces.
fn expression_end(rest: &str) -> Result<usize, &'static str> {
    const OPEN: &str = "this placeholder is not closed";
    let bytes = rest.as_bytes();
    let mut triple = false;
    let mut calls = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => at += quoted_length(&rest[at..], byte).ok_or(OPEN)?,
            b'[' => {
                let length = rest[at..].find(']').ok_or(OPEN)?;
                if rest[at + 1..at + length].contains(['[', '{', '}', '"', '\'']) {
                    return Err("brackets may only hold a name or numbers");
                }
                at += length + 1;
                continue;
            }
            b'(' => {
                calls += 1;
                if calls > DEEPEST_CALL {
                    return Err("parentheses are nested too deep");
                }
            }
            b')' => calls = calls.saturating_sub(1),
            b'{' if !triple && rest[..at].trim().is_empty() => triple = true,
            b'{' => return Err("braces are not allowed in a placeholder"),
            b'}' if triple => triple = false,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Ok(at + 2),
            b'}' => return Err(OPEN),
            _ => {}
        }
        at += 1;
    }
    Err(OPEN)
}

/// The distance from an opening quote to its closing one.
fn quoted_length(text: &str, quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (at, &byte) in text.as_bytes().iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// The blocks that are open: of each, how deep it nests by itself, and whether it is a loop.
#[derive(Default)]
struct Nesting {
    open: Vec<(usize, bool)>,
}

impl Nesting {
    fn enter(&mut self, role: Role, inner: &str) -> Result<(), &'static str> {
        match role {
            Role::Open => self.open.push((1, word(inner) == "each")),
            Role::Else if !matches!(inner, "else" | "") => {
                let chained = word(inner.trim_start_matches("else").trim_start()) == "each";
                if let Some((depth, is_loop)) = self.open.last_mut() {
                    *depth += 1;
                    *is_loop |= chained;
                }
            }
            Role::Close => {
                self.open.pop();
            }
            Role::OpenPartial => self.open.push((1, false)),
            Role::Print | Role::Comment | Role::Else | Role::Partial => {}
        }
        if self.open.iter().map(|(depth, _)| depth).sum::<usize>() > DEEPEST {
            return Err("blocks are nested too deep");
        }
        if self.open.iter().filter(|(_, is_loop)| *is_loop).count() > DEEPEST_LOOP {
            return Err("loops are nested too deep");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handlebars::Template;
    use handlebars::template::TemplateElement;
    use proptest::prelude::*;

    fn spans(source: &str) -> Vec<&str> {
        mustaches(Part::Html, source).unwrap().into_iter().map(|found| &source[found.range]).collect()
    }

    fn refusal(source: &str) -> String {
        mustaches(Part::Html, source).unwrap_err().to_string()
    }

    #[test]
    fn a_mustache_ends_where_handlebars_ends_it() {
        assert_eq!(spans(".a{color:{{x}}}"), ["{{x}}"]);
        assert_eq!(spans("{{{x}}}}"), ["{{{x}}}"]);
        assert_eq!(spans("{{ ~ {x} ~ }}."), ["{{ ~ {x} ~ }}"]);
        assert_eq!(spans(r#"{{lookup m "}}"}} {{y}}"#), [r#"{{lookup m "}}"}}"#, "{{y}}"]);
        assert_eq!(spans("{{!-- {{/if}} --}}{{! short }}"), ["{{!-- {{/if}} --}}", "{{! short }}"]);
        assert_eq!(spans(r"\{{no}} \\{{yes}}"), ["{{yes}}"]);
        assert_eq!(spans(r"\{{{{no}} {{yes}}"), ["{{yes}}"]);
        assert_eq!(spans(r"\{{{no}}} {{yes}}"), ["{{yes}}"]);
        assert_eq!(spans("{{a.[b c]}}"), ["{{a.[b c]}}"]);
    }

    #[test]
    fn syntax_that_is_refused_is_named_with_its_place() {
        assert_eq!(refusal("a\nü {{> row}}"), "html, line 2, column 3: partials are not supported here");
        assert_eq!(refusal("{{#> row}}{{/row}}"), "html, line 1, column 1: partials are not supported here");
        assert_eq!(
            refusal("{{#*inline \"a\"}}{{/inline}}"),
            "html, line 1, column 1: decorators are not supported"
        );
        assert_eq!(
            refusal("{{{{raw}}}}{{{{/raw}}}}"),
            "html, line 1, column 1: raw blocks are not supported"
        );
        assert_eq!(refusal("{{x"), "html, line 1, column 1: this placeholder is not closed");
        assert_eq!(refusal("{{x \"}}"), "html, line 1, column 1: this placeholder is not closed");
    }

    #[test]
    fn a_hundred_thousand_open_blocks_do_not_reach_handlebars() {
        assert!(refusal(&"{{#if a}}".repeat(100_000)).contains("too deep"));
        assert!(refusal(&format!("{{{{#if a}}}}{}", "{{else if a}}".repeat(50_000))).contains("too deep"));
        assert!(refusal(&format!("{{{{x {}", "(a ".repeat(100_000))).contains("too deep"));
        assert!(refusal(&"{{#each a}}".repeat(4)).contains("loops"));
        assert!(mustaches(Part::Html, &"{{#if a}}{{/if}}".repeat(1000)).is_ok());
        assert!(refusal(&"{{x}}".repeat(100_000)).contains("too many placeholders"));
    }

    fn blocks(template: &Template) -> usize {
        let count = |template: &Option<Template>| template.as_ref().map_or(0, blocks);
        template
            .elements
            .iter()
            .map(|element| match element {
                TemplateElement::HelperBlock(block) => 1 + count(&block.template) + count(&block.inverse),
                _ => 0,
            })
            .sum()
    }

    proptest! {
        #[test]
        fn handlebars_sees_no_block_that_we_did_not(pieces in prop::collection::vec(prop::sample::select(vec![
            "{{#if a}}", "{{/if}}", "{{else}}", "{{else if b}}", "{{^}}", "{{! ", "{{!-- ", " --}}", "}}", "{{", "\\", "{", "}",
            "\"", "'", "[", "]", "~", "x", " ", "{{x}}", "{{{y}}}", "{{ # if a }}", "{{#each l}}", "{{/each}}", "{{&z}}", "!", "--", "(", ")",
        ]), 0..14)) {
            let source = pieces.concat();
            if let (Ok(found), Ok(template)) = (mustaches(Part::Html, &source), Template::compile(&source)) {
                let opened = found.iter().filter(|m| m.role == Role::Open || (m.role == Role::Else && !matches!(inner(&source[m.range.clone()]), "else" | ""))).count();
                prop_assert_eq!(opened, blocks(&template), "{}", source);
            }
        }
    }
}
