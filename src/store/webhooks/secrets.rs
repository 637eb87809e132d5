//! The secrets of an endpoint: one signs, and those that it replaced sign beside it for a day.
//!
//! They are in the endpoint's row: the secret, a JSON list of those before it, and when the last of these ends.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    mail::Timestamp,
    store::{error::StoreError, row::Columns},
};

/// How long a secret that was replaced signs beside its successors.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that sign beside the newest: who asks for new ones again and again makes no header, and no row, longer.
const MOST_REPLACED: usize = 4;

/// What signs the callbacks of an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSecrets {
    /// The newest.
    current: SecretString,
    /// Those that it replaced, the newest first.
    replaced: Vec<Replaced>,
}

/// A secret that signs until its time.
#[derive(Clone, Debug)]
struct Replaced {
    secret: SecretString,
    until: Timestamp,
}

/// The same in the row.
#[derive(Serialize, Deserialize)]
struct Kept {
    secret: String,
    until: i64,
}

impl EndpointSecrets {
    /// Reads `secret`, `previous_secret` and `previous_secret_until`.
    pub(super) fn read(columns: &Columns<'_>) -> Result<Self, StoreError> {
        let replaced = match columns.optional_text("previous_secret")? {
            None => Vec::new(),
            Some(text) if text.starts_with('[') => columns
                .json::<Vec<Kept>>("previous_secret")?
                .into_iter()
                .map(|kept| Replaced { secret: kept.secret.into(), until: Timestamp(kept.until) })
                .collect(),
            // As versions wrote it that knew of one.
            Some(secret) => {
                let until = columns.optional_time("previous_secret_until")?;
                until.map(|until| Replaced { secret: secret.into(), until }).into_iter().collect()
            }
        };
        Ok(Self { current: columns.text("secret")?.into(), replaced })
    }

    /// The newest secret.
    pub fn current(&self) -> &SecretString {
        &self.current
    }

    /// Those that sign at `now`, the newest first.
    pub fn in_force(&self, now: Timestamp) -> Vec<SecretString> {
        let replaced = self.replaced.iter().filter(|replaced| now < replaced.until);
        [&self.current].into_iter().chain(replaced.map(|replaced| &replaced.secret)).cloned().collect()
    }

    /// Puts another secret in the place of the newest, which signs beside it from now on.
    pub(super) fn replace(&mut self, new: SecretString, now: Timestamp) {
        let replaced = Replaced { secret: std::mem::replace(&mut self.current, new), until: now + OVERLAP };
        self.replaced.retain(|replaced| now < replaced.until);
        self.replaced.insert(0, replaced);
        self.replaced.truncate(MOST_REPLACED);
    }

    /// What the row keeps of those that were replaced: the list, and when the last of them ends.
    pub(super) fn replaced(&self) -> (Option<String>, Option<i64>) {
        let kept = |replaced: &Replaced| Kept {
            secret: replaced.secret.expose_secret().to_owned(),
            until: replaced.until.millis(),
        };
        let list: Vec<_> = self.replaced.iter().map(kept).collect();
        let until = list.iter().map(|kept| kept.until).max();
        (until.and_then(|_| serde_json::to_string(&list).ok()), until)
    }

    /// Lets those that were replaced end so much earlier.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        for replaced in &mut self.replaced {
            replaced.until = replaced.until - by;
        }
    }
}
