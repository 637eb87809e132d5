//! The words of a reply as rules read them: one line, no enhanced code in front, no addresses, and of a reply that repeats
//! another server's only that.

use std::borrow::Cow;

use crate::mail::EnhancedCode;

/// A reply's words, and the enhanced code that stood in front of them or that they mark as one: `(#5.1.1)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) enhanced: Option<EnhancedCode>,
    pub(super) text: String,
    /// Whether they are another server's, which the relay repeats: whoever gets mail may run that.
    pub(super) are_repeated: bool,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let text = without_quoted_names(text);
        let mut words = text.split_whitespace().peekable();
        let first = words.peek().and_then(|word| without_marks(word).parse().ok());
        // Every line of a reply may begin with the code.
        let code = first.and_then(|_| words.next());
        let enhanced = first.or_else(|| marked_code(words.clone()));
        let clean = joined(words.filter(|word| Some(*word) != code));
        match repeated(&clean) {
            // What the other server said begins with a code of its own.
            Some(at) => {
                let inner = Self::of(&clean[at..]);
                Self { enhanced: enhanced.or(inner.enhanced), text: inner.text, are_repeated: true }
            }
            None => Self { enhanced, text: clean, are_repeated: false },
        }
    }
}

/// The enhanced code that some servers put elsewhere: `cuda_nsu 5.1.1 User unknown`, `sorry, no mailbox here (#5.1.1)`.
fn marked_code<'a>(mut words: impl Iterator<Item = &'a str> + Clone) -> Option<EnhancedCode> {
    let second = words.clone().nth(1).and_then(|word| word.parse().ok());
    second.or_else(|| words.find_map(|word| without_marks(word.strip_prefix("(#")?).parse().ok()))
}

/// A code without what some servers put around it: `#5.1.1`, `(5.1.1)`, `5.1.1:`.
fn without_marks(word: &str) -> &str {
    word.trim_matches(|letter: char| !letter.is_ascii_digit())
}

/// Where the words of another server begin, in `host mx.example.net said: 550 5.1.1 User unknown`. Not where they are about
/// the sender's own address: the mailbox that is unknown then is ours.
fn repeated(text: &str) -> Option<usize> {
    let is_code = |at: &usize| {
        let code = text.as_bytes().get(at + 2..at + 6);
        code.is_some_and(|code| {
            matches!(code[0], b'4' | b'5')
                && code[1..3].iter().all(u8::is_ascii_digit)
                && matches!(code[3], b' ' | b'-')
        })
    };
    let repeats =
        |at: &usize| ["said", "remote", "replied", "responded"].iter().any(|word| text[..*at].contains(word));
    let mut codes = text.match_indices(": ").map(|(at, _)| at).filter(is_code);
    let first = codes.find(repeats)?;
    // Only what stands before another server's words is the relay's own.
    if text.as_bytes()[..first].windows(6).any(|word| word.eq_ignore_ascii_case(b"sender")) {
        return None;
    }
    Some(codes.last().unwrap_or(first) + 6)
}

/// The text with `"quoted name"@` cut down to `@`: such a name may hold blanks (RFC 5321, section 4.1.2).
fn without_quoted_names(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    while let Some(end) = text.find("\"@") {
        let start = text[..end].rfind('"').unwrap_or(end);
        text.to_mut().replace_range(start..=end, "");
    }
    text
}

/// A text in one line, in which what is an address reads `<>`.
pub(in crate::smtp) fn without_addresses(text: &str) -> String {
    joined(without_quoted_names(text).split_whitespace())
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut clean = String::new();
    for word in words {
        if !clean.is_empty() {
            clean.push(' ');
        }
        push_without_address(&mut clean, word);
    }
    clean
}

/// Appends a word; what is an address in it reads `<>`.
fn push_without_address(clean: &mut String, word: &str) {
    let Some(at) = word.find('@') else {
        clean.push_str(word);
        return;
    };
    let is_edge = |letter: char| matches!(letter, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"');
    let start = word[..at].rfind(is_edge).map_or(0, |edge| edge + 1);
    let end = word[at..].find(is_edge).map_or(word.len(), |edge| at + edge);
    let before = word[..start].strip_suffix('<').unwrap_or(&word[..start]);
    let after = word[end..].strip_prefix('>').unwrap_or(&word[end..]);
    clean.push_str(before);
    clean.push_str("<>");
    // There may be more of them in what is left.
    push_without_address(clean, after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_codes_are_cut_out() {
        for (text, enhanced, words) in [
            ("5.1.1 <relaying.denied@example.net>:  User unknown", Some("5.1.1"), "<>: User unknown"),
            ("for bob@example.net (ann@example.net:blocked)", None, "for <> (<>:blocked)"),
            ("<a@b>,<c@d>", None, "<>,<>"),
            (
                "5.1.1 undeliverable: host mx.example.com[192.0.2.9] said: 550 5.1.1 User unknown (in reply to RCPT TO)",
                Some("5.1.1"),
                "User unknown (in reply to RCPT TO)",
            ),
            ("<\"relaying denied\"@example.net> unknown", None, "<> unknown"),
            ("host a said: 452 4.2.2 full", Some("4.2.2"), "full"),
            ("host a said: 550 5.1.1 sender: 554 5.7.1 no", Some("5.7.1"), "no"),
            ("#5.1.0 Address rejected.", Some("5.1.0"), "Address rejected."),
            ("(5.1.1) User unknown", Some("5.1.1"), "User unknown"),
            ("5.2.1 too much at a 5.2.1 rate", Some("5.2.1"), "too much at a rate"),
            ("cuda_nsu 4.4.3 Temporary server error", Some("4.4.3"), "cuda_nsu 4.4.3 Temporary server error"),
            ("no mailbox here (#5.1.1 - chkuser)", Some("5.1.1"), "no mailbox here (#5.1.1 - chkuser)"),
            ("sorry (#5.7.1).", Some("5.7.1"), "sorry (#5.7.1)."),
            ("client 192.0.2.1 (#no code) at 4.16.55.1", None, "client 192.0.2.1 (#no code) at 4.16.55.1"),
            (
                "<a@b>: Sender address rejected: undeliverable address: host mx said: 550 5.1.1 User unknown",
                None,
                "<>: Sender address rejected: undeliverable address: host mx said: 550 5.1.1 User unknown",
            ),
            ("SPF-check failed: 550 not allowed", None, "SPF-check failed: 550 not allowed"),
            ("", None, ""),
        ] {
            let found = Words::of(text);
            assert_eq!(found.text, words);
            assert_eq!(found.are_repeated, text.contains("said: ") && !text.contains("Sender"), "{text}");
            assert_eq!(found.enhanced.map(|code| code.to_string()).as_deref(), enhanced, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_left_in_any_text(text in any::<String>(), more in "[a-z@<>:, ]{0,60}") {
            for text in [text, more] {
                prop_assert!(!Words::of(&text).text.contains(['@', '\n']));
            }
        }
    }
}
