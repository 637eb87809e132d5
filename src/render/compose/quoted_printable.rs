//! Text that is mostly ASCII as it travels: quoted-printable (RFC 2045, section 6.7). It has no control characters but tabs
//! and line ends.

use memchr::{memchr, memchr_iter};

use crate::mail::first_line;

/// The longest encoded line, in bytes without its end.
const LONGEST_LINE: usize = 76;
/// The bytes that an encoded byte takes.
const ENCODED: usize = 3;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Whether text is shorter like this than in base64: at most a third of its bytes are encoded, those of line ends counted,
/// which are two bytes each.
pub(super) fn suits(text: &str) -> bool {
    let text = text.as_bytes();
    let others = count(text, |byte| !matches!(byte, b'\t' | b' '..=b'~'));
    let of_line_ends = count(text, |byte| matches!(byte, b'\r' | b'\n'));
    let in_two_bytes = memchr_iter(b'\r', text).filter(|&at| text.get(at + 1) == Some(&b'\n')).count();
    let line_ends = of_line_ends - in_two_bytes;
    let missing = 2 * line_ends - of_line_ends;
    others + missing <= (text.len() + missing) / 3
}

/// How many bytes are like this. As many as one byte can count are looked at in one go, so that the processor takes several at a
/// time.
fn count(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    let of = |bytes: &[u8]| bytes.iter().fold(0, |count, &byte| count + u8::from(is_one(byte)));
    bytes.chunks(usize::from(u8::MAX)).map(|bytes| usize::from(of(bytes))).sum()
}

/// Encodes text, whose line ends may be CR, LF or CRLF; those of the encoded text are CRLF.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len() + text.len() / 8);
    let mut text = text.as_bytes();
    loop {
        let (line, rest) = first_line(text);
        encode_line(line, &mut encoded);
        let Some(rest) = rest else { return encoded };
        encoded.extend_from_slice(b"\r\n");
        text = rest;
    }
}

fn encode_line(mut line: &[u8], encoded: &mut Vec<u8>) {
    let is_ascii = line.is_ascii();
    let mut room = LONGEST_LINE;
    while !line.is_empty() {
        let run = literal_run(line, room, is_ascii);
        // Only the line's last bytes need no room for a soft break behind them.
        let free = if run.max(1) == line.len() { room } else { room - 1 };
        let done = match run {
            0 if free >= ENCODED => {
                let byte = line[0];
                let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
                encoded.extend_from_slice(&[b'=', digits[0], digits[1]]);
                room -= ENCODED;
                1
            }
            0 => 0,
            run => {
                let fitting = run.min(free);
                encoded.extend_from_slice(&line[..fitting]);
                room -= fitting;
                fitting
            }
        };
        line = &line[done..];
        if done < run.max(1) {
            encoded.extend_from_slice(b"=\r\n");
            room = LONGEST_LINE;
        }
    }
}

/// How many bytes, of at most so many, the line begins with that are written as they are. A space or tab at its end is not.
/// Where all are ASCII, and controls are none of them, only one byte is not.
fn literal_run(line: &[u8], most: usize, is_ascii: bool) -> usize {
    let window = &line[..line.len().min(most)];
    let is_literal = |byte: &u8| matches!(byte, b'\t' | b' '..=b'<' | b'>'..=b'~');
    let end = match is_ascii {
        true => memchr(b'=', window),
        false => window.iter().position(|byte| !is_literal(byte)),
    };
    let run = end.unwrap_or(window.len());
    let ends_blank = run == line.len() && matches!(line.last(), Some(b'\t' | b' '));
    run - usize::from(ends_blank)
}

#[cfg(test)]
mod tests {
    use lettre::message::{Body, header::ContentTransferEncoding};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_broken_softly_and_spaces_at_their_ends_are_seen() {
        let a = |count| "a".repeat(count);
        for (text, expected) in [
            (String::new(), String::new()),
            ("a=é\t".into(), "a=3D=C3=A9=09".into()),
            (" \r\n\r\nb ".into(), "=20\r\n\r\nb=20".into()),
            (a(76), a(76)),
            (a(77), a(75) + "=\r\naa"),
            (a(73) + "=", a(73) + "=3D"),
            (a(74) + "=", a(74) + "=\r\n=3D"),
            (a(73) + "=b", a(73) + "=\r\n=3Db"),
        ] {
            assert_eq!(String::from_utf8(encode(&text)).unwrap(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_is_encoded_as_lettre_does(
            lines in prop::collection::vec("[a= é.\t]{0,9}[a-z]{0,80}[a= é\t]{0,9}[a-z]{60,80}[ é=\t]{0,4}", 0..6),
        ) {
            let text = lines.join("\r\n");
            prop_assert!(suits(&text) || Body::new(text.clone()).encoding() == ContentTransferEncoding::Base64);
            for line_end in ["\r", "\n"] {
                let other = text.replace("\r\n", line_end);
                prop_assert_eq!((suits(&other), encode(&other)), (suits(&text), encode(&text)));
            }
            let expected = Body::new_with_encoding(text.clone(), ContentTransferEncoding::QuotedPrintable).unwrap();
            prop_assert_eq!(String::from_utf8(encode(&text)).unwrap(), String::from_utf8(expected.into_vec()).unwrap());
        }
    }
}
