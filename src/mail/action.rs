//! Bulk actions: what may be done to many mails at once, and the only function that knows how an action moves.
//!
//! `docs/action-states.md` draws the same table for people and is tested against it.

use super::{
    Timestamp,
    search::{Condition, Query, QueryError, Term},
    state::{MailEvent, MailState, closed_set},
};

closed_set! {
    /// What an action does to each of its mails.
    ActionKind {
        /// Tries mails again that failed or wait for another attempt.
        Retry = "retry",
        /// Cancels mails that are not sent yet.
        Cancel = "cancel",
        /// Lets held mails go on.
        Release = "release",
        /// Cancels held mails for good.
        Discard = "discard",
        /// Sends the callbacks about mails again.
        Replay = "replay",
        /// Suppresses the recipients of mails: they get no mail any more.
        Suppress = "suppress",
    }
}

closed_set! {
    /// Where an action is on its way.
    ActionState {
        /// Drafted: it does nothing until somebody confirms it.
        Draft = "draft",
        /// A worker goes through its mails.
        Running = "running",
        /// Somebody stopped it; it can be resumed.
        Stopped = "stopped",
        /// It has been through all its mails.
        Done = "done",
        /// It cannot be run.
        Failed = "failed",
    }
}

closed_set! {
    /// What happens to an action.
    ActionEvent {
        /// Who drafted it wants it.
        Confirmed = "confirmed",
        /// Somebody stops it.
        Stopped = "stopped",
        /// Somebody lets it go on.
        Resumed = "resumed",
        /// It has been through all its mails.
        Completed = "completed",
        /// It cannot be run.
        Failed = "failed",
    }
}

closed_set! {
    /// What somebody may ask of an action.
    ActionWish {
        /// To let a draft run.
        Confirm = "confirm",
        /// To stop it; a step that is being written is finished first.
        Stop = "stop",
        /// To let it go on from where it was stopped.
        Resume = "resume",
    }
}

impl ActionWish {
    /// What happens to the action.
    pub const fn event(self) -> ActionEvent {
        match self {
            Self::Confirm => ActionEvent::Confirmed,
            Self::Stop => ActionEvent::Stopped,
            Self::Resume => ActionEvent::Resumed,
        }
    }
}

closed_set! {
    /// What an action came to for one mail.
    ActionResult {
        /// It was done.
        Done = "done",
        /// It was not: the mail has moved meanwhile, or there was nothing to do.
        Skipped = "skipped",
    }
}

/// Why a text does not say which mails an action is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// It is no query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It would be all mails.
    #[error("an action needs a filter such as state:failed, order:1001 or since:2h")]
    Everything,
    /// The query names a state in which a mail cannot be acted on so: it would find nothing.
    #[error("{kind} is not for mails that are {state}, but for those that are {}", list(&.kind.states()))]
    WrongState {
        /// What was to be done.
        kind: ActionKind,
        /// The state.
        state: MailState,
    },
}

fn list(states: &[MailState]) -> String {
    let words: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    words.join(", ")
}

impl ActionKind {
    /// What happens to each mail; none where a mail itself stays as it is.
    pub const fn event(self) -> Option<MailEvent> {
        match self {
            Self::Retry | Self::Release => Some(MailEvent::Retried),
            Self::Cancel | Self::Discard => Some(MailEvent::Cancelled),
            Self::Replay | Self::Suppress => None,
        }
    }

    /// The states in which a mail can be acted on.
    pub fn states(self) -> Vec<MailState> {
        match (self, self.event()) {
            (Self::Release | Self::Discard, _) => vec![MailState::Held],
            (_, Some(event)) => MailState::sources(event).collect(),
            (_, None) => MailState::ALL.to_vec(),
        }
    }

    /// The states that are meant where a query names none. What somebody cancelled, and what a person has to decide,
    /// is retried or cancelled only when it is asked for.
    fn meant(self) -> Vec<MailState> {
        match self {
            Self::Retry => vec![MailState::Failed, MailState::Expired, MailState::Deferred],
            Self::Cancel => vec![MailState::Queued, MailState::Deferred],
            Self::Release | Self::Discard => vec![MailState::Held],
            Self::Replay | Self::Suppress => Vec::new(),
        }
    }

    /// Reads which mails are meant, and narrows that to mails that this can be done to. The same text and time always
    /// select the same mails.
    ///
    /// # Errors
    /// When the text is no query, has no filter, or names a state that no such mail is in.
    pub fn selection(self, text: &str, at: Timestamp) -> Result<Query, SelectionError> {
        let mut query = Query::parse(text, at)?;
        let is_filter = |term: &Term| !matches!(term.any_of.as_slice(), [Condition::Merchant(_)]);
        if query.since.is_none() && query.until.is_none() && !query.terms.iter().any(is_filter) {
            return Err(SelectionError::Everything);
        }
        let positive = query.terms.iter().filter(|term| !term.is_negated);
        let named: Vec<_> = positive
            .flat_map(|term| &term.any_of)
            .filter_map(|condition| match condition {
                Condition::State(state) => Some(*state),
                _ => None,
            })
            .collect();
        let allowed = self.states();
        if let Some(&state) = named.iter().find(|state| !allowed.contains(state)) {
            return Err(SelectionError::WrongState { kind: self, state });
        }
        let meant = self.meant();
        if named.is_empty() && !meant.is_empty() {
            query = query.and_any_of(meant.into_iter().map(Condition::State).collect());
        }
        Ok(query)
    }

    /// What will happen to each mail, for people.
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::Retry => "Each goes back to the queue and is tried again at once.",
            Self::Cancel => "Each is cancelled and not sent.",
            Self::Release => "Each goes back to the queue; a relay may have had it before.",
            Self::Discard => "Each is cancelled and not sent again.",
            Self::Suppress => {
                "The recipient of each gets no mail any more, also none that waits; the mails themselves stay as they are."
            }
            Self::Replay => {
                "The callbacks about each are sent again, with the same webhook-id, to the endpoints that are enabled."
            }
        }
    }
}

impl ActionState {
    /// The state after `event`, or `None` where the event cannot happen in this state.
    pub const fn after(self, event: ActionEvent) -> Option<Self> {
        match (self, event) {
            (Self::Draft, ActionEvent::Confirmed) | (Self::Stopped, ActionEvent::Resumed) => {
                Some(Self::Running)
            }
            (Self::Running, ActionEvent::Stopped) => Some(Self::Stopped),
            (Self::Running, ActionEvent::Completed) => Some(Self::Done),
            (Self::Running, ActionEvent::Failed) => Some(Self::Failed),
            (Self::Draft | Self::Running | Self::Stopped | Self::Done | Self::Failed, _) => None,
        }
    }

    /// The states that `event` may happen in: what an `UPDATE` that writes it starts from.
    pub fn sources(event: ActionEvent) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |state| state.after(event).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(kind: ActionKind, text: &str) -> Result<Vec<Condition>, String> {
        let selection = kind.selection(text, Timestamp(0)).map_err(|error| error.to_string())?;
        Ok(selection.terms.last().unwrap().any_of.clone())
    }

    #[test]
    fn a_query_without_a_state_means_the_mails_that_an_action_is_for() {
        let states = |states: &[MailState]| Ok(states.iter().copied().map(Condition::State).collect());
        use MailState as S;
        for (kind, expected) in [
            (ActionKind::Retry, states(&[S::Failed, S::Expired, S::Deferred])),
            (ActionKind::Cancel, states(&[S::Queued, S::Deferred])),
            (ActionKind::Release, states(&[S::Held])),
            (ActionKind::Discard, states(&[S::Held])),
            (ActionKind::Replay, Ok(vec![Condition::Order("1".to_owned())])),
        ] {
            assert_eq!(narrowed(kind, "order:1"), expected, "{kind}");
        }
        assert_eq!(
            narrowed(ActionKind::Retry, "-state:failed"),
            states(&[S::Failed, S::Expired, S::Deferred])
        );
    }

    #[test]
    fn a_query_may_name_any_state_that_the_action_is_possible_in() {
        assert_eq!(
            narrowed(ActionKind::Retry, "state:cancelled"),
            Ok(vec![Condition::State(MailState::Cancelled)])
        );
        let error = narrowed(ActionKind::Retry, "state:sent").unwrap_err();
        assert_eq!(
            error,
            "retry is not for mails that are sent, but for those that are deferred, failed, cancelled, expired, held"
        );
        assert!(narrowed(ActionKind::Release, "state:failed").is_err());
    }

    #[test]
    fn an_action_without_a_filter_is_refused() {
        for text in ["", "  ", "merchant:tea"] {
            assert!(narrowed(ActionKind::Retry, text).unwrap_err().contains("needs a filter"), "{text}");
        }
        for text in ["since:2h", "until:1d", "-order:1", "merchant:tea state:failed"] {
            narrowed(ActionKind::Retry, text).unwrap();
        }
        assert!(narrowed(ActionKind::Retry, "ordr:1").unwrap_err().contains("not a key"));
    }

    #[test]
    fn every_mail_that_an_action_is_for_can_move() {
        for kind in ActionKind::ALL {
            let Some(event) = kind.event() else { continue };
            let next: std::collections::BTreeSet<_> =
                kind.states().into_iter().map(|state| state.after(event)).collect();
            assert_eq!(next.len(), 1, "{kind}: one statement moves all");
            assert!(next.first().unwrap().is_some(), "{kind}");
            assert!(kind.meant().iter().all(|state| kind.states().contains(state)), "{kind}");
        }
    }
}
