//! `postroom serve`: accepts requests and sends mails until SIGTERM.

use super::context::Context;
use crate::{
    config::Role,
    daemon::{self, Daemon},
    reload,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What this process does.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let hangups = reload::hangups()?;
    let mut daemon = Daemon::start(context.config, arguments.role).await?;
    daemon.accept_reloads(hangups);
    daemon.run_until(daemon::asked_to_stop()).await
}
