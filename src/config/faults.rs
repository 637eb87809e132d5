//! What is wrong with a configuration.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in `http.listen` or `smtp.routes.0.port`; empty when the whole file is meant.
    pub key: String,
    /// The file with the line, or the variable, that holds the value; `None` for a default.
    pub from: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Fault {
    /// Whether one of the two keys is the other, or holds it.
    pub(super) fn is_about(&self, key: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        holds(&self.key, key) || holds(key, &self.key)
    }
}

/// Every fault of a configuration, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl ConfigFaults {
    pub(super) fn none_of(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        for Fault { key, from, message } in &self.0 {
            f.write_str("\n  ")?;
            if let Some(from) = from {
                write!(f, "{from}: ")?;
            }
            if key.is_empty() { f.write_str(message)? } else { write!(f, "{}: {message}", spelled(key))? }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// A key as people write it: `smtp.routes[0].port`.
fn spelled(key: &str) -> String {
    let mut spelled = String::with_capacity(key.len() + 2);
    for name in key.split('.') {
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            spelled.push_str(&format!("[{name}]"));
        } else {
            if !spelled.is_empty() {
                spelled.push('.');
            }
            spelled.push_str(name);
        }
    }
    spelled
}

/// The words of the parser, as an administrator would say them.
pub(super) fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 11] = [
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected text in quotes"),
        ("expected a sequence", "expected a list in brackets"),
        ("invalid socket address syntax", "must be an IP address and a port, as in \"127.0.0.1:8025\""),
        ("invalid IP address syntax", "must be a network, as in \"10.0.0.0/8\""),
        ("relative URL without a base", "must be a whole URL, as in \"https://post.example.com\""),
        ("expected struct RouteSettings", "expected a table, as after [[smtp.routes]]"),
    ];
    let message = message.trim();
    WORDS.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}
