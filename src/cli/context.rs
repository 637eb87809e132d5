//! What the commands share: the settings they run with, how they answer, and how they refuse.

use std::sync::Arc;

use serde::Serialize;

use crate::{app::App, config::Config};

/// What every command needs to run.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) json: bool,
}

impl Context {
    pub(super) async fn app(self) -> anyhow::Result<Arc<App>> {
        App::open(self.config).await
    }
}

/// The command line is valid, but asks for something impossible.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(pub(super) String);

/// Prints a line for people or an object for programs.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn print(
    json: bool,
    people: impl std::fmt::Display,
    programs: &impl Serialize,
) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(programs)?);
    } else {
        println!("{people}");
    }
    Ok(())
}
