//! Numbers, times and addresses as people read them.

use std::time::Duration;

use crate::mail::{Timestamp, search::MailCount};

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that may have been ended.
pub(super) fn counted(count: MailCount) -> String {
    let plus = if count.more { "+" } else { "" };
    format!("{}{plus}", number(count.count))
}

/// The same with the word: `1 mail`, `10,000+ mails`.
pub(super) fn counted_mails(count: MailCount) -> String {
    let is_one = count.count == 1 && !count.more;
    format!("{} {}", counted(count), if is_one { "mail" } else { "mails" })
}

/// A number of things: `1 mail`, `2 mails`.
pub(super) fn several(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A length of time in its two largest units: `3 min 20 s`.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds == 0 {
        return format!("{} ms", length.as_millis());
    }
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let (unit, name) = units[largest];
    let rest = units.get(largest + 1).map(|(next, name)| (seconds % unit / next, name));
    match rest {
        Some((rest, next)) if rest > 0 && seconds / unit < 10 => {
            format!("{} {name} {rest} {next}", seconds / unit)
        }
        _ => format!("{} {name}", seconds / unit),
    }
}

/// How long ago, or until when.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("in {}", length(at.since(now)));
    }
    let gone = now.since(at);
    if gone < Duration::from_secs(1) { "now".to_owned() } else { format!("{} ago", length(gone)) }
}

/// A point in time for those without a script: `26 Nov 03:09:36 UTC`.
pub(super) fn time(at: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let month = text.get(5..7).and_then(|month| month.parse::<usize>().ok());
    let month = month.and_then(|month| MONTHS.get(month.wrapping_sub(1))).copied().unwrap_or("?");
    let (day, clock) = (text.get(8..10).unwrap_or("?"), text.get(11..19).unwrap_or("?"));
    format!("{} {month} {clock} UTC", day.trim_start_matches('0'))
}

/// A text without the local parts of the addresses in it: `a••@example.net`.
pub(super) fn masked(text: &str) -> String {
    let is_local = |letter: char| {
        letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter) || !letter.is_ascii()
    };
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        let local = before.trim_end_matches(is_local).len();
        masked.push_str(&before[..local]);
        // A local part in quotes may have anything in it.
        if before[local..].is_empty() && before.ends_with('"') {
            masked.truncate(masked.rfind('"').unwrap_or(0));
            masked.truncate(masked.rfind('"').unwrap_or(masked.len()));
            masked.push_str("••");
        } else if let Some(first) = before[local..].chars().next() {
            masked.push(first);
            masked.push_str("••");
        }
        masked.push('@');
        rest = &after[1..];
    }
    masked.push_str(rest);
    masked
}

/// The beginning of a text, with an ellipsis where it goes on.
pub(super) fn beginning(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A reply without what differs from mail to mail: addresses, numbers, ids.
pub(super) fn alike(reply: &str) -> String {
    let is_edge = |letter: char| !letter.is_alphanumeric();
    let word = |(place, word): (usize, &str)| {
        let core = word.trim_matches(is_edge);
        let digits = core.chars().filter(char::is_ascii_digit).count();
        let is_code =
            place < 2 && core.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, '.' | '-'));
        let is_id = !is_code && !core.is_empty() && (digits > 3 || core.chars().count() > 24);
        if is_id || core.contains('@') { word.replacen(core, "…", 1) } else { word.to_owned() }
    };
    let words: Vec<_> = reply.split_whitespace().take(40).enumerate().map(word).collect();
    beginning(&words.join(" "), 240)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        let written = [0, 999, 1_000, 12_345, 1_000_000].map(number);
        assert_eq!(written, ["0", "999", "1,000", "12,345", "1,000,000"]);
        assert_eq!(counted(MailCount { count: 10_000, more: true }), "10,000+");
        assert_eq!(several(1, "mail", "mails"), "1 mail");
    }

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 ms"),
            (7, "7 s"),
            (60, "1 min"),
            (200, "3 min 20 s"),
            (1_799, "29 min"),
            (7_260, "2 h 1 min"),
            (90_000, "1 d 1 h"),
            (864_000, "10 d"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
        let now = Timestamp(1_000_000);
        assert_eq!(distance(Timestamp(1_005_000), now), "in 5 s");
        assert_eq!(distance(Timestamp(400_000), now), "10 min ago");
        assert_eq!(time(Timestamp(0)), "1 Jan 00:00:00 UTC");
    }

    #[test]
    fn addresses_keep_their_domains_only() {
        for (text, expected) in [
            ("ann@example.net", "a••@example.net"),
            ("550 5.1.1 <ann.lee+x@example.net>: no such user", "550 5.1.1 <a••@example.net>: no such user"),
            ("a@b.example, jörg@c.example", "a••@b.example, j••@c.example"),
            ("no address", "no address"),
            ("@example.net", "@example.net"),
            ("<\"ann lee\"@example.net>", "<••@example.net>"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn replies_that_differ_in_an_address_or_an_id_are_alike() {
        for (reply, expected) in [
            ("550 5.1.1 <ann@example.net>: no such user", "550 5.1.1 <…>: no such user"),
            ("451 4.7.1 try again in 300 s (id 4f3a99c2b81)", "451 4.7.1 try again in 300 s (id …)"),
            ("", ""),
        ] {
            assert_eq!(alike(reply), expected);
        }
    }

    #[test]
    fn a_beginning_ends_at_a_character() {
        assert_eq!(beginning("äöü", 2), "äö…");
        assert_eq!(beginning("äöü", 3), "äöü");
    }
}
