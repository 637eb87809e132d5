//! A server's reply as it stands on the wire (RFC 5321, section 4.2), from lines to a value.

use crate::mail::EnhancedCode;

/// The most bytes of a line that are kept. The RFC says 512; servers that paste URLs into refusals go beyond it.
pub(super) const LONGEST_LINE: usize = 4_096;
/// The most bytes of a line that are read. What comes behind the kept ones is thrown away.
pub(super) const MOST_OF_A_LINE: usize = 1 << 20;
/// The most lines of one reply that we read. A relay that sends more has lost its mind.
const MOST_LINES: usize = 20_000;
/// The lines that are kept: so many from the first on, and the last, in which some relays say what counts.
const KEPT_LINES: usize = 100;
/// The most bytes of text that a [`Reply`](crate::mail::Reply) carries.
const LONGEST_TEXT: usize = 1_024;

/// What a server said: a code and at least one line of text, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerReply {
    pub(super) code: u16,
    lines: String,
}

/// A line that no SMTP server sends: the two sides have lost each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("a line that is not an SMTP reply")]
    NotAReply,
    #[error("a reply whose lines say different things")]
    MixedCodes,
    #[error("a line of more than a mebibyte")]
    LongLine,
    #[error("a reply of more than 20000 lines")]
    ManyLines,
    #[error("a reply that fits no command")]
    OutOfSequence,
    #[error("a reply before it was asked anything")]
    Early,
}

/// Collects the lines of one reply.
#[derive(Debug, Default)]
pub(super) struct ReplyLines {
    code: Option<u16>,
    count: usize,
    lines: String,
}

impl ReplyLines {
    /// Takes one line without its line end; gives the reply when this was the last one. Of a line that is too long the beginning
    /// counts. Lines with different codes are one reply where all say yes, for now or never: the last code is its code. Nobody
    /// else can say whether the relay has the message, and a mail whose answer is not understood is sent again.
    pub(super) fn push(&mut self, line: &[u8]) -> Result<Option<ServerReply>, ProtocolError> {
        let (code, is_last, text) = split_line(&line[..line.len().min(LONGEST_LINE)])?;
        if self.code.is_some_and(|earlier| earlier / 100 != code / 100) {
            return Err(ProtocolError::MixedCodes);
        }
        self.code = Some(code);
        self.count += 1;
        if self.count > MOST_LINES {
            return Err(ProtocolError::ManyLines);
        }
        if self.count <= KEPT_LINES || is_last {
            if self.count > 1 {
                self.lines.push('\n');
            }
            self.lines.push_str(&String::from_utf8_lossy(text));
        }
        if !is_last {
            return Ok(None);
        }
        Ok(Some(ServerReply { code, lines: std::mem::take(&mut self.lines) }))
    }
}

/// Whether a line that begins so may be one of a reply.
pub(super) fn begins_a_line(line: &[u8]) -> Result<(), ProtocolError> {
    split_line(line).map(drop)
}

fn split_line(line: &[u8]) -> Result<(u16, bool, &[u8]), ProtocolError> {
    let [hundreds @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = line else {
        return Err(ProtocolError::NotAReply);
    };
    let code = [hundreds, tens, ones].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    match rest {
        [] => Ok((code, true, rest)),
        [b' ', text @ ..] => Ok((code, true, text)),
        [b'-', text @ ..] => Ok((code, false, text)),
        _ => Err(ProtocolError::NotAReply),
    }
}

impl ServerReply {
    /// The lines without their codes, as the server sent them.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.split('\n')
    }

    pub(super) fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the server refuses, for now (4xx) or for good (5xx).
    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Whether the server says that it hangs up (RFC 5321, section 3.8).
    pub(super) fn is_closing_channel(&self) -> bool {
        self.code == 421
    }

    /// The enhanced status code at the start of the text, where its class is that of the reply (RFC 2034).
    pub(super) fn enhanced(&self) -> Option<EnhancedCode> {
        let first = self.lines().next()?;
        let code: EnhancedCode = first.split([' ', '\t']).next()?.parse().ok()?;
        (u16::from(code.class) == self.code / 100).then_some(code)
    }

    /// The words in one line for people: at most 1,024 bytes, no control characters, an enhanced code only once.
    pub(super) fn text(&self) -> String {
        let enhanced = self.enhanced().map(|code| code.to_string());
        let mut words = String::new();
        for (index, line) in self.lines().enumerate() {
            let repeated = enhanced.as_deref().filter(|_| index > 0);
            let line = repeated.and_then(|code| line.strip_prefix(code)).unwrap_or(line).trim();
            if !(line.is_empty() || words.is_empty()) {
                words.push(' ');
            }
            words.push_str(line);
        }
        printable(&words)
    }
}

/// The text with control characters replaced, cut at 1,024 bytes.
pub(super) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST_TEXT));
    for character in text.chars() {
        let shown = match character {
            '\t' | '\n' => ' ',
            control if control.is_control() => '?',
            other => other,
        };
        if clean.len() + shown.len_utf8() > LONGEST_TEXT {
            break;
        }
        clean.push(shown);
    }
    clean
}

#[cfg(test)]
pub(super) fn reply(lines: &[&str]) -> ServerReply {
    let mut collected = ReplyLines::default();
    lines.iter().find_map(|line| collected.push(line.as_bytes()).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_of_many_lines_is_one_text_with_its_enhanced_code_once() {
        let said =
            reply(&["550-5.1.1 The account does not exist.", "550-5.1.1 Try again\u{7},", "550 5.1.1 ann."]);
        assert_eq!(said.code, 550);
        assert_eq!(said.enhanced().unwrap().to_string(), "5.1.1");
        assert_eq!(said.text(), "5.1.1 The account does not exist. Try again?, ann.");
        assert_eq!(reply(&["250"]).text(), "");
        assert_eq!(reply(&["550 2.1.1 odd"]).enhanced(), None);
        assert_eq!(reply(&["250 127.0.0.1 ok"]).enhanced(), None);
    }

    #[test]
    fn a_line_that_is_no_smtp_reply_is_a_protocol_error() {
        for line in
            ["", "2", "25", "HTTP/1.1 400 Bad Request", "150 ok", "650 ok", "250_ok", "2500 ok", "abc ok"]
        {
            assert_eq!(ReplyLines::default().push(line.as_bytes()), Err(ProtocolError::NotAReply), "{line}");
        }
        let mut lines = ReplyLines::default();
        assert_eq!(lines.push(b"250-a"), Ok(None));
        assert_eq!(lines.push(b"550 b"), Err(ProtocolError::MixedCodes));
        assert_eq!(ReplyLines::default().push(&[b'2'; LONGEST_LINE + 1]), Err(ProtocolError::NotAReply));
        let mut lines = ReplyLines::default();
        assert!((0..20_000).all(|_| lines.push(b"250-x") == Ok(None)));
        assert_eq!(lines.push(b"250 x"), Err(ProtocolError::ManyLines));
    }

    #[test]
    fn lines_that_say_the_same_with_different_codes_are_one_reply_with_the_last() {
        let said = reply(&["250-2.0.0 ok", "251 2.0.0 queued"]);
        assert_eq!((said.code, said.text().as_str()), (251, "2.0.0 ok queued"));
        assert_eq!(reply(&["450-busy", "421 bye"]).code, 421);
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_counts() {
        let said = reply(&[&format!("250-{}", "x".repeat(5_000)), &format!("250 {}", "y".repeat(5_000))]);
        assert_eq!(said.code, 250);
        assert!(said.lines().all(|line| line.len() == LONGEST_LINE - 4));
    }

    #[test]
    fn of_a_reply_of_ten_thousand_lines_the_first_and_the_last_are_kept() {
        let mut lines = ReplyLines::default();
        for number in 1..10_000 {
            assert_eq!(lines.push(format!("550-line {number}").as_bytes()), Ok(None));
        }
        let said = lines.push(b"550 5.1.1 the end \0 \xfc").unwrap().unwrap();
        let kept: Vec<_> = said.lines().collect();
        assert_eq!((kept.len(), kept[0], kept[100]), (101, "line 1", "5.1.1 the end \0 \u{fffd}"));
        assert!(said.text().len() <= LONGEST_TEXT);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = reply(&[&format!("550 {}", "ü".repeat(1_000))]).text();
        assert_eq!(text.len(), 1_024);
        assert!(text.chars().all(|c| c == 'ü'));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic_or_the_text_unprintable(line in any::<Vec<u8>>()) {
            if let Ok(Some(said)) = ReplyLines::default().push(&line) {
                prop_assert!((200..600).contains(&said.code));
                prop_assert!(said.text().len() <= LONGEST_TEXT);
                prop_assert!(!said.text().contains(char::is_control));
            }
        }

        #[test]
        fn every_well_formed_reply_is_taken_as_it_was_said(
            code in 200u16..600,
            texts in prop::collection::vec("[ -~]{0,80}", 1..20),
        ) {
            let mut lines = ReplyLines::default();
            let (last, others) = texts.split_last().unwrap();
            for text in others {
                prop_assert_eq!(lines.push(format!("{code}-{text}").as_bytes()), Ok(None));
            }
            let said = lines.push(format!("{code} {last}").as_bytes()).unwrap().unwrap();
            prop_assert_eq!(said.code, code);
            prop_assert_eq!(said.lines().collect::<Vec<_>>(), texts);
        }
    }
}
