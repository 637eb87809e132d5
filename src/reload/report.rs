//! What came of a reload: for who asked, the log and the metrics.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{audit::Author, config::Change};

/// Somebody who asks for a reload.
pub(super) struct Asked {
    /// Who, for the audit.
    pub(super) author: Author,
    /// Where they wait for what comes of it.
    pub(super) report: oneshot::Sender<Report>,
}

/// What came of a reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// In a word.
    pub result: Result,
    /// The settings that changed.
    pub changes: Vec<Change>,
    /// The settings that are not as they were and stay as they were until a restart.
    pub needs_restart: Vec<Change>,
    /// What is wrong, a line each.
    pub faults: Vec<String>,
}

/// What came of a reload, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Result {
    /// Something changed.
    Changed,
    /// The configuration is in force, and is as it was.
    Unchanged,
    /// It has faults. What was in force stays.
    Refused,
    /// It could not be read in time. What was in force stays.
    Failed,
}

impl Result {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Report {
    pub(super) fn of(changes: Vec<Change>, needs_restart: Vec<Change>) -> Self {
        let result = if changes.is_empty() { Result::Unchanged } else { Result::Changed };
        Self { result, changes, needs_restart, faults: Vec::new() }
    }

    pub(super) fn refused(faults: &dyn fmt::Display) -> Self {
        let faults = faults.to_string().lines().map(str::to_owned).collect();
        Self { result: Result::Refused, changes: Vec::new(), needs_restart: Vec::new(), faults }
    }

    pub(super) fn failed(why: String) -> Self {
        Self { result: Result::Failed, faults: vec![why], ..Self::of(Vec::new(), Vec::new()) }
    }

    pub(super) fn log(&self) {
        let list = |changes: &[Change]| {
            let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
            (!changes.is_empty()).then(|| changes.join("; "))
        };
        let (changes, needs_restart) = (list(&self.changes), list(&self.needs_restart));
        match self.result {
            Result::Changed | Result::Unchanged => {
                let result = self.result.as_str();
                tracing::info!(result, changes, needs_restart, "the configuration was read again");
            }
            Result::Refused | Result::Failed => {
                let faults = self.faults.join("\n");
                tracing::error!(faults, "the configuration was not reloaded: the one before stays in force");
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.result {
            Result::Changed => "changed",
            Result::Unchanged => "nothing has changed",
            Result::Refused => "refused, the configuration before stays in force",
            Result::Failed => "failed, the configuration before stays in force",
        })?;
        self.changes.iter().try_for_each(|change| write!(f, "\n  {change}"))?;
        self.needs_restart.iter().try_for_each(|change| write!(f, "\n  {change} (needs a restart)"))?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
