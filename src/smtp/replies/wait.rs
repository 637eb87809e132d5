//! How long a reply asks us to wait: "try again in 300 seconds", "come back in 00:05:00", "greylisted for 5 minutes".

use std::time::Duration;

/// The shortest and the longest time that is followed; what lies outside is moved to the nearer end.
pub(super) const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// What is followed of a wait that stops more than one mail: a fault that is over earlier must not cost a day.
pub(super) const LONGEST_STOP: Duration = Duration::from_secs(3_600);

/// A number stands for a wait only after one of these words.
const LEADS: [&str; 11] =
    ["in", "after", "for", "within", "least", "wait", "another", "retry", "about", "next", "approximately"];
/// After these it is one for sure.
const ASKS: [&str; 3] = ["wait", "retry", "retry-after"];
/// After the others it is one where the sentence asks for it, with a word that begins so; not where it is about a quota, such as
/// `limit of 500 messages in 24 hours`. What stands nearest before the number decides.
const OF_WAITS: &str = "again back banned block come defer delay graylist greylist postpon reconnect resen retr return \
                        suspend try wait";
const OF_QUOTAS: &str =
    "allow connections e-mails emails exceed less limit mails max messages per quota rate recipients sent";
/// So many words before the number, and behind it, are read.
const NEAR: (usize, usize) = (8, 7);

/// The wait that the words name, within bounds; `None` where they name none.
pub(super) fn wait_named_in(words: &str) -> Option<Duration> {
    let words: Vec<&str> = words.split([' ', '\t', '(', ')', ',', ';', '=', '[', ']']).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let seconds = (0..words.len()).find_map(|at| {
        let lead = words[at].trim_end_matches(':');
        let is_lead = LEADS.iter().any(|known| lead.eq_ignore_ascii_case(known))
            || lead.eq_ignore_ascii_case("retry-after");
        let next = &words[at + 1..];
        if is_lead && !is_time_of_day(lead, next) {
            seconds_at(next).filter(|_| is_asked(lead, &words[..at], next))
        } else {
            None
        }
    })?;
    Some(Duration::from_secs(seconds).clamp(BOUNDS.0, BOUNDS.1))
}

/// Whether a time between these words is one to wait for.
fn is_asked(lead: &str, before: &[&str], next: &[&str]) -> bool {
    if ASKS.iter().any(|word| lead.eq_ignore_ascii_case(word)) {
        return true;
    }
    let is_end = |word: &&&str| word.ends_with(['.', '!']);
    let before = before.iter().rev().take(NEAR.0).take_while(|word| !is_end(word));
    let sentence_ends = next.iter().take(NEAR.1).position(|word| is_end(&word));
    let behind = next.iter().take(sentence_ends.map_or(NEAR.1, |end| end + 1));
    before.chain(behind).find_map(|word| is_of_a_wait(word)).unwrap_or(false)
}

/// Whether a word is of a wait or of a quota; `None` for all others.
fn is_of_a_wait(word: &str) -> Option<bool> {
    let word = word.trim_start_matches(|letter: char| !letter.is_ascii_alphabetic()).to_ascii_lowercase();
    let begins_so = |beginnings: &str| beginnings.split(' ').any(|beginning| word.starts_with(beginning));
    match begins_so(OF_WAITS) {
        true => Some(true),
        false => begins_so(OF_QUOTAS).then_some(false),
    }
}

/// Whether these words begin with a time of day rather than a while: `after 06:00`, `in 00:00 UTC`.
fn is_time_of_day(lead: &str, words: &[&str]) -> bool {
    let [first, rest @ ..] = words else { return false };
    let zone = rest.first().map_or("", |word| word.get(..3).unwrap_or(word));
    let zones = ["utc", "gmt", "cet", "ces", "est", "edt", "pst", "pdt", "msk", "jst", "am", "pm", "z"];
    let has_zone = zones.iter().any(|known| zone.eq_ignore_ascii_case(known));
    let is_short = first.matches(':').count() == 1;
    first.contains(':') && (has_zone || (is_short && lead.eq_ignore_ascii_case("after")))
}

/// The seconds that these words begin with: `300 seconds`, `5min`, `1h30m`, `00:05:00`, `an hour`.
fn seconds_at(words: &[&str]) -> Option<u64> {
    let first = words.first()?.trim_end_matches(['.', '!']);
    if first.contains(':') {
        return clock_time(first);
    }
    let second = words.get(1).copied().unwrap_or_default();
    if ["a", "an", "one"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return unit(second);
    }
    if first.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(first)?.checked_mul(unit(second)?);
    }
    let digits = first.find(|letter: char| !letter.is_ascii_digit())?;
    let rest = &first[digits..];
    let number = number(&first[..digits])?;
    // As in `1h30m`, of which the first part is enough: what follows is less than one of its units.
    let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
    number.checked_mul(unit(&rest[..letters])?)
}

/// `hh:mm:ss` or `mm:ss`.
fn clock_time(word: &str) -> Option<u64> {
    let parts: Vec<u64> = word.split(':').map(number).collect::<Option<_>>()?;
    match parts[..] {
        [minutes, seconds] if seconds < 60 => Some(minutes * 60 + seconds),
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
            Some(hours * 3_600 + minutes * 60 + seconds)
        }
        _ => None,
    }
}

fn number(digits: &str) -> Option<u64> {
    let is_short = (1..=9).contains(&digits.len());
    if is_short && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn unit(word: &str) -> Option<u64> {
    let word = word.trim_end_matches(['.', '!', ':']).to_ascii_lowercase();
    Some(match word.as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_that_a_reply_names_is_found() {
        for (words, seconds) in [
            ("Greylisted, please try again in 300 seconds", Some(300)),
            ("try again in 2 hours.", Some(7_200)),
            ("Please retry after 15 minutes", Some(900)),
            ("Greylisting in action, please come back in 00:05:00", Some(300)),
            ("Recipient address rejected: Greylisted for 5 minutes", Some(300)),
            ("retry in 1h", Some(3_600)),
            ("wait 90s", Some(90)),
            ("try again in an hour", Some(3_600)),
            ("Retry-After: 5 min", Some(300)),
            ("come back in 05:00", Some(300)),
            ("please wait at least 1h30m", Some(3_600)),
            ("try again (in 10 minutes)", Some(600)),
            ("try again in 0 seconds", Some(1)),
            ("try again in 30 days", Some(86_400)),
            ("try again in 999999999 days", Some(86_400)),
            ("try again in 99999999999999999999 seconds", None),
            ("try again in 300", None),
            ("Requested mail action aborted in 2 connections", None),
            ("limit of 5 messages per hour, try later", None),
            ("Daily limit of 500 messages in 24 hours exceeded", None),
            ("Daily limit of 500 messages in 24 hours exceeded, try again later", None),
            ("Too many connections: the limit is 10 for 1 hour", None),
            ("your domain has been registered for less than 30 days", None),
            ("the domain must be registered for at least 30 days. Please try again later", None),
            ("has exceeded permitted limits within 1h range", None),
            ("Message limit exceeded, please try again in 2 hours", Some(7_200)),
            ("too many messages; you are blocked for the next 10 minutes", Some(600)),
            ("After 300 seconds you may try again", Some(300)),
            ("from 192.0.2.1 in 10:75:00", None),
            ("try again after 00:00 UTC", None),
            ("limit reached, please retry after 06:00", None),
            ("come back in 00:10:00 UTC", None),
            ("come back in 10 mins.", Some(600)),
            ("try again after 01:00:00", Some(3_600)),
            ("try again later", None),
            ("", None),
        ] {
            assert_eq!(wait_named_in(words).map(|wait| wait.as_secs()), seconds, "{words}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_that_a_reply_names_stays_within_bounds(words in "(in|after|for|[ -~]{0,8}| |[0-9]{1,25}|[0-9]{1,3}:[0-9]{1,3}|s|hours|d){0,12}") {
            if let Some(wait) = wait_named_in(&words) {
                prop_assert!(wait >= BOUNDS.0 && wait <= BOUNDS.1);
            }
        }

        #[test]
        fn a_named_number_of_seconds_is_taken_as_it_is(seconds in 1_u64..86_400) {
            let words = format!("4.7.1 greylisted, try again in {seconds} seconds");
            prop_assert_eq!(wait_named_in(&words), Some(Duration::from_secs(seconds)));
        }
    }
}
