//! The TXT record that publishes a key (RFC 6376, section 3.6).

use super::private_key::PrivateKey;

/// The longest string in a TXT record, in bytes (RFC 1035, section 3.3).
const LONGEST_STRING: usize = 255;

/// The TXT record of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxtRecord {
    /// Where it is, without a dot at the end: `selector._domainkey.domain`.
    pub name: String,
    /// What it says.
    pub value: String,
}

impl TxtRecord {
    /// The record of a key.
    pub fn of(domain: &str, selector: &str, key: &PrivateKey) -> Self {
        Self {
            name: format!("{selector}._domainkey.{domain}"),
            value: format!("v=DKIM1; k={}; p={}", key.algorithm(), key.public_key()),
        }
    }

    /// The value in strings as a TXT record holds them: receivers join them without a space.
    pub fn strings(&self) -> Vec<&str> {
        let mut strings = Vec::new();
        let mut rest = self.value.as_str();
        while !rest.is_empty() {
            let (string, after) = rest.split_at(rest.floor_char_boundary(LONGEST_STRING));
            strings.push(string);
            rest = after;
        }
        strings
    }

    /// A line of a zone file.
    pub fn zone_line(&self) -> String {
        let strings: Vec<_> = self.strings().iter().map(|string| format!("\"{string}\"")).collect();
        format!("{}. IN TXT ( {} )", self.name, strings.join(" "))
    }
}
