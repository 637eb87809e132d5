//! What the arguments of a partial mean in its mustaches.

use super::call::{is_literal, unquoted};
use crate::render::engine::escape;
use crate::render::syntax::Role;

/// A name of a partial and what it means where it is used.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) name: String,
    /// A literal as it stands, or a path from the place where the partial begins.
    pub(super) means: String,
}

/// How deep a mustache stands, in blocks that move the context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    /// From where its names are counted.
    pub(super) written: usize,
    /// From where the arguments are counted.
    pub(super) real: usize,
}

/// A mustache with the arguments in it put in; `None` where it uses none.
pub(super) fn filled(
    mustache: &str,
    role: Role,
    arguments: &[Argument],
    depth: Depth,
    escapes: bool,
) -> Option<String> {
    let body_start = mustache.len() - mustache.trim_start_matches(['{', '~', '#', '^', '&', ' ']).len();
    let body_end = mustache.trim_end_matches(['}', '~', ' ']).len();
    let body = mustache.get(body_start..body_end)?;
    let words = paths(body, role);
    let meant = |path: &str| meaning(path, arguments, depth);
    if role == Role::Print && words == [(0, body.len())] {
        let meaning = meant(body)?;
        if is_literal(&meaning) {
            let text = unquoted(&meaning).unwrap_or(&meaning);
            let is_raw = mustache.starts_with("{{{") || mustache[..body_start].contains('&');
            return Some(if escapes && !is_raw { escape(text) } else { text.to_owned() });
        }
    }
    let (mut filled, mut done) = (mustache[..body_start].to_owned(), 0);
    for (start, end) in words {
        if let Some(meaning) = meant(&body[start..end]) {
            filled.push_str(&body[done..start]);
            filled.push_str(&meaning);
            done = end;
        }
    }
    if done == 0 {
        return None;
    }
    filled.push_str(&body[done..]);
    filled.push_str(&mustache[body_end..]);
    Some(filled)
}

/// What a path means where an argument of a call does; `None` where it is none.
pub(super) fn meaning(path: &str, arguments: &[Argument], depth: Depth) -> Option<String> {
    let (mut rest, mut up) = (path, 0);
    while let Some(above) = rest.strip_prefix("../") {
        (rest, up) = (above, up + 1);
    }
    for here in ["this.", "this/", "./"] {
        rest = rest.strip_prefix(here).unwrap_or(rest);
    }
    let end = rest.find(['.', '/']).unwrap_or(rest.len());
    let (name, below) = rest.split_at(end);
    let argument = arguments.iter().find(|argument| argument.name == name).filter(|_| up == depth.written)?;
    if is_literal(&argument.means) {
        return below.is_empty().then(|| argument.means.clone());
    }
    if argument.means.starts_with('@') {
        return Some(format!("{}{below}", argument.means));
    }
    Some(format!("{}{}{below}", "../".repeat(depth.real), argument.means))
}

/// Where in a mustache's body paths stand that are looked up: no names of helpers, keys or literals.
fn paths(body: &str, role: Role) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut is_callee = role == Role::Open;
    let mut is_after_else = false;
    let mut in_pipes = false;
    let mut at = 0;
    let bytes = body.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'(' => is_callee = true,
            b'|' => in_pipes = !in_pipes,
            b'"' | b'\'' => at = end_of_text(body, at),
            byte if byte.is_ascii_whitespace() || byte == b')' => {}
            _ => {
                let length = body[at..].find(|c: char| c.is_ascii_whitespace() || "()|=\"'".contains(c));
                let end = length.map_or(body.len(), |length| at + length);
                let word = &body[at..end];
                let is_key = bytes.get(end) == Some(&b'=');
                if role == Role::Else && at == 0 && word == "else" {
                    is_after_else = true;
                } else if is_after_else || is_callee {
                    (is_after_else, is_callee) = (false, false);
                } else if !is_key && !in_pipes && word != "as" && !is_literal(word) {
                    found.push((at, end));
                }
                at = if is_key { end + 1 } else { end.max(at + 1) };
                continue;
            }
        }
        at += 1;
    }
    // `{{money total}}`: the first word is a helper when others follow it.
    let is_call =
        role == Role::Print && found.first().is_some_and(|(start, end)| *start == 0 && *end < body.len());
    if is_call {
        found.remove(0);
    }
    found
}

/// The last byte of a text in quotes.
fn end_of_text(body: &str, start: usize) -> usize {
    let quote = body.as_bytes()[start];
    let mut escaped = false;
    for (at, &byte) in body.as_bytes().iter().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at,
            _ => {}
        }
    }
    body.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_in(mustache: &str, role: Role, written: usize, real: usize) -> String {
        let argument = |name: &str, means: &str| Argument { name: name.to_owned(), means: means.to_owned() };
        let arguments =
            [argument("label", "\"Pay <now>\""), argument("url", "order.link"), argument("n", "2")];
        let depth = Depth { written, real };
        filled(mustache, role, &arguments, depth, true).unwrap_or_else(|| mustache.to_owned())
    }

    #[test]
    fn arguments_stand_for_paths_and_literals() {
        for (mustache, role, expected) in [
            ("{{label}}", Role::Print, "Pay &lt;now&gt;"),
            ("{{{label}}}", Role::Print, "Pay <now>"),
            ("{{& label}}", Role::Print, "Pay <now>"),
            ("{{ n }}", Role::Print, "2"),
            ("{{url}}", Role::Print, "{{order.link}}"),
            ("{{url.host}}", Role::Print, "{{order.link.host}}"),
            ("{{~this.url~}}", Role::Print, "{{~order.link~}}"),
            ("{{label.x}}", Role::Print, "{{label.x}}"),
            ("{{other}}", Role::Print, "{{other}}"),
            ("{{../url}}", Role::Print, "{{../url}}"),
            ("{{#if label}}", Role::Open, "{{#if \"Pay <now>\"}}"),
            ("{{#url}}", Role::Open, "{{#url}}"),
            ("{{else if (eq n label)}}", Role::Else, "{{else if (eq 2 \"Pay <now>\")}}"),
            ("{{else}}", Role::Else, "{{else}}"),
            ("{{#each url as |n|}}", Role::Open, "{{#each order.link as |n|}}"),
            ("{{money url label=label}}", Role::Print, "{{money order.link label=\"Pay <now>\"}}"),
            ("{{plural n one=\"n url\"}}", Role::Print, "{{plural 2 one=\"n url\"}}"),
        ] {
            assert_eq!(put_in(mustache, role, 0, 0), expected);
        }
    }

    #[test]
    fn a_path_is_counted_from_where_the_partial_begins() {
        assert_eq!(put_in("{{../url}}", Role::Print, 1, 1), "{{../order.link}}");
        assert_eq!(put_in("{{../url}}", Role::Print, 1, 3), "{{../../../order.link}}");
        assert_eq!(put_in("{{url}}", Role::Print, 1, 1), "{{url}}");
        assert_eq!(put_in("{{../label}}", Role::Print, 1, 2), "Pay &lt;now&gt;");
    }
}
