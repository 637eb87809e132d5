//! The command line: one file per command. Exit status 0 done, 1 failed, 2 wrong usage or configuration.

mod account;
mod batch;
mod check;
mod context;
mod dkim;
mod doctor;
mod import;
mod mail;
mod merchant;
mod migrate;
mod reply;
mod route;
mod serve;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigFaults},
    demo,
    smtp::RouteError,
    telemetry,
};
use context::{Context, WrongUsage};

/// Durable e-mail job daemon for merchants.
#[derive(Parser)]
#[command(name = "postroom", version, about)]
struct Arguments {
    /// A TOML file with the settings that differ from the defaults.
    #[arg(long, global = true, value_name = "FILE", env = "POSTROOM_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Accept requests and send mails until SIGTERM.
    Serve(serve::Arguments),
    /// Show mails from request to delivery, without installing anything.
    Demo(demo::Arguments),
    /// Check the configuration, and test the connections to the database, the queue and each relay.
    Check(check::Arguments),
    /// Create the database schema or bring it up to date.
    Migrate,
    /// Manage merchants.
    #[command(subcommand)]
    Merchant(merchant::Command),
    /// Manage accounts for HTTP Basic.
    #[command(subcommand)]
    Account(account::Command),
    /// Manage bearer tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// Store many resources from a file with one JSON object per line.
    Import(import::Arguments),
    /// List, show, retry and cancel mails.
    #[command(subcommand)]
    Mail(mail::Command),
    /// Find out what relays' replies mean.
    #[command(subcommand)]
    Reply(reply::Command),
    /// List routes, and drain them.
    #[command(subcommand)]
    Route(route::Command),
    /// Look up what the DNS says about a sender's domain, and what is missing.
    Doctor(doctor::Arguments),
    /// Make keys that sign mails.
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// List, show, pause, resume and cancel batches.
    #[command(subcommand)]
    Batch(batch::Command),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postroom: the runtime could not be started: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postroom: {error:#}");
            let is_wrong_usage =
                error.is::<ConfigFaults>() || error.is::<WrongUsage>() || error.is::<RouteError>();
            ExitCode::from(if is_wrong_usage { 2 } else { 1 })
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Command::Dkim(command) = &arguments.command {
        // Without the configuration: it may name the key already that is made here.
        return dkim::run(arguments.json, command);
    }
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if !matches!(arguments.command, Command::Demo(_)) {
        telemetry::start(&config.log)?;
    }
    let context = Context { config, json: arguments.json };
    match arguments.command {
        Command::Serve(arguments) => serve::run(context, arguments).await,
        Command::Demo(arguments) => demo::run(context.config, arguments).await,
        Command::Check(arguments) => check::run(context, arguments).await,
        Command::Migrate => migrate::run(context).await,
        Command::Merchant(command) => merchant::run(context, command).await,
        Command::Account(command) => account::run(context, command).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Import(arguments) => import::run(context, arguments).await,
        Command::Mail(command) => mail::run(context, command).await,
        Command::Reply(command) => reply::run(&context, &command),
        Command::Route(command) => route::run(context, command).await,
        Command::Batch(command) => batch::run(context, command).await,
        Command::Doctor(arguments) => doctor::run(context, arguments).await,
        Command::Dkim(command) => dkim::run(context.json, &command),
    }
}
