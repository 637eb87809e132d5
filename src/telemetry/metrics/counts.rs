//! Counts mails as they are recorded and settled, whoever does it.

use super::{LaneLabels, MailLabels, Metrics};
use crate::mail::{MailLane, MailState};

impl Metrics {
    /// Counts mails that are on record now.
    pub fn count_recorded(&self, lane: MailLane, number: u64) {
        self.recorded.get_or_create(&LaneLabels { lane: lane.as_str() }).inc_by(number);
    }

    /// Counts mails that are in this state now, which is settled.
    pub fn count_settled(&self, lane: MailLane, state: MailState, number: u64) {
        self.settled.get_or_create(&MailLabels { lane: lane.as_str(), state: state.as_str() }).inc_by(number);
    }
}
