//! What standard output can show.

use std::{
    env,
    io::{self, IsTerminal},
};

/// The width where nobody knows it.
const USUAL_WIDTH: usize = 80;
/// The height likewise.
const USUAL_HEIGHT: usize = 24;

/// What standard output can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Whether it is a terminal.
    pub(super) is_terminal: bool,
    /// Whether it is one that can move the cursor.
    pub(super) redraws: bool,
    pub(super) colours: bool,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Screen {
    /// Asks the terminal and the environment.
    pub(super) fn of_standard_output() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let wants_none = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|_| is_terminal);
        let known = |size: u16| Some(usize::from(size)).filter(|size| *size > 0);
        Self {
            is_terminal,
            redraws: is_terminal && !is_dumb,
            colours: is_terminal && !is_dumb && !wants_none,
            width: size.and_then(|size| known(size.ws_col)).unwrap_or(USUAL_WIDTH),
            height: size.and_then(|size| known(size.ws_row)).unwrap_or(USUAL_HEIGHT),
        }
    }
}

/// The same without control characters, in one line.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect()
}
