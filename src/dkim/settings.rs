//! What an operator writes about a key (`[[dkim]]`), and what can be wrong with it.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::mail::domain_name;

/// The longest name in the DNS, in bytes (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// A key that signs the mails of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimSettings {
    /// It signs for senders at this domain and those below it.
    pub domain: String,
    /// Where its record is: `selector._domainkey.domain`.
    pub selector: String,
    /// The private key, in PEM. A name without a slash is looked up in systemd's `$CREDENTIALS_DIRECTORY`.
    pub key_file: PathBuf,
}

impl DkimSettings {
    /// Where the key is: a name without a slash leads to systemd's credentials.
    pub fn path(&self) -> PathBuf {
        match env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) if self.key_file.components().count() == 1 && self.key_file.is_relative() => {
                Path::new(&folder).join(&self.key_file)
            }
            _ => self.key_file.clone(),
        }
    }
}

/// What is wrong with one of the keys.
#[derive(Debug)]
pub struct KeyFault {
    /// Which of the keys, counted from 0.
    pub index: usize,
    /// The setting.
    pub field: &'static str,
    /// What is wrong.
    pub error: KeyError,
}

/// What can be wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The domain is none.
    #[error("`{0}` is not a domain name, such as example.com")]
    Domain(String),
    /// The selector is none.
    #[error(
        "`{0}` is not a selector: letters, digits, hyphens and underscores, up to 63 between two dots, such as 2026-11"
    )]
    Selector(String),
    /// Together they are too long for the DNS.
    #[error("`{0}` is longer than the {LONGEST_NAME} characters of a DNS name")]
    TooLong(String),
    /// Two keys have one record.
    #[error("`{selector}` is the selector of two keys of {domain}")]
    Twice {
        /// The domain.
        domain: String,
        /// The selector.
        selector: String,
    },
    /// The file cannot be read.
    #[error("`{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// Everybody on the machine can use the file.
    #[error("`{}` is open to every user of this machine (mode {mode:o}): run `chmod o= {}`", .file.display(), .file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("`{}` holds {found}, but must hold an RSA or Ed25519 private key in PEM, not encrypted", .file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The key is too weak, or too long for receivers.
    #[error("`{}` holds an RSA key that is too {}: it must have 2048 to 4096 bits", .file.display(), if *.is_short { "short" } else { "long" })]
    Length {
        /// The file.
        file: PathBuf,
        /// Shorter than that, not longer.
        is_short: bool,
    },
    /// The key is damaged.
    #[error("`{}` holds a damaged key: {why}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What the library says.
        why: String,
    },
}

/// Reads a domain and a selector; the domain comes back in the form of
/// [`Address::domain`](crate::mail::Address::domain), the selector in lower case.
///
/// # Errors
/// The setting that is wrong, and why.
pub fn check_name(domain: &str, selector: &str) -> Result<(String, String), Vec<(&'static str, KeyError)>> {
    let mut faults = Vec::new();
    let read = domain_name(domain).unwrap_or_else(|_| {
        faults.push(("domain", KeyError::Domain(domain.to_owned())));
        String::new()
    });
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = format!("{selector}._domainkey.{read}");
    if !selector.split('.').all(is_label) {
        faults.push(("selector", KeyError::Selector(selector.to_owned())));
    } else if name.len() > LONGEST_NAME {
        faults.push(("selector", KeyError::TooLong(name)));
    }
    if faults.is_empty() { Ok((read, selector.to_ascii_lowercase())) } else { Err(faults) }
}
