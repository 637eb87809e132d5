//! Which events an endpoint listens to.

use std::collections::BTreeSet;

use serde_json::json;

use super::event::EventKind;
use crate::mail::UnknownWord;

/// Which events an endpoint listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// All, also those of later versions: `*`.
    All,
    /// These.
    Only(BTreeSet<EventKind>),
}

impl Topics {
    /// Reads a list of names.
    ///
    /// # Errors
    /// The first name that is not the name of an event, with its place in the list, from 0. [`EventKind::ALL`] has the
    /// names.
    pub fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, (usize, UnknownWord)> {
        let mut some = BTreeSet::new();
        let mut all = false;
        for (index, name) in names.iter().enumerate() {
            match name.as_ref() {
                "*" => all = true,
                name => drop(some.insert(name.parse().map_err(|unknown| (index, unknown))?)),
            }
        }
        Ok(if all { Self::All } else { Self::Only(some) })
    }

    /// Whether `kind` is among them.
    pub fn include(&self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }

    /// The names, as they are read.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
        }
    }

    /// The names as JSON, as they are stored.
    pub fn to_json(&self) -> String {
        json!(self.names()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_and_a_wrong_name_is_told_with_its_place() {
        let some = Topics::parse(&["email.sent", "batch.failed", "email.sent"]).unwrap();
        assert_eq!(some.names(), ["email.sent", "batch.failed"]);
        assert!(some.include(EventKind::EmailSent) && !some.include(EventKind::EmailFailed));
        assert_eq!(Topics::parse(&["email.sent", "*"]), Ok(Topics::All));
        assert_eq!(Topics::parse(&["email.sent", "email.read"]).unwrap_err().0, 1);
    }
}
