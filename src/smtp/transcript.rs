//! What was said on the wire, for operators who ask why an attempt failed: no credentials, no content, at most 8 KB.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes that are kept; the oldest lines make room, because the last ones say why.
const MOST_BYTES: usize = 8_000;
/// The most bytes of one line.
const LONGEST_LINE: usize = 500;
const LEFT_OUT: &str = "[earlier lines left out]\n";

/// The lines of one dialogue. Clones share them, so that a connection that is gone leaves its words behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// What we send is no command: it stays out.
    is_hidden: bool,
}

impl Transcript {
    /// Notes commands that are sent, unless they are hidden.
    pub(super) fn sent(&self, commands: &[u8]) {
        let mut lines = self.lines();
        if lines.is_hidden {
            return;
        }
        let commands = String::from_utf8_lossy(commands);
        commands.split("\r\n").filter(|line| !line.is_empty()).for_each(|line| lines.push("C: ", line));
    }

    /// Notes a reply, unless it is hidden.
    pub(super) fn said<'a>(&self, code: u16, words: impl Iterator<Item = &'a str>) {
        let mut lines = self.lines();
        if !lines.is_hidden {
            words.for_each(|line| lines.push("S: ", &format!("{code} {line}")));
        }
    }

    /// Notes in our words something that must not stand here as it is.
    pub(super) fn note(&self, who: &str, words: &str) {
        self.lines().push(who, words);
    }

    /// What follows must not be seen, until it may be again.
    pub(super) fn hide(&self, is_hidden: bool) {
        self.lines().is_hidden = is_hidden;
    }

    /// Begins anew, for the next mail.
    pub(super) fn clear(&self) {
        let mut lines = self.lines();
        lines.text.clear();
        lines.is_hidden = false;
    }

    /// What was said so far.
    pub(super) fn text(&self) -> String {
        self.lines().text.clone()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, who: &str, line: &str) {
        let needed = who.len() + LONGEST_LINE + 1;
        if self.text.len() + needed > MOST_BYTES {
            let least = self.text.len() + needed + LEFT_OUT.len() - MOST_BYTES;
            let end = self.text.bytes().enumerate().skip(least).find(|(_, byte)| *byte == b'\n');
            let cut = end.map_or(self.text.len(), |(at, _)| at + 1);
            self.text.replace_range(..cut, LEFT_OUT);
        }
        self.text.push_str(who);
        let room = self.text.len() + LONGEST_LINE;
        for letter in line.chars() {
            let letter = if letter.is_control() { '?' } else { letter };
            if self.text.len() + letter.len_utf8() > room {
                break;
            }
            self.text.push(letter);
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dialogue_reads_as_it_went_without_what_is_hidden() {
        let transcript = Transcript::default();
        transcript.said(220, ["ready"].into_iter());
        transcript.hide(true);
        transcript.sent(b"AUTH PLAIN AGFubgBodW50ZXIy\r\n");
        transcript.hide(false);
        transcript.note("C: ", "AUTH [credentials]");
        transcript.sent(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        transcript.said(550, ["5.1.1 no", "such\u{0}user"].into_iter());
        assert_eq!(
            transcript.text(),
            "S: 220 ready\nC: AUTH [credentials]\nC: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nS: 550 5.1.1 no\nS: 550 such?user\n"
        );
        transcript.clear();
        assert_eq!(transcript.text(), "");
    }

    proptest! {
        #[test]
        fn however_much_is_said_a_transcript_stays_small_and_keeps_the_end(
            lines in prop::collection::vec(".{0,700}", 0..80),
        ) {
            let transcript = Transcript::default();
            transcript.said(250, lines.iter().map(String::as_str));
            transcript.said(550, ["the end"].into_iter());
            let text = transcript.text();
            prop_assert!(text.len() <= 8_192 && text.ends_with("S: 550 the end\n"), "{}", text.len());
        }
    }
}
