//! Names and subjects in headers (RFC 5322, section 3.2; RFC 2047).
//!
//! ASCII is never encoded as base64: it stays readable, in quotes where it needs them. A line with an encoded word in it
//! has at most 76 characters, the name of the field counted (RFC 2047, section 2).

use std::{borrow::Cow, fmt::Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::mail::Mailbox;

/// The longest line with an encoded word in it, and the line that others are folded at where they can be.
const LINE: usize = 76;
/// The longest encoded word.
const WORD: usize = 75;
/// The longest display name that is written, in bytes; what is longer is cut.
const LONGEST_NAME: usize = 320;
/// The longest word of a subject that is written as it is: a line can be folded only between words.
const LONGEST_PLAIN_WORD: usize = 70;

/// The value of `From`, `To` or `Reply-To`, folded; `field` is its name.
pub(super) fn mailbox(field: &str, mailbox: &Mailbox) -> String {
    let (local, domain) = (mailbox.email.local(), mailbox.email.domain());
    let name =
        mailbox.name.as_deref().filter(|name| name.len() <= LINE && name.split(' ').all(is_plain_word));
    if let Some(name) = name {
        let line = field.len() + ": ".len() + name.len() + " <@>".len() + local.len() + domain.len();
        if line <= LINE {
            return format!("{name} <{local}@{domain}>");
        }
    }
    any_mailbox(field, mailbox)
}

fn any_mailbox(field: &str, mailbox: &Mailbox) -> String {
    let address = format!("{}@{}", mailbox.email.local(), mailbox.email.domain());
    let name = mailbox.name.as_deref().map(visible).unwrap_or_default();
    let name = cut(name.trim(), LONGEST_NAME).trim();
    if name.is_empty() {
        return address;
    }
    let mut value = Folded { text: String::new(), column: field.len() + 2 };
    if is_encoded(name) {
        value.encoded(name);
    } else if name.split(' ').all(is_plain_word) {
        name.split(' ').for_each(|word| value.word(word));
    } else {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{quoted}\"").split(' ').for_each(|word| value.word(word));
    }
    value.word(&format!("<{address}>"));
    value.text
}

/// The value of `Subject`, folded: ASCII between its words; what cannot be folded or looks encoded already is encoded.
pub(super) fn subject(subject: &str) -> Cow<'_, str> {
    let is_visible = subject.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let is_short = subject.len() + "Subject: ".len() <= LINE;
    if is_visible && is_short && !subject.contains("=?") && subject.split(' ').all(|word| !word.is_empty()) {
        return Cow::Borrowed(subject);
    }
    Cow::Owned(any_subject(subject))
}

fn any_subject(subject: &str) -> String {
    let subject = visible(subject);
    let subject = subject.trim();
    let mut value = Folded { text: String::new(), column: "Subject: ".len() };
    let is_foldable = subject.split(' ').all(|word| (1..=LONGEST_PLAIN_WORD).contains(&word.len()));
    if is_encoded(subject) || (!is_foldable && !subject.is_empty()) {
        value.encoded(subject);
    } else {
        subject.split(' ').for_each(|word| value.word(word));
    }
    value.text
}

/// Whether a text must be written in encoded words, or would be read as some.
fn is_encoded(text: &str) -> bool {
    !text.is_ascii() || text.contains("=?")
}

/// Whether a word of a name needs no quotes in any reader's eyes; RFC 5322 has more characters that need none.
fn is_plain_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A value that grows and is folded.
struct Folded {
    text: String,
    /// The length of its last line.
    column: usize,
}

impl Folded {
    /// Adds a word after a space, or on a line of its own. Two spaces are an empty word.
    fn word(&mut self, word: &str) {
        if !self.text.is_empty() {
            let is_full =
                self.column + 1 + word.len() > LINE && !word.is_empty() && !self.text.ends_with(' ');
            self.text.push_str(if is_full { "\r\n " } else { " " });
            self.column = if is_full { 1 } else { self.column + 1 };
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    /// Adds a text in encoded words: ASCII in letters that can be read, anything else in base64.
    fn encoded(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            if !self.text.is_empty() {
                self.text.push_str("\r\n ");
                self.column = 1;
            }
            let room = WORD.min(LINE - self.column.min(LINE - 30)) - "=?utf-8?b??=".len();
            let (word, length, kind) = if text.is_ascii() {
                let (word, length) = quoted_printable(rest, room);
                (word, length, 'q')
            } else {
                let piece = cut(rest, room / 4 * 3);
                (BASE64_STANDARD.encode(piece), piece.len(), 'b')
            };
            rest = &rest[length..];
            let before = self.text.len();
            let _ = write!(self.text, "=?utf-8?{kind}?{word}?=");
            self.column += self.text.len() - before;
        }
    }
}

/// As much of an ASCII text as fits, encoded as RFC 2047, section 4.2 has it in a phrase, and how much that is.
fn quoted_printable(text: &str, room: usize) -> (String, usize) {
    let mut word = String::with_capacity(room);
    for (at, byte) in text.bytes().enumerate() {
        let before = word.len();
        match byte {
            b' ' => word.push('_'),
            byte if byte.is_ascii_alphanumeric() => word.push(char::from(byte)),
            byte => {
                let _ = write!(word, "={byte:02X}");
            }
        }
        if word.len() > room {
            word.truncate(before);
            return (word, at);
        }
    }
    (word, text.len())
}

/// The start of a text, at most so many bytes, without cutting a character.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text on one line: each control character and line separator is a space.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(name: &str) -> String {
        let email = "shop@example.net".parse().unwrap();
        mailbox("From", &Mailbox { name: Some(name.to_owned()), email })
    }

    #[test]
    fn a_name_of_ascii_can_be_read() {
        for (name, expected) in [
            ("Ann Lee", "Ann Lee <shop@example.net>"),
            ("Bob's Candy Shop", "\"Bob's Candy Shop\" <shop@example.net>"),
            ("Tee & Co", "\"Tee & Co\" <shop@example.net>"),
            ("Kock, Arne", "\"Kock, Arne\" <shop@example.net>"),
            ("50% off", "\"50% off\" <shop@example.net>"),
            ("say \"hi\" \\ there", "\"say \\\"hi\\\" \\\\ there\" <shop@example.net>"),
            ("a@b.example", "\"a@b.example\" <shop@example.net>"),
            ("St. John  (Tea)", "\"St. John  (Tea)\" <shop@example.net>"),
            ("=?utf-8?b?SGk=?=", "=?utf-8?q?=3D=3Futf=2D8=3Fb=3FSGk=3D=3F=3D?= <shop@example.net>"),
            (" \r\n", "shop@example.net"),
            ("Jörg", "=?utf-8?b?SsO2cmc=?= <shop@example.net>"),
        ] {
            assert_eq!(written(name), expected);
        }
    }

    #[test]
    fn a_line_with_an_encoded_word_has_at_most_76_characters() {
        for text in
            ["Grüße aus dem Teehaus ".repeat(12), "é".repeat(300), "日本語".repeat(60), "=? ".repeat(90)]
        {
            let lines =
                [format!("Subject: {}", subject(&text)), format!("From: {}", written(&text))].join("\r\n");
            for line in lines.split("\r\n") {
                assert!(!line.contains("=?") || line.len() <= 76, "{} {line}", line.len());
                assert!(line.split(' ').all(|word| !word.starts_with("=?") || word.len() <= 75), "{line}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_whatever_stands_in_a_name(name in "[ -~éß日]{0,400}") {
            for (field, value) in [("From", written(&name)), ("Subject", subject(&name).into_owned())] {
                let line = format!("{field}: {value}");
                for line in line.split("\r\n") {
                    prop_assert!(line.len() <= if line.contains("=?utf-8?") { 76 } else { 998 }, "{}", line);
                }
                prop_assert!(!name.is_ascii() || !value.contains("?b?") || field == "Subject", "{}", value);
            }
        }

        #[test]
        fn a_header_written_at_once_is_written_as_in_steps(text in "[a-zA-Z =?,.é-]{0,80}", local in "[a-z]{1,40}") {
            prop_assert_eq!(subject(&text), any_subject(&text));
            let email = format!("{local}@example.net").parse().unwrap();
            let mailbox = Mailbox { name: Some(text), email };
            prop_assert_eq!(super::mailbox("Reply-To", &mailbox), any_mailbox("Reply-To", &mailbox));
        }
    }
}
