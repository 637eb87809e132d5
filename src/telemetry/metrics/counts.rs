//! Counts mails as they are recorded and settled, whoever does it.

use super::{CallbackLabels, LaneLabels, MailLabels, Metrics};
use crate::{
    mail::{MailLane, MailState},
    webhook::CallbackOutcome,
};

impl Metrics {
    /// Counts mails that are on record now.
    pub fn count_recorded(&self, lane: MailLane, number: u64) {
        self.recorded.get_or_create(&LaneLabels { lane: lane.as_str() }).inc_by(number);
    }

    /// Counts mails that are in this state now, which is settled. What is tried out is counted apart: it must not look like
    /// mails that fail.
    pub fn count_settled(&self, lane: MailLane, state: MailState, is_test: bool, number: u64) {
        let settled = if is_test { &self.settled_in_sandbox } else { &self.settled };
        settled.get_or_create(&MailLabels { lane: lane.as_str(), state: state.as_str() }).inc_by(number);
    }

    /// A counter that is there from the beginning can be asked for its growth.
    pub(super) fn begin_at_zero(&self) {
        for lane in MailLane::ALL.iter().map(|lane| lane.as_str()) {
            drop(self.recorded.get_or_create(&LaneLabels { lane }));
            for state in [MailState::Sent, MailState::Failed, MailState::Expired, MailState::Held] {
                drop(self.settled.get_or_create(&MailLabels { lane, state: state.as_str() }));
            }
        }
        let outcomes = CallbackOutcome::ALL.iter().map(|outcome| outcome.as_str());
        for outcome in outcomes.chain(["taken"]) {
            drop(self.callbacks.get_or_create(&CallbackLabels { outcome }));
        }
    }
}
