//! The relaxed canonical form of a header field and of a body (RFC 6376, sections 3.4.2 and 3.4.4).
//!
//! A line ends where SMTP ends it: at a CRLF, and at a bare CR or LF, which is sent as a CRLF.

use memchr::memchr2;

/// The first line of a text, without its end, and what comes after it.
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = memchr2(b'\r', b'\n', text) else { return (text, &[]) };
    let width = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
    (&text[..end], &text[end + width..])
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Appends a field: its name in lower case, its value on one line with single spaces. The line end is the caller's.
pub(super) fn append_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.push(b':');
    let mut words =
        value.split(|byte| is_space(*byte) || matches!(byte, b'\r' | b'\n')).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

/// The canonical form of a body: runs of spaces and tabs are one space, none at the end of a line; no empty lines at the
/// end.
pub(super) fn body(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    let mut empty_lines = 0_usize;
    while !body.is_empty() {
        let (line, rest) = split_line(body);
        body = rest;
        let line = without_spaces_at_the_end(line);
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            out.extend_from_slice(b"\r\n");
        }
        append_line(line, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn without_spaces_at_the_end(line: &[u8]) -> &[u8] {
    let length = line.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &line[..length]
}

/// Appends a line without spaces at its end. What is canonical already is copied in long pieces.
fn append_line(line: &[u8], out: &mut Vec<u8>) {
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr2(b' ', b'\t', &line[at..]) {
        let start = at + found;
        let width = line[start..].iter().take_while(|byte| is_space(**byte)).count();
        at = start + width;
        if width > 1 || line[start] == b'\t' {
            out.extend_from_slice(&line[copied..start]);
            out.push(b' ');
            copied = at;
        }
    }
    out.extend_from_slice(&line[copied..]);
}
