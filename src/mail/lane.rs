//! The lanes of the queue: who goes first when workers are busy.

use super::state::closed_set;

closed_set! {
    /// One of the queue's lanes, in the order in which workers serve them. A lower lane keeps a quota, so it is
    /// never starved for good.
    Lane {
        /// Single mails: somebody is waiting for them.
        Transactional = "transactional",
        /// Signed POSTs that tell a merchant about an event.
        Callback = "callback",
        /// Fan-out of batches into mails.
        Batch = "batch",
        /// The mails of batches.
        Bulk = "bulk",
    }
}

closed_set! {
    /// The lanes that mails travel in; the others are for jobs that are not mails.
    MailLane {
        /// A single mail.
        Transactional = "transactional",
        /// A mail of a batch.
        Bulk = "bulk",
    }
}

impl From<MailLane> for Lane {
    fn from(lane: MailLane) -> Self {
        match lane {
            MailLane::Transactional => Self::Transactional,
            MailLane::Bulk => Self::Bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_of_mails_has_one_spelling() {
        for &lane in MailLane::ALL {
            assert_eq!(lane.as_str(), Lane::from(lane).as_str());
        }
    }
}
