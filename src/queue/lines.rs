//! Jobs that wait for something other than a worker: each thing that is waited for has a line.
//!
//! A job that was fetched and may not go yet is [set aside](super::Queue::set_aside) in the line of what it waits for, such
//! as `domain:gmail.com`. There it costs its entry and nothing else. A line has the order of the main line inside: lanes,
//! then merchants by turns. It has one time, at which as many of its jobs are fetched as may then go; whoever fetched them
//! asks again and says when the next may.
//!
//! What waits for several things at once has a line of its own, whose name names them all, as in
//! `domain:gmail.com + merchant:tea-co`. So all jobs of a line wait for the same, and its first holds back no other that
//! might go.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::Serialize;

use super::job::Lease;
use crate::mail::{Timestamp, WaitReason};

/// While a worker that took jobs from a line asks how it goes on, no other takes more. If that worker dies, the line goes
/// on after this.
pub(super) const ASKING: Duration = Duration::from_millis(250);
/// A line that has only jobs of paused lanes is looked at again after this.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The most lines that one fetch takes jobs from.
pub(super) const LINES_AT_ONCE: usize = 64;
/// The most lines in a [status](super::QueueStatus).
pub(super) const LISTED: usize = 100;
/// The most bytes in the name of a line; the longest domain fits. What is longer is cut.
pub const LONGEST_NAME: usize = 300;
/// Between the names of the things that a line waits for at once.
const AND: &str = " + ";

/// What jobs of one line wait for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is waited for, as in `domain:gmail.com`; if several things, [joined](joined). At most [`LONGEST_NAME`] bytes.
    pub name: String,
    /// Why.
    pub reason: WaitReason,
    /// When the first of them may go, from now; `None`: when the line is [woken](super::Queue::wake).
    pub after: Option<Duration>,
    /// How many of them are to be fetched then.
    pub at_most: usize,
}

impl Line {
    /// The same with a name that is not too long.
    pub(super) fn cut(mut self) -> Self {
        let longest = self.name.len().min(LONGEST_NAME);
        let end = (0..=longest).rev().find(|at| self.name.is_char_boundary(*at)).unwrap_or(0);
        self.name.truncate(end);
        self
    }
}

/// The name of the line in which jobs wait for all of these at once.
pub fn joined<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    names.into_iter().collect::<Vec<_>>().join(AND)
}

/// What the jobs of the line with this name wait for.
pub fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(AND)
}

/// Jobs that are to wait in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Which. Its time counts when some of the jobs came from that line or there are none; what comes from elsewhere
    /// makes it at most earlier.
    pub line: Line,
    /// The jobs, in their order. Those that came from that line go back to its front, and so do those that a worker had
    /// before and released. Those that came from another line are its merchant's first: they were before what waits there.
    pub leases: Vec<Lease>,
}

/// Where in a line a job is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InsertAt {
    /// Behind all others.
    End,
    /// Before those of its merchant, whose turn comes when it comes.
    FirstOfMerchant,
    /// Before all others.
    Front,
}

impl InsertAt {
    /// As the script has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::FirstOfMerchant => "first",
            Self::Front => "front",
        }
    }
}

impl SetAside {
    /// Whether its time replaces the one that the line has.
    pub(super) fn is_answer(&self) -> bool {
        self.leases.is_empty() || self.leases.iter().any(|lease| self.is_home_of(lease))
    }

    pub(super) fn is_home_of(&self, lease: &Lease) -> bool {
        lease.line.as_deref() == Some(self.line.name.as_str())
    }

    fn insert_at(&self, lease: &Lease) -> InsertAt {
        match &lease.line {
            _ if lease.was_at_the_front || self.is_home_of(lease) => InsertAt::Front,
            Some(_) => InsertAt::FirstOfMerchant,
            None => InsertAt::End,
        }
    }

    /// The jobs and their places, in the order in which they are to be added: the last one first where each is put before
    /// the one that was added before it.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&Lease, InsertAt)> {
        let placed = || self.leases.iter().map(|lease| (lease, self.insert_at(lease)));
        let behind = placed().filter(|(_, at)| *at == InsertAt::End);
        behind.chain(placed().rev().filter(|(_, at)| *at != InsertAt::End))
    }
}

/// What was fetched, and what is to be known about the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The jobs, in the order in which they are to be started.
    pub leases: Vec<Lease>,
    /// When jobs that are set aside may go, from now, where any may and there was room for them.
    pub due_in: Option<Duration>,
    /// Whether single mails were left for which there was no room. Those that are set aside do not count.
    pub leaves_single_mails: bool,
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The queue does not know it.
    Unknown,
    /// It waits for a worker.
    Waiting,
    /// A worker has it.
    Leased,
    /// It is set aside.
    InLine {
        /// What it waits for.
        name: Arc<str>,
        /// Why.
        reason: WaitReason,
        /// When the first of that line may go, where that is known.
        until: Option<Timestamp>,
    },
}

/// A line in the [status](super::QueueStatus).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineStatus {
    /// What its jobs wait for.
    pub name: String,
    /// Why.
    pub reason: WaitReason,
    /// How many there are.
    pub waiting: u64,
    /// When the first of them may go, where that is known.
    pub until: Option<Timestamp>,
}
