//! The states that a statement may start from, made from the tables of states and not written twice.
//!
//! `state IN {mail states before claimed}` becomes `state IN ('queued', 'deferred')`; `delivery`, `batch` and `action` have
//! tables of their own. `{mail states that went or may go}` are those of [`MailState::went_or_may_go`]. A mark that names no
//! table or no event stays as it is, which both databases refuse.

use crate::{
    mail::{ActionState, BatchState, MailState},
    webhook::DeliveryState,
};

/// The text with its marks written out.
pub(super) fn written(text: &str) -> String {
    let (mut written, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((mark, after)) = after.split_once('}') else { break };
        written.push_str(before);
        match states_of(mark) {
            Some(words) => written.push_str(&format!("('{}')", words.join("', '"))),
            None => written.push_str(&format!("{{{mark}}}")),
        }
        rest = after;
    }
    written.push_str(rest);
    written
}

fn states_of(mark: &str) -> Option<Vec<&'static str>> {
    if mark == "mail states that went or may go" {
        let all = MailState::ALL.iter().copied();
        return Some(all.filter(|state| state.went_or_may_go()).map(MailState::as_str).collect());
    }
    let (machine, event) = mark.split_once(" states before ")?;
    Some(match machine {
        "mail" => MailState::sources(event.parse().ok()?).map(MailState::as_str).collect(),
        "delivery" => DeliveryState::sources(event.parse().ok()?).map(DeliveryState::as_str).collect(),
        "batch" => BatchState::sources(event.parse().ok()?).map(BatchState::as_str).collect(),
        "action" => ActionState::sources(event.parse().ok()?).map(ActionState::as_str).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{ActionEvent, BatchEvent, MailEvent},
        webhook::DeliveryEvent,
    };

    #[test]
    fn a_list_of_states_is_made_from_the_table() {
        let text =
            "x IN {mail states before claimed} AND {rows: id text} OR y IN {batch states before started}";
        let expected = "x IN ('queued', 'deferred') AND {rows: id text} OR y IN ('queued', 'processing')";
        assert_eq!(written(text), expected);
        let still = "('queued', 'sending', 'deferred', 'sent', 'held')";
        assert_eq!(written("{mail states that went or may go}"), still);
        for wrong in
            ["{mails states before claimed}", "{mail states before claim}", "{mail states", "{as_json}"]
        {
            assert_eq!(written(wrong), wrong);
        }
    }

    /// Statements that write states as they are rely on this.
    #[test]
    fn events_of_a_worker_begin_where_it_has_the_row() {
        use MailEvent as M;
        assert!(
            MailState::sources(M::Claimed).all(|state| state.after(M::Claimed) == Some(MailState::Sending))
        );
        for event in [M::Accepted, M::PutOff, M::Refused, M::LostAndResent, M::LostAndHeld, M::GivenBack] {
            assert_eq!(MailState::sources(event).collect::<Vec<_>>(), [MailState::Sending], "{event}");
        }
        use DeliveryEvent as D;
        for event in [D::Taken, D::PutOff, D::Refused, D::Lost] {
            assert_eq!(
                DeliveryState::sources(event).collect::<Vec<_>>(),
                [DeliveryState::Sending],
                "{event}"
            );
        }
        assert!(DeliveryState::sources(D::Replayed).any(|state| state == DeliveryState::Failed));
        let becomes = |event| DeliveryState::sources(event).map(move |state| state.after(event));
        assert!(becomes(D::Claimed).all(|next| next == Some(DeliveryState::Sending)));
        assert!(becomes(D::Lost).all(|next| next == Some(DeliveryState::Deferred)));
        assert!(becomes(D::Replayed).all(|next| next == Some(DeliveryState::Queued)));
        for &event in BatchEvent::ALL {
            assert!(BatchState::sources(event).all(BatchState::is_open), "{event}");
        }
        for event in [ActionEvent::Completed, ActionEvent::Failed] {
            assert_eq!(ActionState::sources(event).collect::<Vec<_>>(), [ActionState::Running], "{event}");
        }
    }
}
