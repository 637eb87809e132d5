//! An address that can be put into an SMTP dialogue: parsed once, valid ever after.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The address of one mailbox (RFC 5321, section 4.1.2), its domain as A-labels (RFC 5891).
///
/// Comments, folding white space, address literals and source routes are refused: no shop has a customer there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    local: String,
    domain: String,
}

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing on one side of it.
    #[error("an address is a local part, `@` and a domain")]
    Shape,
    /// Longer than RFC 5321, section 4.5.3.1 allows.
    #[error("an address has at most 64 bytes before the `@` and 254 in all")]
    TooLong,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("the part before the `@` has a character that is not allowed there")]
    Local,
    /// The local part has a character that nobody sees, pasted by accident or to mislead.
    #[error("the part before the `@` has the invisible character U+{:04X}", *.0 as u32)]
    Invisible(char),
    /// The domain is not a host name of at least two labels.
    #[error("the part after the `@` is not a domain name")]
    Domain,
}

/// Where addresses are that stand for people who are gone. No host has this name (RFC 2606, section 2), so no mail goes there.
pub const NOBODYS_DOMAIN: &str = "postroom.invalid";

impl Address {
    /// Whether it stands for somebody who is gone.
    pub fn is_nobodys(&self) -> bool {
        self.domain == NOBODYS_DOMAIN
    }

    /// The part before the `@`, quoted where it was given so.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The part after the `@`, in lower case and as A-labels.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The same as people read it: as U-labels.
    pub fn readable_domain(&self) -> String {
        idna::domain_to_unicode(&self.domain).0
    }

    /// The address as mails are found by it: in lower case, because hardly any relay distinguishes local parts by case and
    /// people do not; and the domain first, so that a domain's addresses are together.
    pub fn search_key(&self) -> String {
        format!("{}@{}", self.domain, self.local.to_lowercase())
    }

    /// The address that a [`search_key`](Self::search_key) is of, in lower case.
    pub fn of_search_key(key: &str) -> String {
        key.split_once('@').map_or_else(String::new, |(domain, local)| format!("{local}@{domain}"))
    }

    /// The address with no more of its local part than the first character, for what must not name a person.
    pub fn masked(&self) -> String {
        let first = self.local.chars().next().map(String::from).unwrap_or_default();
        format!("{first}••@{}", self.domain)
    }

    /// Whether the local part has characters that only SMTPUTF8 (RFC 6531) can carry.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Blanks around an address are not part of it. Dots that a dot-string cannot have (`a..b`, `a.`), as some mobile
    /// providers of Japan gave out, are put in quotes.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Shape)?;
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Shape);
        }
        if let Some(character) = local.chars().find(|c| is_invisible(*c)) {
            return Err(AddressError::Invisible(character));
        }
        let local = if is_dot_string(local) || is_quoted_string(local) {
            local.to_owned()
        } else if local.chars().all(|c| is_atom_char(c) || c == '.') && local.chars().any(is_atom_char) {
            format!("\"{local}\"")
        } else if local.len() > 64 {
            return Err(AddressError::TooLong);
        } else {
            return Err(AddressError::Local);
        };
        if local.len() > 64 {
            return Err(AddressError::TooLong);
        }
        let domain = to_a_labels(domain)?;
        if local.len() + 1 + domain.len() > 254 {
            return Err(AddressError::TooLong);
        }
        Ok(Self { local, domain })
    }
}

fn is_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// White space other than ASCII's, and characters that are not drawn or that turn the direction of others.
fn is_invisible(c: char) -> bool {
    (!c.is_ascii() && c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
}

fn is_quoted_string(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(' '..='~') => {}
                _ => return false,
            },
            '"' => return false,
            ' '..='~' => {}
            other if !other.is_ascii() && !other.is_control() => {}
            _ => return false,
        }
    }
    !inner.is_empty()
}

/// Reads a domain name of at least two labels: in lower case and as A-labels (RFC 5891), as an [`Address`] has it.
///
/// # Errors
/// When it is none.
pub fn domain_name(text: &str) -> Result<String, AddressError> {
    to_a_labels(text)
}

fn to_a_labels(domain: &str) -> Result<String, AddressError> {
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::STD3)
        .map_err(|_| AddressError::Domain)?
        .into_owned();
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    let all_digits = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let labels: Vec<&str> = ascii.split('.').collect();
    match labels.as_slice() {
        [_, .., last] if labels.iter().all(|label| is_label(label)) && !all_digits(last) => Ok(ascii),
        _ => Err(AddressError::Domain),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An address with the name that mail programs show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// The display name; without control characters where it came through an API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address.
    pub email: Address,
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.email),
            None => self.email.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_and_unusual_addresses_are_taken() {
        for (given, kept) in [
            ("ann@example.net", "ann@example.net"),
            ("Ann.Lee+tea@EXAMPLE.net", "Ann.Lee+tea@example.net"),
            ("\"ann lee\"@example.net", "\"ann lee\"@example.net"),
            ("\"a\\\"b\"@example.net", "\"a\\\"b\"@example.net"),
            ("o'neil@example.net", "o'neil@example.net"),
            ("ann@bücher.example", "ann@xn--bcher-kva.example"),
            ("jörg@example.net", "jörg@example.net"),
            (" \tann@example.net\r\n", "ann@example.net"),
            ("ann@example.net ", "ann@example.net"),
            ("\n\n  ann@example.net", "ann@example.net"),
            ("\t\"ann lee\"@EXAMPLE.net\t", "\"ann lee\"@example.net"),
            ("da..i.ji..@docomo.example", "\"da..i.ji..\"@docomo.example"),
            ("try..this@docomo.example", "\"try..this\"@docomo.example"),
            ("\"try..this\"@docomo.example", "\"try..this\"@docomo.example"),
            ("that.@ezweb.example", "\"that.\"@ezweb.example"),
            (".ann@example.net", "\".ann\"@example.net"),
        ] {
            assert_eq!(given.parse::<Address>().map(|a| a.to_string()), Ok(kept.to_owned()), "{given}");
        }
        assert!("x".repeat(64).parse::<Address>().is_err());
        assert!(format!("{}@example.net", "x".repeat(64)).parse::<Address>().is_ok());
    }

    #[test]
    fn an_address_that_smtp_cannot_carry_is_refused() {
        use AddressError::{Domain, Local, Shape, TooLong};
        for (given, why) in [
            ("", Shape),
            ("ann", Shape),
            ("@example.net", Shape),
            ("ann@", Shape),
            ("ann@localhost", Domain),
            ("ann@[127.0.0.1]", Domain),
            ("ann@127.0.0.1", Domain),
            ("ann@-a.example", Domain),
            ("ann@a..example", Domain),
            ("ann@example.net.", Domain),
            ("ann(comment)@example.net", Local),
            ("ann lee@example.net", Local),
            ("..@example.net", Local),
            ("a b..c@example.net", Local),
            ("ann@exa\nmple.net", Domain),
            ("ann@x@example.net", Local),
            ("\"a\"b\"@example.net", Local),
            ("a\r\nRCPT TO:<b@example.net>@example.net", Local),
            ("<ann@example.net>", Local),
            ("ann@exa mple.net", Domain),
        ] {
            assert_eq!(given.parse::<Address>(), Err(why), "{given:?}");
        }
        assert_eq!(format!("{}@example.net", "x".repeat(65)).parse::<Address>(), Err(TooLong));
        assert_eq!(
            format!("{}@{}.net", "x".repeat(64), ["a"; 95].join(".")).parse::<Address>(),
            Err(TooLong)
        );
    }

    #[test]
    fn invisible_characters_are_refused_by_their_names() {
        for (given, name) in [
            ("ann\u{200b}@example.net", "U+200B"),
            ("\u{a0}ann@example.net", "U+00A0"),
            ("an\u{2060}n@example.net", "U+2060"),
            ("\u{feff}ann@example.net", "U+FEFF"),
            ("\u{202e}nna@example.net", "U+202E"),
            ("ann\u{2066}x@example.net", "U+2066"),
            ("ann\u{3000}lee@example.net", "U+3000"),
            ("\"ann\u{200f}lee\"@example.net", "U+200F"),
        ] {
            let error = given.parse::<Address>().unwrap_err();
            assert!(error.to_string().ends_with(name), "{given:?}: {error}");
        }
    }

    #[test]
    fn a_search_key_leads_back_to_its_address_in_lower_case() {
        for (given, folded) in [
            ("Ann.Lee+Tea@EXAMPLE.net", "ann.lee+tea@example.net"),
            ("JÖRG@Bücher.example", "jörg@xn--bcher-kva.example"),
            ("\"A@B\"@example.net", "\"a@b\"@example.net"),
        ] {
            let address: Address = given.parse().unwrap();
            assert_eq!(Address::of_search_key(&address.search_key()), folded);
            assert!(
                address.masked().ends_with(address.domain()) && !address.masked().contains(address.local())
            );
        }
    }

    proptest! {
        #[test]
        fn an_address_that_is_taken_can_stand_in_a_dialogue(text in any::<String>()) {
            if let Ok(address) = text.parse::<Address>() {
                let written = address.to_string();
                prop_assert!(!written.contains(|c: char| c.is_control()));
                prop_assert!(written.len() <= 254);
                prop_assert_eq!(written.parse::<Address>(), Ok(address));
            }
        }
    }
}
