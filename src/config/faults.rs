//! What is wrong with a configuration.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in `http.listen`; empty when the whole file is meant.
    pub key: String,
    /// The file or the variable that holds the value; `None` for a fault between several values.
    pub from: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
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
            if key.is_empty() { f.write_str(message)? } else { write!(f, "{key}: {message}")? }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}
