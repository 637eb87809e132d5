//! The demonstration that needs nothing installed: what `postroom demo` brings along besides the daemon itself.

pub mod catcher;

use crate::config::Config;

/// What the demonstration is asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// End with status 0 when all is delivered.
    #[arg(long)]
    pub once: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// When it cannot be shown.
pub async fn run(_config: Config, _arguments: Arguments) -> anyhow::Result<()> {
    anyhow::bail!("under construction")
}
