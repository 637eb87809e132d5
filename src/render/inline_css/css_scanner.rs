//! Walks over CSS without understanding it: strings, comments, escapes and addresses without quotes are one thing
//! each (CSS Syntax, section 4).

/// Where the thing that begins at a byte ends: a string, a comment, an escape, `url(…)` without quotes, or the byte
/// alone.
pub(super) fn end_of_component(css: &str, at: usize) -> usize {
    let bytes = css.as_bytes();
    let end = match bytes[at] {
        b'\\' => at + 1 + css[at + 1..].chars().next().map_or(0, char::len_utf8),
        quote @ (b'"' | b'\'') => end_of_string(bytes, at, quote),
        b'/' if bytes.get(at + 1) == Some(&b'*') => {
            css[at + 2..].find("*/").map_or(bytes.len(), |end| at + 2 + end + 2)
        }
        b'u' | b'U' => end_of_address(bytes, at).unwrap_or(at + 1),
        _ => at + 1,
    };
    end.min(bytes.len())
}

fn end_of_string(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            _ if byte == quote => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where `url(…)` without quotes ends: at the next `)`, whatever quotes, brackets and slashes are in it.
fn end_of_address(bytes: &[u8], start: usize) -> Option<usize> {
    let is_in_a_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || !byte.is_ascii();
    if !bytes[start..].get(..4)?.eq_ignore_ascii_case(b"url(")
        || start.checked_sub(1).is_some_and(|before| is_in_a_name(&bytes[before]))
    {
        return None;
    }
    let mut at = start + 4;
    let first = bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'"' | b'\'')) {
        return None;
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b')' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Some(bytes.len())
}

/// The place of the first byte of these at which no bracket is open, from `start` on.
pub(super) fn find_at_top(css: &str, start: usize, wanted: &[u8]) -> Option<usize> {
    let bytes = css.as_bytes();
    let (mut at, mut open) = (start, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            byte if open == 0 && wanted.contains(&byte) => return Some(at),
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        at = end_of_component(css, at);
    }
    None
}

/// What is left of a text when the comments and the space before it are gone.
pub(super) fn without_leading_comments(css: &str) -> &str {
    let mut rest = css.trim_start();
    while rest.starts_with("/*") {
        rest = rest[end_of_component(rest, 0)..].trim_start();
    }
    rest
}
