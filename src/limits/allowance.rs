//! The generic cell rate algorithm (ITU-T I.371), as `take.lua` has it: of a scope only the moment is kept when its
//! allowance is whole again. All times are microseconds of one clock.
//!
//! An allowance that is whole gives a burst at once and then one after each pause, so in no window more than the rate times
//! its length and a burst. That also holds for what is left after some was given back, when a rate changes, and when the
//! clock jumps back; a clock that jumps forward gives one burst more.

use super::Rate;

/// What is kept of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// When the allowance is whole again.
    full_at: u64,
    /// How much `full_at` was moved back in all, by what was given back or cut off.
    returned: u64,
}

/// A rate as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one to the next.
    pub(super) each: u64,
    /// How many at once.
    pub(super) burst: u64,
}

/// Where in its scope's allowance something was taken: the moment at which it would have come back by itself, had nothing
/// been given back before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

impl Pace {
    /// How long a spent burst takes to fill up again.
    pub(super) const fn span(self) -> u64 {
        self.each.saturating_mul(self.burst)
    }

    /// The share of one of so many processes, which count by themselves: never more than the whole together, in the long
    /// run and in each unit of the rate. Each has a burst of at least one.
    pub(super) fn share(rate: Rate, processes: u64) -> Self {
        let Self { each, burst } = Self::from(rate);
        if burst >= processes {
            return Self { each: each.saturating_mul(processes), burst: burst / processes };
        }
        // All may send their first at once. That is more than a burst, so fewer follow.
        let (count, unit) = rate.quota();
        let unit = u64::try_from(unit.as_micros()).unwrap_or(u64::MAX);
        let following = (u64::from(count) + burst).saturating_sub(processes);
        let slower = unit.saturating_mul(processes).div_ceil(following.max(1));
        Self { each: slower.max(each.saturating_mul(processes)), burst: 1 }
    }
}

impl From<Rate> for Pace {
    fn from(rate: Rate) -> Self {
        Self { each: rate.each_micros(), burst: u64::from(rate.burst()) }
    }
}

impl Allowance {
    /// The same, but spent at this moment: what was taken before is not known.
    pub(super) fn spent_at(self, moment: u64, pace: Pace) -> Self {
        Self { full_at: self.full_at.max(moment.saturating_add(pace.span())), ..self }
    }

    /// When it is whole again.
    pub(super) const fn full_at(self) -> u64 {
        self.full_at
    }

    /// How long until there is one, where it is [up to date](Allowance::at).
    pub(super) fn wait(self, now: u64, pace: Pace) -> u64 {
        let next = self.full_at.saturating_add(pace.each);
        next.saturating_sub(now.saturating_add(pace.span()))
    }

    /// Takes one, which must be [there](Allowance::wait).
    pub(super) fn take(&mut self, pace: Pace) -> Mark {
        self.full_at = self.full_at.saturating_add(pace.each);
        Mark(self.full_at.saturating_add(self.returned))
    }

    /// Gives back one that was not used: as much of it as has not come back by itself since.
    pub(super) fn give_back(&mut self, now: u64, each: u64, mark: Mark) {
        let left = mark.0.saturating_sub(self.returned).saturating_sub(now);
        let back = each.min(left).min(self.full_at.saturating_sub(now));
        self.full_at -= back;
        self.returned += back;
    }

    /// What it is now, at this pace. A debt of more than a burst is from another rate or another time: it is cut off, and
    /// what is left must be kept, else it would be cut off anew each time and never come to an end.
    pub(super) fn at(self, now: u64, pace: Pace) -> Self {
        let most = now.saturating_add(pace.span());
        let cut = self.full_at.saturating_sub(most);
        Self { full_at: self.full_at.clamp(now, most), returned: self.returned.saturating_add(cut) }
    }
}
