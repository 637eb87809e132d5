//! The message as it goes over the wire: CRLF line ends, dots doubled (RFC 5321, section 4.5.2), a final dot.
//!
//! A bare CR or LF is never sent. Servers disagree on whether one ends a line, and that disagreement is what SMTP
//! smuggling lives on; so each becomes a CRLF before dots are looked at.

use memchr::memchr2;

/// The most bytes of a message that go into one write.
pub(super) const BLOCK: usize = 64 * 1024;

/// A message on its way out, block by block.
pub(super) struct Content<'a> {
    rest: &'a [u8],
    at_line_start: bool,
    block: usize,
}

impl<'a> Content<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self::in_blocks_of(message, BLOCK)
    }

    fn in_blocks_of(message: &'a [u8], block: usize) -> Self {
        Self { rest: message, at_line_start: true, block: block.max(2) }
    }

    /// Appends the next block to `out`; the last one with the final dot. Returns whether that was the last one.
    pub(super) fn append_block(&mut self, out: &mut Vec<u8>) -> bool {
        let mut end = self.rest.len().min(self.block);
        // A CR and its LF stay together.
        if end < self.rest.len() && self.rest[end - 1] == b'\r' {
            end -= 1;
        }
        let (block, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.append_stuffed(block, out);
        let is_last = rest.is_empty();
        if is_last {
            out.extend_from_slice(if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" });
        }
        is_last
    }

    fn append_stuffed(&mut self, mut block: &[u8], out: &mut Vec<u8>) {
        out.reserve(block.len() + block.len() / 64 + 8);
        while !block.is_empty() {
            if self.at_line_start && block[0] == b'.' {
                out.push(b'.');
            }
            let Some(line_end) = memchr2(b'\r', b'\n', block) else {
                out.extend_from_slice(block);
                self.at_line_start = false;
                return;
            };
            out.extend_from_slice(&block[..line_end]);
            out.extend_from_slice(b"\r\n");
            self.at_line_start = true;
            let width = if block[line_end..].starts_with(b"\r\n") { 2 } else { 1 };
            block = &block[line_end + width..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(message: &[u8], block: usize) -> Vec<u8> {
        let mut content = Content::in_blocks_of(message, block);
        let mut out = Vec::new();
        while !content.append_block(&mut out) {}
        out
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
        ] {
            assert_eq!(String::from_utf8(sent(message.as_bytes(), BLOCK)).unwrap(), wire, "{message:?}");
        }
    }

    #[test]
    fn a_small_message_is_one_block() {
        let mut out = Vec::new();
        assert!(Content::new(&vec![b'x'; BLOCK]).append_block(&mut out));
        assert!(!Content::new(&vec![b'x'; BLOCK + 1]).append_block(&mut out));
    }

    proptest! {
        #[test]
        fn a_server_gets_back_what_was_sent_and_sees_no_end_before_the_end(
            lines in prop::collection::vec("[.ab\r\n]{0,12}", 0..20), block in 2usize..40,
        ) {
            let message = lines.join("\r\n").into_bytes();
            let wire = sent(&message, block);
            prop_assert_eq!(&wire, &sent(&message, BLOCK));
            let text = String::from_utf8(wire.clone()).unwrap();
            prop_assert!(text.find("\r\n.\r\n").is_none_or(|at| at + 5 == text.len()));
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));

            let whole = String::from_utf8(message).unwrap().replace("\r\n", "\n").replace('\r', "\n");
            let mut whole = whole.replace('\n', "\r\n");
            if !(whole.is_empty() || whole.ends_with("\r\n")) {
                whole.push_str("\r\n");
            }
            prop_assert_eq!(String::from_utf8(received(&wire)).unwrap(), whole);
        }
    }
}
