//! Cuts HTML into its pieces, in one pass and without ever failing: what is not HTML is text.
//!
//! Not a parser: it builds no tree and repairs nothing. It knows where tags, attributes and comments begin and end
//! (as in the tokenizer of the HTML standard, section 13.2.5), which is what inlining and the text part need.

use std::ops::Range;

/// Stands for each byte of a mustache that prints nothing.
pub(super) const SILENT: u8 = 0x01;

/// Elements that have no content and no end tag (HTML standard, section 13.1.2), and `param`, which was one.
pub(super) const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// Whether a name is one of these, in any case.
pub(super) fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// One piece of a document; ranges are bytes in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text outside of tags, with its character references.
    Text(&'a str),
    /// A start tag, self-closing or not.
    Start(Tag<'a>),
    /// An end tag, with the name as written.
    End(&'a str),
    /// What is inside `<style>`, `<script>`, `<title>` and the like, and the name of that element.
    Raw(&'a str, Range<usize>),
    /// A comment, a doctype or the like.
    Other(&'a str),
}

/// A start tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// The name as written.
    pub(super) name: &'a str,
    /// Where the name ends.
    pub(super) name_end: usize,
    /// The attributes, in order.
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// An attribute of a start tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    /// The name as written.
    pub(super) name: &'a str,
    /// The value without its quotes; empty where there is none.
    pub(super) value: Range<usize>,
    /// The value with its quotes.
    pub(super) quoted: Range<usize>,
}

impl<'a> Tag<'a> {
    /// The attribute of this name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }
}

/// Elements whose content is not markup.
const RAW: [&str; 8] = ["style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes"];

/// Cuts a document into pieces.
pub(super) struct Pieces<'a> {
    html: &'a str,
    at: usize,
    raw: Option<&'a str>,
}

/// The pieces of a document, in order; together they cover all of it.
pub(super) fn pieces(html: &str) -> Pieces<'_> {
    Pieces { html, at: 0, raw: None }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some(name) = self.raw.take() {
            let start = self.at;
            self.at = end_of_raw(self.html, start, name);
            return Some(Piece::Raw(name, start..self.at));
        }
        let rest = &self.html[self.at..];
        let first = *rest.as_bytes().first()?;
        let (piece, length) = if first == b'<' { self.markup(rest) } else { text(rest, 0) };
        self.at += length;
        Some(piece)
    }
}

impl<'a> Pieces<'a> {
    /// Where the next piece begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn markup(&mut self, rest: &'a str) -> (Piece<'a>, usize) {
        let bytes = rest.as_bytes();
        match bytes.get(1) {
            Some(b'!') if rest.starts_with("<!--") => {
                let end = end_of_comment(rest);
                (Piece::Other(&rest[..end]), end)
            }
            Some(b'!' | b'?') => {
                let end = rest.find('>').map_or(rest.len(), |end| end + 1);
                (Piece::Other(&rest[..end]), end)
            }
            Some(b'/') if bytes.get(2).is_some_and(u8::is_ascii_alphabetic) => {
                let end = rest.find('>').map_or(rest.len(), |end| end + 1);
                (Piece::End(tag_name(&rest[2..])), end)
            }
            Some(letter) if letter.is_ascii_alphabetic() => {
                let (tag, end) = self.start_tag(rest);
                self.raw = Some(tag.name).filter(|name| RAW.iter().any(|raw| raw.eq_ignore_ascii_case(name)));
                (Piece::Start(tag), end)
            }
            _ => text(rest, 1),
        }
    }

    fn start_tag(&self, rest: &'a str) -> (Tag<'a>, usize) {
        let bytes = rest.as_bytes();
        let name = tag_name(&rest[1..]);
        let mut at = 1 + name.len();
        let mut tag = Tag { name, name_end: self.at + at, attributes: Vec::new() };
        loop {
            at += count(&rest[at..], |b| is_space(b) || b == b'/');
            match bytes.get(at) {
                None => return (tag, rest.len()),
                Some(b'>') => return (tag, at + 1),
                Some(_) => {}
            }
            let first = rest[at..].chars().next().map_or(0, char::len_utf8);
            let others = count(&rest[at + first..], |b| !is_space(b) && !matches!(b, b'/' | b'>' | b'='));
            let name = &rest[at..at + first + others];
            at += name.len();
            let after = at + count(&rest[at..], is_space);
            let (mut value, mut quoted) = (at..at, at..at);
            if bytes.get(after) == Some(&b'=') {
                let start = after + 1 + count(&rest[after + 1..], is_space);
                (value, quoted) = attribute_value(rest, start);
                at = quoted.end;
            }
            let shift = |range: Range<usize>| self.at + range.start..self.at + range.end;
            tag.attributes.push(Attribute { name, value: shift(value), quoted: shift(quoted) });
        }
    }
}

/// Where a comment ends: after `-->`, also in `<!-->`, or after `--!>`, a fault that the standard forgives.
fn end_of_comment(rest: &str) -> usize {
    let end = rest[2..].find("-->").map_or(rest.len(), |end| end + 5);
    rest[4..end.max(4)].find("--!>").map_or(end, |end| end + 8)
}

fn text(rest: &str, from: usize) -> (Piece<'_>, usize) {
    let end = rest[from..].find('<').map_or(rest.len(), |end| from + end);
    (Piece::Text(&rest[..end]), end)
}

fn attribute_value(rest: &str, start: usize) -> (Range<usize>, Range<usize>) {
    match rest.as_bytes().get(start) {
        Some(&quote @ (b'"' | b'\'')) => {
            let end = rest[start + 1..].find(char::from(quote)).map_or(rest.len(), |end| start + 1 + end);
            (start + 1..end, start..rest.len().min(end + 1))
        }
        _ => {
            let end = start + count(&rest[start..], |b| !is_space(b) && b != b'>');
            (start..end, start..end)
        }
    }
}

/// Where the content of a raw element ends: at its end tag, or at the end of the document.
fn end_of_raw(html: &str, start: usize, name: &str) -> usize {
    let bytes = html.as_bytes();
    let mut at = start;
    while let Some(offset) = html[at..].find("</") {
        let after = at + offset + 2;
        let is_end =
            bytes.get(after..after + name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes()))
                && bytes.get(after + name.len()).is_none_or(|&b| is_space(b) || matches!(b, b'>' | b'/'));
        if is_end {
            return at + offset;
        }
        at = after;
    }
    html.len()
}

fn tag_name(rest: &str) -> &str {
    &rest[..count(rest, |b| !is_space(b) && !matches!(b, b'/' | b'>'))]
}

fn count(text: &str, is_counted: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| is_counted(byte)).count()
}

/// White space in a tag; a mustache that prints nothing is masked as [`SILENT`] and separates too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == SILENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn described(html: &str) -> Vec<String> {
        pieces(html)
            .map(|piece| match piece {
                Piece::Text(text) => format!("text {text}"),
                Piece::Start(tag) => {
                    let attributes = tag.attributes.iter();
                    let written = attributes.map(|a| format!(" {}={}", a.name, &html[a.value.clone()]));
                    format!("start {}{}", tag.name, written.collect::<String>())
                }
                Piece::End(name) => format!("end {name}"),
                Piece::Raw(name, range) => format!("raw {name} {}", &html[range]),
                Piece::Other(other) => format!("other {other}"),
            })
            .collect()
    }

    #[test]
    fn pieces_are_those_of_the_html_standard() {
        for (html, expected) in [
            ("a<b>c</b>", vec!["text a", "start b", "text c", "end b"]),
            ("<a href='x>y' b = z c/>t", vec!["start a href=x>y b=z c=", "text t"]),
            ("1 < 2 <3 </", vec!["text 1 ", "text < 2 ", "text <3 ", "text </"]),
            ("<!-- <b> --><!DOCTYPE html>", vec!["other <!-- <b> -->", "other <!DOCTYPE html>"]),
            (
                "<style>a>b{}</sty </STYLE >x",
                vec!["start style", "raw style a>b{}</sty ", "end STYLE", "text x"],
            ),
            ("<!--[if !mso]><!--><p>", vec!["other <!--[if !mso]><!-->", "start p"]),
            (
                "<!--a--!>b<!---->c<!-->d<!--->e<!--f",
                vec![
                    "other <!--a--!>",
                    "text b",
                    "other <!---->",
                    "text c",
                    "other <!-->",
                    "text d",
                    "other <!--->",
                    "text e",
                    "other <!--f",
                ],
            ),
            ("<a href=\"open", vec!["start a href=open"]),
            ("<p é=1 =x>", vec!["start p é=1 =x="]),
        ] {
            assert_eq!(described(html), expected, "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_a_panic(pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "/", "=", "\"", "'", "é", "a", "style", " ", "<!--", "-->", "</", "<p ", "&amp;", "\u{1}", "日",
        ]), 0..30)) {
            described(&pieces.concat());
        }
    }
}
