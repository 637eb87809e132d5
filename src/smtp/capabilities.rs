//! What a server says it can do, in its answer to EHLO (RFC 5321, section 4.1.1.1).

use super::{settings::AuthMechanism, wire::ServerReply};

/// The extensions that matter to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// RFC 2920: several commands in one write.
    pub(super) pipelining: bool,
    /// RFC 6152: bytes above 127 in the message.
    pub(super) eight_bit: bool,
    /// RFC 6531: local parts beyond ASCII.
    pub(super) smtputf8: bool,
    /// RFC 1870: the server takes `SIZE=`.
    pub(super) size: bool,
    /// RFC 1870: the largest message it takes, in bytes, where it says so.
    pub(super) largest: Option<usize>,
    /// RFC 9422: the most mails that it takes over one connection, where it says so.
    pub(super) most_mails: Option<u32>,
    /// RFC 3207.
    pub(super) starttls: bool,
    /// RFC 4954: the ways to sign in that we know.
    pub(super) auth: Vec<AuthMechanism>,
}

impl Capabilities {
    /// Reads the answer to EHLO. Unknown keywords, and values that make no sense, are passed over.
    pub(super) fn from_ehlo(reply: &ServerReply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().skip(1) {
            // Some old servers write `AUTH=LOGIN` for the sake of even older clients.
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "STARTTLS" => found.starttls = true,
                "SIZE" => {
                    found.size = true;
                    found.largest = words.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                }
                "LIMITS" => {
                    let limit = words.find(|word| word.eq_ignore_ascii_case("MAILMAX")).and(words.next());
                    found.most_mails = limit.and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                }
                "AUTH" => {
                    for mechanism in words.filter_map(mechanism) {
                        if !found.auth.contains(&mechanism) {
                            found.auth.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

fn mechanism(word: &str) -> Option<AuthMechanism> {
    match word.to_ascii_uppercase().as_str() {
        "PLAIN" => Some(AuthMechanism::Plain),
        "LOGIN" => Some(AuthMechanism::Login),
        "XOAUTH2" => Some(AuthMechanism::Xoauth2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::wire::reply;

    #[test]
    fn the_keywords_of_an_ehlo_answer_are_read() {
        let found = Capabilities::from_ehlo(&reply(&[
            "250-PIPELINING greets you",
            "250-pipelining",
            "250-SIZE 35882577",
            "250-8BITMIME",
            "250-STARTTLS",
            "250-AUTH CRAM-MD5 LOGIN plain",
            "250-AUTH=LOGIN PLAIN XOAUTH2",
            "250-ENHANCEDSTATUSCODES",
            "250-LIMITS RCPTMAX=1 MAILMAX=20 RCPTDOMAINMAX=1",
            "250 SMTPUTF8",
        ]));
        let all = Capabilities {
            pipelining: true,
            eight_bit: true,
            smtputf8: true,
            size: true,
            largest: Some(35_882_577),
            most_mails: Some(20),
            starttls: true,
            auth: vec![AuthMechanism::Login, AuthMechanism::Plain, AuthMechanism::Xoauth2],
        };
        assert_eq!(found, all);
    }

    #[test]
    fn a_limit_of_zero_or_nonsense_or_of_something_else_is_no_limit_of_mails() {
        for line in ["250 LIMITS", "250 LIMITS MAILMAX", "250 LIMITS MAILMAX=0", "250 LIMITS MAILMAX=lots"] {
            assert_eq!(Capabilities::from_ehlo(&reply(&["250-hello", line])).most_mails, None, "{line}");
        }
        assert_eq!(Capabilities::from_ehlo(&reply(&["250-hi", "250 LIMITS RCPTMAX=9"])).most_mails, None);
    }

    #[test]
    fn a_size_of_zero_or_nonsense_is_no_limit_and_the_greeting_is_no_keyword() {
        for line in ["250 SIZE 0", "250 SIZE", "250 SIZE lots"] {
            let found = Capabilities::from_ehlo(&reply(&["250-hello", line]));
            assert_eq!((found.size, found.largest), (true, None), "{line}");
        }
        assert_eq!(Capabilities::from_ehlo(&reply(&["250 STARTTLS"])), Capabilities::default());
    }
}
