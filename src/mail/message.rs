//! A finished message as SMTP carries it: CRLF line ends, dots doubled (RFC 5321, section 4.5.2), a final dot.
//!
//! The message is written like this once, and the SMTP dialogue sends it without another look at it. What is signed or
//! shown is the message itself: see [`Message::unstuffed`].
//!
//! A bare CR or LF is never sent. Servers disagree on whether one ends a line, and that disagreement is what SMTP
//! smuggling lives on; so each becomes a CRLF before dots are looked at.

use std::{borrow::Cow, fmt};

use memchr::{memchr_iter, memchr2, memmem};

const FINAL_DOT: &[u8] = b".\r\n";

/// The bytes of a message, ready for the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// With doubled dots and the final dot.
    wire: Vec<u8>,
    /// How many dots were added, the final one not counted.
    doubled: usize,
}

/// Writes a message from its start to its end.
pub struct MessageWriter {
    wire: Vec<u8>,
    doubled: usize,
}

/// A place to which a writer may [return](MessageWriter::back_to).
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: usize,
    doubled: usize,
}

impl Message {
    /// A message from its bytes. It is copied only if a dot has to be doubled or a line end made whole.
    pub fn new(mut message: Vec<u8>) -> Self {
        if is_as_it_travels(&message) {
            message.extend_from_slice(FINAL_DOT);
            return Self { wire: message, doubled: 0 };
        }
        let mut writer = MessageWriter::with_capacity(message.len() + message.len() / 64 + 8);
        writer.lines(&message);
        writer.finish()
    }

    /// What goes over the wire after the answer to DATA, with the final dot.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Its size as a server counts it: neither doubled dots nor the final one (RFC 1870, section 3).
    pub fn size(&self) -> usize {
        self.wire.len() - self.doubled - FINAL_DOT.len()
    }

    /// Whether a server needs no 8BITMIME for it (RFC 6152).
    pub fn is_ascii(&self) -> bool {
        self.wire.is_ascii()
    }

    /// The message as its reader gets it: doubled dots are single, and there is no final one.
    pub fn unstuffed(&self) -> Cow<'_, [u8]> {
        let stuffed = &self.wire[..self.wire.len() - FINAL_DOT.len()];
        if self.doubled == 0 {
            return Cow::Borrowed(stuffed);
        }
        let mut message = Vec::with_capacity(self.size());
        let mut copied = usize::from(stuffed.starts_with(b"."));
        for line_end in memmem::find_iter(stuffed, b"\r\n.") {
            message.extend_from_slice(&stuffed[copied..line_end + 2]);
            copied = line_end + 3;
        }
        message.extend_from_slice(&stuffed[copied..]);
        Cow::Owned(message)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.size())
    }
}

/// Whether it goes over the wire as it is.
fn is_as_it_travels(message: &[u8]) -> bool {
    if message.starts_with(b".") || !(message.is_empty() || message.ends_with(b"\r\n")) {
        return false;
    }
    let mut after_line_end = 0;
    for line_feed in memchr_iter(b'\n', message) {
        let is_whole = line_feed > after_line_end && message[line_feed - 1] == b'\r';
        after_line_end = line_feed + 1;
        if !is_whole || message.get(after_line_end) == Some(&b'.') {
            return false;
        }
    }
    memchr_iter(b'\r', message).count() == memchr_iter(b'\n', message).count()
}

/// The first line of text whose line ends may be CR, LF or CRLF, and what follows its end; `None` where it has none.
pub fn first_line(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(end) = memchr2(b'\r', b'\n', text) else { return (text, None) };
    let width = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
    (&text[..end], Some(&text[end + width..]))
}

impl MessageWriter {
    /// Begins a message of about this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { wire: Vec::with_capacity(bytes), doubled: 0 }
    }

    /// Appends what is written as it travels already: its line ends are CRLF, and no line of it begins with a dot.
    pub fn ready(&mut self, text: &str) {
        self.wire.extend_from_slice(text.as_bytes());
    }

    /// Appends lines whose ends may be CR, LF or CRLF, and doubles the dots at their beginnings. A last line without an end
    /// gets none.
    pub fn lines(&mut self, text: &[u8]) {
        self.lines_up_to(text, usize::MAX);
    }

    /// The same, unless a line has more bytes than `longest` without its end. Then it returns false and the message has some
    /// of the lines: the caller goes [back](Self::back_to).
    #[must_use]
    pub fn lines_of_at_most(&mut self, longest: usize, text: &[u8]) -> bool {
        self.lines_up_to(text, longest)
    }

    fn lines_up_to(&mut self, mut text: &[u8], longest: usize) -> bool {
        let mut is_line_start = self.wire.is_empty() || self.wire.ends_with(b"\r\n");
        while let Some(&first) = text.first() {
            if is_line_start && first == b'.' {
                self.wire.push(b'.');
                self.doubled += 1;
            }
            let (line, rest) = first_line(text);
            if line.len() > longest {
                return false;
            }
            self.wire.extend_from_slice(line);
            let Some(rest) = rest else { break };
            self.wire.extend_from_slice(b"\r\n");
            is_line_start = true;
            text = rest;
        }
        true
    }

    /// Where the message ends now.
    pub fn mark(&self) -> Mark {
        Mark { length: self.wire.len(), doubled: self.doubled }
    }

    /// Takes back what was written since then.
    pub fn back_to(&mut self, mark: Mark) {
        self.wire.truncate(mark.length);
        self.doubled = mark.doubled;
    }

    /// Ends the message.
    pub fn finish(mut self) -> Message {
        if !(self.wire.is_empty() || self.wire.ends_with(b"\r\n")) {
            self.wire.extend_from_slice(b"\r\n");
        }
        self.wire.extend_from_slice(FINAL_DOT);
        Message { wire: self.wire, doubled: self.doubled }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(message: &[u8]) -> Vec<u8> {
        Message::new(message.to_vec()).wire
    }

    /// What a server makes of it: the message without the final dot and with doubled dots single.
    fn received(wire: &[u8]) -> Vec<u8> {
        let body = wire.strip_suffix(b".\r\n").unwrap();
        body.split_inclusive(|&byte| byte == b'\n')
            .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
            .copied()
            .collect()
    }

    #[test]
    fn dots_are_doubled_and_line_ends_made_whole() {
        for (message, wire) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n..b.\r\n", "a\r\n...b.\r\n.\r\n"),
            ("a\n.\nMAIL FROM:<x>", "a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\rb\r\n", "a\r\nb\r\n.\r\n"),
            ("\na\r\r\n", "\r\na\r\n\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(sent(message.as_bytes())).unwrap(), wire, "{message:?}");
        }
    }

    #[test]
    fn its_size_is_what_a_server_counts() {
        for (message, size) in [("", 0), ("a", 3), ("a\r\n", 3), (".\r\n", 3), ("a\n.\n.", 9)] {
            assert_eq!(Message::new(message.as_bytes().to_vec()).size(), size, "{message:?}");
        }
    }

    #[test]
    fn a_message_writer_goes_back_to_a_mark() {
        let mut writer = MessageWriter::with_capacity(0);
        writer.ready("Subject: x\r\n\r\n");
        let mark = writer.mark();
        assert!(!writer.lines_of_at_most(3, b".\n123\n1234\n"));
        writer.back_to(mark);
        assert!(writer.lines_of_at_most(3, b".\n123"));
        let message = writer.finish();
        assert_eq!(message.wire(), b"Subject: x\r\n\r\n..\r\n123\r\n.\r\n");
        assert_eq!((message.size(), message.doubled), (22, 1));
    }

    proptest! {
        #[test]
        fn a_server_gets_back_what_was_sent_and_sees_no_end_before_the_end(
            lines in prop::collection::vec("[.ab\r\n]{0,12}", 0..20), pieces in 1usize..5,
        ) {
            let message = lines.join("\r\n").into_bytes();
            let whole = Message::new(message.clone());
            // Written in pieces that end with their lines, it is the same.
            let mut writer = MessageWriter::with_capacity(0);
            for piece in lines.chunks(pieces) {
                let is_last = piece.as_ptr_range().end == lines.as_ptr_range().end;
                writer.lines((piece.join("\r\n") + if is_last { "" } else { "\r\n" }).as_bytes());
            }
            prop_assert_eq!(&writer.finish(), &whole);

            let text = String::from_utf8(whole.wire().to_vec()).unwrap();
            prop_assert!(text.find("\r\n.\r\n").is_none_or(|at| at + 5 == text.len()));
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));

            let lines = String::from_utf8(message).unwrap().replace("\r\n", "\n").replace('\r', "\n");
            let mut lines = lines.replace('\n', "\r\n");
            if !(lines.is_empty() || lines.ends_with("\r\n")) {
                lines.push_str("\r\n");
            }
            prop_assert_eq!(String::from_utf8(received(whole.wire())).unwrap(), lines.as_str());
            prop_assert_eq!(String::from_utf8(whole.unstuffed().into_owned()).unwrap(), lines.as_str());
            prop_assert_eq!(whole.size(), lines.len());
        }
    }
}
