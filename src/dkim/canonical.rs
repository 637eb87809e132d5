//! The relaxed canonical form of a header field and of a body (RFC 6376, sections 3.4.2 and 3.4.4).
//!
//! A line ends where SMTP ends it: at a CRLF, and at a bare CR or LF, which is sent as a CRLF.

use memchr::memchr2;

use crate::mail::first_line;

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
pub(super) fn body(body: &[u8]) -> Vec<u8> {
    let Some(last) = body.iter().rposition(|byte| !is_space(*byte) && !matches!(byte, b'\r' | b'\n')) else {
        return Vec::new();
    };
    let text = &body[..=last];
    let mut edited = Edited { text, kept_from: 0, out: Vec::with_capacity(text.len() + 2) };
    let mut start = 0;
    while start < text.len() {
        let (line, rest) = first_line(&text[start..]);
        let (end, next) = (start + line.len(), text.len() - rest.map_or(0, <[u8]>::len));
        let spaces_from = start + line.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
        edited.line(start, spaces_from);
        if spaces_from < end || text[end..next] != *b"\r\n" {
            edited.replace(spaces_from, next, b"\r\n");
        }
        start = next;
    }
    edited.end()
}

/// A text that is copied in as long pieces as are canonical already.
struct Edited<'a> {
    text: &'a [u8],
    kept_from: usize,
    out: Vec<u8>,
}

impl Edited<'_> {
    /// Edits a line, without its end. Most lines have no runs of spaces but their indentation.
    fn line(&mut self, start: usize, end: usize) {
        let indentation = self.text[start..end].iter().take_while(|byte| is_space(**byte)).count();
        self.space(start, indentation);
        let mut at = start + indentation;
        if is_canonical(&self.text[at..end]) {
            return;
        }
        while let Some(found) = memchr2(b' ', b'\t', &self.text[at..end]) {
            at += found;
            let width = self.text[at..end].iter().take_while(|byte| is_space(**byte)).count();
            self.space(at, width);
            at += width;
        }
    }

    /// Makes so many spaces and tabs one space.
    fn space(&mut self, at: usize, width: usize) {
        if width > 1 || width == 1 && self.text[at] == b'\t' {
            self.replace(at, at + width, b" ");
        }
    }

    fn replace(&mut self, from: usize, to: usize, with: &[u8]) {
        self.out.extend_from_slice(&self.text[self.kept_from..from]);
        self.out.extend_from_slice(with);
        self.kept_from = to;
    }

    fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.text[self.kept_from..]);
        self.out
    }
}

/// Whether each space of a text is one space alone. Looks at all of it: so the compiler can look at many bytes at a time.
fn is_canonical(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.iter().skip(1));
    !pairs.fold(false, |found, (byte, next)| found | (*byte == b'\t') | ((*byte == b' ') & (*next == b' ')))
}
