//! The states of a batch and the only function that knows the moves between them.
//!
//! `docs/batch-states.md` draws the same table for people and is tested against it.

use super::state::closed_set;

closed_set! {
    /// Where a batch is on its way.
    BatchState {
        /// Recorded; none of its mails is made yet.
        Queued = "queued",
        /// Its mails are being made and sent.
        Processing = "processing",
        /// Every mail is settled.
        Finished = "finished",
        /// Taken back: what was not sent by then is not sent.
        Cancelled = "cancelled",
        /// It could not be run.
        Failed = "failed",
    }
}

closed_set! {
    /// What people ask of a batch that is not over.
    BatchAction {
        /// Sends none of its mails until it is resumed.
        Pause = "pause",
        /// Goes on.
        Resume = "resume",
        /// Takes back what is not sent.
        Cancel = "cancel",
    }
}

impl BatchAction {
    /// What the batch is when that is done.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        }
    }
}

closed_set! {
    /// What happens to a batch.
    BatchEvent {
        /// Its first mails are made.
        Started = "started",
        /// Its last mail was settled.
        Completed = "completed",
        /// The merchant or an operator takes it back.
        Cancelled = "cancelled",
        /// It could not be run.
        Failed = "failed",
    }
}

impl BatchState {
    /// The state after `event`, or `None` where the event cannot happen in this state.
    pub const fn after(self, event: BatchEvent) -> Option<Self> {
        match (self, event) {
            (Self::Queued | Self::Processing, BatchEvent::Started) => Some(Self::Processing),
            (Self::Queued | Self::Processing, BatchEvent::Completed) => Some(Self::Finished),
            (Self::Queued | Self::Processing, BatchEvent::Cancelled) => Some(Self::Cancelled),
            (Self::Queued | Self::Processing, BatchEvent::Failed) => Some(Self::Failed),
            (Self::Finished | Self::Cancelled | Self::Failed, _) => None,
        }
    }

    /// The states that `event` may happen in: what an `UPDATE` that writes it starts from.
    pub fn sources(event: BatchEvent) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |state| state.after(event).is_some())
    }

    /// Whether the batch still makes or awaits mails; only then can it be paused, resumed or cancelled.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Processing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_batch_never_opens_again() {
        for &state in BatchState::ALL {
            for &event in BatchEvent::ALL {
                assert_eq!(state.after(event).is_some(), state.is_open(), "{state} {event}");
            }
        }
        assert_eq!(BatchState::Queued.after(BatchEvent::Completed), Some(BatchState::Finished));
    }
}
