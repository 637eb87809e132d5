//! How commands answer: one object for programs, lines and tables for people, in the width and the colours that the terminal
//! has. In a pipe a table is tab-separated, without a head. Nothing that merchants or relays wrote can steer the terminal.

use std::{
    env,
    io::{self, ErrorKind, Write},
    process::{Command, Stdio},
};

use serde::Serialize;

use super::{
    screen::{Screen, clean},
    table::Table,
};
use crate::mail::MerchantId;

/// The reader of the output has gone, as `head` does. That is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct NobodyReads;

/// What a merchant sees of something of its own, and whose it is: who reads it here sees those of all merchants.
#[derive(Debug, Serialize)]
pub(super) struct OfMerchant<T> {
    pub(super) merchant: MerchantId,
    #[serde(flatten)]
    pub(super) view: T,
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

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
