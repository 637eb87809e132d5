//! `docs/mail-states.md` is what the code does.

use std::collections::BTreeSet;

use postroom::mail::{MailEvent, MailState};

const DOCUMENT: &str = include_str!("../../docs/mail-states.md");

type Moves = BTreeSet<(MailState, MailEvent, MailState)>;

fn moves_of_the_code() -> Moves {
    let pairs =
        MailState::ALL.iter().flat_map(|&state| MailEvent::ALL.iter().map(move |&event| (state, event)));
    pairs.filter_map(|(state, event)| Some((state, event, state.after(event)?))).collect()
}

/// The cells of the table rows that begin with a state.
fn rows() -> impl Iterator<Item = (MailState, Vec<&'static str>)> {
    DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix('|')?.trim_end_matches('|').split('|').map(str::trim);
        let state = cells.next()?.trim_matches('`').parse().ok()?;
        Some((state, cells.collect()))
    })
}

#[test]
fn the_table_has_every_move_and_no_other() {
    let moves: Moves = rows()
        .filter_map(|(state, cells)| match cells[..] {
            [event, next] => {
                let word = |cell: &'static str| cell.trim_matches('`');
                Some((state, word(event).parse().unwrap(), word(next).parse().unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(moves, moves_of_the_code());
}

#[test]
fn the_diagram_has_every_move_and_no_other() {
    let mut moves = Moves::new();
    for line in DOCUMENT.lines().filter(|line| line.contains("-->") && !line.contains("[*]")) {
        let (arrow, events) = line.split_once(':').unwrap();
        let (from, to) = arrow.split_once("-->").unwrap();
        for event in events.split(',') {
            let word = |text: &str| text.trim().to_owned();
            let (from, event, to) = (word(from), word(event), word(to));
            moves.insert((from.parse().unwrap(), event.parse().unwrap(), to.parse().unwrap()));
        }
    }
    assert_eq!(moves, moves_of_the_code());
}

#[test]
fn every_state_and_every_event_is_explained() {
    let states: BTreeSet<_> = rows().filter(|(_, cells)| cells.len() == 1).map(|(state, _)| state).collect();
    assert_eq!(states, MailState::ALL.iter().copied().collect());
    for event in MailEvent::ALL {
        assert!(DOCUMENT.contains(&format!("| `{event}` |")), "{event} is not explained");
    }
}
