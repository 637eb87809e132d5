//! The id that a relay gives a mail in its answer to the final dot. No standard says where it stands, so this knows the
//! relays one by one; what it does not know has no id.

use regex::{Regex, RegexBuilder};

/// The longest id we keep.
const LONGEST_ID: usize = 255;
/// The longest pattern of a route, in bytes, and the most memory that it may take.
const LONGEST_PATTERN: usize = 1_000;
const LARGEST_PATTERN: usize = 256 * 1_024;

/// Finds a route's ids: by its own pattern where it has one, else in the known ways.
#[derive(Debug, Default)]
pub(super) struct ProviderIds(Option<Regex>);

impl ProviderIds {
    /// Those of a route with this pattern. The error says what is wrong with it.
    pub(super) fn new(pattern: Option<&str>) -> Result<Self, String> {
        let Some(pattern) = pattern else { return Ok(Self::default()) };
        if pattern.len() > LONGEST_PATTERN {
            return Err(format!("it has {} bytes", pattern.len()));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(LARGEST_PATTERN)
            .dfa_size_limit(LARGEST_PATTERN)
            .nest_limit(50)
            .build()
            .map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())?;
        match regex.captures_len() {
            2 => Ok(Self(Some(regex))),
            groups => Err(format!("it has {} groups", groups - 1)),
        }
    }

    /// The relay's id in the text of a 2xx answer to the final dot.
    pub(super) fn find_in(&self, text: &str) -> Option<String> {
        match &self.0 {
            None => provider_id(text),
            Some(pattern) => sane(pattern.captures(text)?.get(1)?.as_str()),
        }
    }
}

/// Finds the relay's id in the known ways.
fn provider_id(text: &str) -> Option<String> {
    let id = queued_as(text)
        .or_else(|| exim(text))
        .or_else(|| exchange(text))
        .or_else(|| gmail(text))
        .or_else(|| qmail(text))
        .or_else(|| haraka(text))
        .or_else(|| sendmail(text))
        .or_else(|| amazon(text))?;
    sane(id)
}

fn sane(id: &str) -> Option<String> {
    let is_sane =
        !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_sane.then(|| id.to_owned())
}

/// Postfix, SendGrid and many that imitate them: `2.0.0 Ok: queued as 4F2A1`.
fn queued_as(text: &str) -> Option<&str> {
    const MARK: &str = "queued as ";
    let at = text.to_ascii_lowercase().find(MARK)?;
    word(&text[at + MARK.len()..])
}

/// Exim: `OK id=1rXyZ0-000000-0A`.
fn exim(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().find_map(|part| part.strip_prefix("id="))
}

/// Exchange: `2.6.0 <message id> [InternalId=123, Hostname=…] … Queued mail for delivery`. The message id is ours; theirs is
/// the other one.
fn exchange(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("[InternalId=")?;
    rest.split([',', ']', ' ']).next()
}

/// Gmail: `2.0.0 OK  1700000000 abc123-20020a… - gsmtp`.
fn gmail(text: &str) -> Option<&str> {
    text.strip_suffix(" - gsmtp")?.split_ascii_whitespace().next_back()
}

/// qmail: `ok 1700000000 qp 123`, where the process alone is not unique.
fn qmail(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("ok ")?;
    let mut words = rest.split_ascii_whitespace();
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(time), Some("qp"), Some(process), None) if is_number(time) && is_number(process) => Some(rest),
        _ => None,
    }
}

/// Haraka: `Message Queued (5E1A0A0C-….1)`.
fn haraka(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Message Queued (")?;
    rest.split_once(')').map(|(id, _)| id)
}

/// sendmail: `2.0.0 30AB12cd004567 Message accepted for delivery`.
fn sendmail(text: &str) -> Option<&str> {
    let before = text.strip_suffix("Message accepted for delivery")?.trim_end();
    let id = before.rsplit(' ').next()?;
    let is_id = id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then_some(id)
}

/// Amazon SES: `Ok 0102018f…-000000`.
fn amazon(text: &str) -> Option<&str> {
    let id = text.strip_prefix("Ok ")?;
    let is_id_byte = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (id.len() >= 16 && id.bytes().all(is_id_byte)).then_some(id)
}

fn word(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().next().map(|word| word.trim_end_matches(['.', ',', ';', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_each_known_relay_is_found() {
        for (text, id) in [
            ("2.0.0 Ok: queued as 4F2A1", Some("4F2A1")),
            ("2.0.0 Ok: queued as 4XyZ9k2Hc1z3", Some("4XyZ9k2Hc1z3")),
            ("Ok: queued as xyz_-9", Some("xyz_-9")),
            ("OK id=1rXyZ0-000000-0A", Some("1rXyZ0-000000-0A")),
            (
                "2.6.0 <a@example.net> [InternalId=8585, Hostname=x.example.net] 7 bytes in 0.1, 2 KB/sec Queued mail for delivery",
                Some("8585"),
            ),
            ("2.6.0 <a@example.net> [InternalId=8585] Queued mail for delivery", Some("8585")),
            (
                "Ok 0102018f3c2b1a00-11112222-3333-4444-5555-666677778888-000000",
                Some("0102018f3c2b1a00-11112222-3333-4444-5555-666677778888-000000"),
            ),
            ("2.0.0 OK  1700000000 abc123 - gsmtp", Some("abc123")),
            ("2.0.0 OK 1700 abc123 - gsmtp", Some("abc123")),
            ("ok 1700 qp 123", Some("1700 qp 123")),
            (
                "2.0.0 OK  1747740000 ffacd0b85a97d-3a35ca8b3f2si123.45 - gsmtp",
                Some("ffacd0b85a97d-3a35ca8b3f2si123.45"),
            ),
            ("Message Queued (5E1A0A0C-1A2B.1)", Some("5E1A0A0C-1A2B.1")),
            ("2.0.0 30AB12cd004567 Message accepted for delivery", Some("30AB12cd004567")),
            ("30AB12cd004567 Message accepted for delivery", Some("30AB12cd004567")),
            ("2.0.0 Message accepted for delivery", None),
            ("Message Queued (", None),
            ("2.0.0 Ok", None),
            ("OK", None),
            ("", None),
            ("Ok thanks", None),
            ("ok 1700 qp", None),
            ("message accepted for delivery", None),
            ("2.0.0 Ok: queued as ", None),
            ("2.0.0 Ok: queued as \u{fc}", None),
        ] {
            assert_eq!(provider_id(text).as_deref(), id, "{text}");
        }
    }

    #[test]
    fn a_route_may_have_a_pattern_of_its_own() {
        let ids = |pattern: &str| ProviderIds::new(Some(pattern));
        let own = ids(r"ref=(\w+)").unwrap();
        assert_eq!(own.find_in("2.0.0 taken, ref=X9 queued as 4F2A1").as_deref(), Some("X9"));
        assert_eq!(own.find_in("2.0.0 Ok: queued as 4F2A1"), None);
        for (pattern, said) in [
            ("ref=", "0 groups"),
            ("(a)(b)", "2 groups"),
            ("(", "unclosed"),
            (&"x".repeat(1_001), "1001 bytes"),
        ] {
            let fault = ids(pattern).unwrap_err();
            assert!(fault.contains(said), "{fault}");
        }
    }
}
