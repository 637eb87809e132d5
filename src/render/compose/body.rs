//! The text of a part as it travels.

use std::borrow::Cow;

use lettre::message::{Body, header::ContentTransferEncoding};

/// The longest line of a body that is not encoded, in bytes without its end (RFC 5322, section 2.1.1).
pub(super) const LONGEST_LINE: usize = 998;

/// A body as it travels: ASCII in lines that SMTP carries stays readable as it is (RFC 5322, section 2.1.1), anything
/// else is encoded.
pub(super) fn encoded(body: String) -> Body {
    let travels = body.is_ascii() && body.split("\r\n").all(|line| line.len() <= LONGEST_LINE);
    if travels {
        Body::dangerous_pre_encoded(body.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(body)
    }
}

/// A body whose only control characters are the tab and line ends of any kind.
pub(super) fn without_controls(text: &str) -> Cow<'_, str> {
    // All bytes are looked at, so that many are at a time.
    let bytes = text.as_bytes();
    let is_control = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n')) || byte == 0x7f;
    let has_ascii = bytes.iter().fold(false, |any, &byte| any | is_control(byte));
    // U+0080 to U+009F.
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let has_others = pairs.fold(false, |any, (&first, &second)| any | ((first == 0xc2) & (second < 0xa0)));
    match has_ascii | has_others {
        true => Cow::Owned(body(text)),
        false => Cow::Borrowed(text),
    }
}

/// A body with CRLF at each line's end and no other control character than the tab.
pub(super) fn body(text: &str) -> String {
    let mut body = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.bytes().position(may_be_control) {
        body.push_str(&rest[..at]);
        let character = rest[at..].chars().next().unwrap_or(' ');
        rest = &rest[at + character.len_utf8()..];
        match character {
            '\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                body.push_str("\r\n");
            }
            '\n' => body.push_str("\r\n"),
            other if other.is_control() => {}
            other => body.push(other),
        }
    }
    body.push_str(rest);
    body
}

/// Whether a control character other than the tab may begin with this byte: U+0080 to U+009F begin with 0xC2.
fn may_be_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f || byte == 0xc2
}
