//! `postroom serve`: takes requests and sends mails until SIGTERM.

use super::Context;
use crate::{
    config::Role,
    daemon::{self, Daemon},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What this process does.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
}

pub(super) async fn run(context: Context, arguments: Arguments) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(context.config, arguments.role).await?;
    tokio::select! {
        ended = daemon.watch() => ended?,
        asked = daemon::asked_to_stop() => asked?,
    }
    daemon.stop().await;
    Ok(())
}
