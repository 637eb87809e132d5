//! Groups of lanes, how many jobs of each a worker runs and fetches, and whose turn it is.

use crate::mail::Lane;

/// Lanes whose jobs take the same places of a worker: those of one group never wait for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Mails, whether somebody waits for them or they are of a batch.
    Mails,
    /// Callbacks to merchants.
    Callbacks,
    /// Fan-out of batches.
    Batches,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::Mails, Self::Callbacks, Self::Batches];

    /// The group of a lane.
    pub const fn of(lane: Lane) -> Self {
        match lane {
            Lane::Transactional | Lane::Bulk => Self::Mails,
            Lane::Callback => Self::Callbacks,
            Lane::Batch => Self::Batches,
        }
    }

    /// The spelling in Redis; `keys.lua` has the same.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Mails => "mails",
            Self::Callbacks => "callbacks",
            Self::Batches => "batches",
        }
    }
}

/// How many jobs of each group may run at the same time in one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Mails.
    pub mails: usize,
    /// Callbacks.
    pub callbacks: usize,
    /// Fan-outs of batches.
    pub batches: usize,
}

impl Places {
    /// Those of a group; at least one.
    pub(super) fn of(self, group: Group) -> usize {
        match group {
            Group::Mails => self.mails,
            Group::Callbacks => self.callbacks,
            Group::Batches => self.batches,
        }
        .max(1)
    }

    /// Those of all groups.
    pub(super) fn in_all(self) -> usize {
        Group::ALL.iter().map(|group| self.of(*group)).sum()
    }
}

/// How many jobs to fetch: of each group, and in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchBudget {
    in_all: usize,
    of_each: [usize; Group::ALL.len()],
}

impl FetchBudget {
    /// So many, of whatever group.
    pub fn for_any(number: usize) -> Self {
        Self { in_all: number, of_each: [number; Group::ALL.len()] }
    }

    /// The same with so many of a group besides those of the others.
    #[must_use]
    pub fn with(mut self, group: Group, number: usize) -> Self {
        self.of_each[group as usize] = number;
        self.in_all = self.of_each.iter().sum();
        self
    }

    /// How many of a group.
    pub fn of(self, group: Group) -> usize {
        self.of_each[group as usize].min(self.in_all)
    }

    /// How many in all.
    pub fn in_all(self) -> usize {
        self.in_all
    }

    /// The same, but no more than so many in all.
    pub(super) fn at_most(mut self, number: usize) -> Self {
        self.in_all = self.in_all.min(number);
        self
    }

    /// Counts a job of this lane.
    pub(super) fn take(&mut self, lane: Lane) {
        self.in_all = self.in_all.saturating_sub(1);
        let of_group = &mut self.of_each[Group::of(lane) as usize];
        *of_group = of_group.saturating_sub(1);
    }
}

/// The groups' turns: each job that is fetched takes the next one, and when that group has nothing or no room, the first
/// lane in the order of [`Lane::ALL`] that has. So mails get what the others leave, and each of those at least one of 16.
pub(super) const TURNS: [Group; 16] = {
    let mut turns = [Group::Mails; 16];
    turns[5] = Group::Callbacks;
    turns[10] = Group::Batches;
    turns
};

/// The turns among mails, taken by each mail that is fetched: of 14, at least one is of the bulk lane. They are counted
/// apart, for there may be no room for mails whenever a common turn came to the bulk lane.
pub(super) const MAIL_TURNS: [Lane; 14] = {
    let mut turns = [Lane::Transactional; 14];
    turns[13] = Lane::Bulk;
    turns
};

/// The lanes in turn: whose is next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneRotation {
    of_all: usize,
    of_mails: usize,
}

impl LaneRotation {
    /// The lanes in the order in which they are to be asked.
    pub(super) fn order(self) -> impl Iterator<Item = Lane> {
        let mails = MAIL_TURNS[self.of_mails];
        let first = match TURNS[self.of_all] {
            Group::Mails => mails,
            Group::Callbacks => Lane::Callback,
            Group::Batches => Lane::Batch,
        };
        [first, mails].into_iter().chain(Lane::ALL.iter().copied())
    }

    /// Counts a job of this lane.
    pub(super) fn took(&mut self, lane: Lane) {
        self.of_all = (self.of_all + 1) % TURNS.len();
        if Group::of(lane) == Group::Mails {
            self.of_mails = (self.of_mails + 1) % MAIL_TURNS.len();
        }
    }
}
