//! One stage of a mail, as it is shown.

use std::time::Duration;

/// What a line means for whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Waiting,
    Bad,
}

/// One stage that a mail went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The stage, as a participle.
    pub(super) stage: &'static str,
    /// Whether it is good news.
    pub(super) tone: Tone,
    /// How long after the mail was recorded.
    pub(super) after: Duration,
    /// More about it.
    pub(super) note: String,
}
