//! How commands answer: one object for programs, lines and tables for people, in the width and the colours that the terminal
//! has. In a pipe a table is tab-separated, without a head. Nothing that merchants or relays wrote can steer the terminal.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    process::{Command, Stdio},
};

use serde::Serialize;

use super::table::Table;

/// The width where nobody knows it.
const USUAL_WIDTH: usize = 80;

/// The reader of the output has gone, as `head` does. That is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct NobodyReads;

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
            height: size.and_then(|size| known(size.ws_row)).unwrap_or(24),
        }
    }
}

/// Prints lines for people or an object for programs.
pub(super) fn print(
    json: bool,
    people: impl std::fmt::Display,
    programs: &impl Serialize,
) -> anyhow::Result<()> {
    if json {
        return print_json(programs);
    }
    write_out(&format!("{}\n", clean_lines(&people.to_string())))
}

/// Prints a list: a table for people, an array for programs. An empty one says so on standard error.
pub(super) fn print_list(
    json: bool,
    table: &Table,
    none: &str,
    programs: &impl Serialize,
) -> anyhow::Result<()> {
    if json {
        return print_json(programs);
    }
    if table.is_empty() {
        eprintln!("{none}");
        return Ok(());
    }
    page(&table.on(Screen::of_standard_output()))
}

/// Prints lines, through the pager where they are more than the terminal shows at once.
pub(super) fn page(text: &str) -> anyhow::Result<()> {
    let screen = Screen::of_standard_output();
    if screen.is_terminal && text.lines().count() >= screen.height && through_pager(text) {
        return Ok(());
    }
    write_out(text)
}

fn print_json(programs: &impl Serialize) -> anyhow::Result<()> {
    write_out(&format!("{}\n", serde_json::to_string(programs)?))
}

/// Writes text as it is to standard output.
pub(super) fn write_out(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        written => Ok(written?),
    }
}

/// Shows text in `$PAGER`, as git does; returns whether there was one.
fn through_pager(text: &str) -> bool {
    let pager = env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    if pager.is_empty() || pager == "cat" || env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return false;
    }
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let Ok(mut shown) = command.spawn() else { return false };
    if let Some(mut input) = shown.stdin.take() {
        let _ = input.write_all(text.as_bytes()); // whoever has read enough closes it
    }
    // 127: there is no such program.
    shown.wait().is_ok_and(|status| status.code() != Some(127))
}

/// The same without control characters, in one line.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { ' ' } else { each }).collect()
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
