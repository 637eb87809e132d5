//! The command line: one file per command. Exit status 0 done, 1 failed, 2 wrong usage or configuration.

mod account;
mod action;
mod audit;
mod batch;
mod check;
mod context;
mod daemon_status;
mod dkim;
mod doctor;
mod filter;
mod import;
mod mail;
mod mail_tail;
mod manual;
mod merchant;
mod metrics_text;
mod migrate;
mod operator;
mod output;
mod queue;
mod recipient;
mod reload;
mod reply;
mod route;
mod screen;
mod serve;
mod suppression;
mod table;
mod test_mail;
mod times;
mod token;
mod top;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::{Config, ConfigFaults},
    demo,
    smtp::RouteError,
    telemetry,
};
use context::{Context, WrongUsage};
use output::NobodyReads;

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
    /// Ask the daemons of this machine to read their configuration again.
    Reload(reload::Arguments),
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
    /// Manage the operators of this installation.
    #[command(subcommand)]
    Operator(operator::Command),
    /// Show what waits, and pause and resume lanes, merchants, routes and domains.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Show who changed what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Store many resources from a file with one JSON object per line.
    Import(import::Arguments),
    /// List, show, retry and cancel mails, one or many.
    #[command(subcommand)]
    Mail(mail::Command),
    /// List, show, confirm, stop and resume bulk actions: what `mail retry` and the like do to many mails.
    #[command(subcommand)]
    Action(action::Command),
    /// Find out what relays' replies mean.
    #[command(subcommand)]
    Reply(reply::Command),
    /// List, add, remove, import and export addresses that get no mail.
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// List routes, and drain them.
    #[command(subcommand)]
    Route(route::Command),
    /// Export or erase everything that is stored about a recipient.
    #[command(subcommand)]
    Recipient(recipient::Command),
    /// Look up what the DNS says about a sender's domain, and what is missing.
    Doctor(doctor::Arguments),
    /// Make keys that sign mails.
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// List, show, pause, resume and cancel batches.
    #[command(subcommand)]
    Batch(batch::Command),
    /// Watch what goes, what waits and why, live.
    Top(top::Arguments),
    /// Send one mail over a route and show what the relay says.
    TestMail(test_mail::Arguments),
    /// Print a script that completes commands in a shell.
    Completions(manual::Completions),
    /// Print the manual in the format of man, or write all its pages into a folder.
    Man(manual::Manual),
}

/// How long threads that are still at work may go on after a command.
const LAST_THREADS: Duration = Duration::from_millis(500);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(filter::with_negated_terms(std::env::args_os()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postroom: the runtime could not be started: {error}");
            return ExitCode::from(1);
        }
    };
    let ended = runtime.block_on(run(arguments));
    // A thread that reads a file system which hangs keeps no process.
    runtime.shutdown_timeout(LAST_THREADS);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if has_no_reader(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postroom: {error:#}");
            let is_wrong_usage =
                error.is::<ConfigFaults>() || error.is::<WrongUsage>() || error.is::<RouteError>();
            ExitCode::from(if is_wrong_usage { 2 } else { 1 })
        }
    }
}

/// Whether standard output was closed by who reads it, as `head` does.
fn has_no_reader(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    error.is::<NobodyReads>() || kind == Some(io::ErrorKind::BrokenPipe)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // These need no configuration, which may name the key already that `dkim generate` makes.
    match &arguments.command {
        Command::Completions(shell) => return manual::complete(Arguments::command(), shell),
        Command::Man(pages) => return manual::man(Arguments::command(), pages),
        Command::Dkim(command) => return dkim::run(arguments.json, command),
        // The daemon reads it, in its own environment.
        Command::Reload(asked) => {
            return reload::run(arguments.json, arguments.config.as_deref(), asked).await;
        }
        _ => {}
    }
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if !matches!(arguments.command, Command::Demo(_)) {
        telemetry::start(&config.log)?;
    }
    let context = Context { config, json: arguments.json };
    match arguments.command {
        Command::Serve(arguments) => serve::run(context, arguments).await,
        Command::Demo(arguments) => demo::run(context.config, arguments, context.json).await,
        Command::Check(arguments) => check::run(context, arguments).await,
        Command::Migrate => migrate::run(context).await,
        Command::Merchant(command) => merchant::run(context, command).await,
        Command::Account(command) => account::run(context, command).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Operator(command) => operator::run(context, command).await,
        Command::Recipient(command) => recipient::run(context, command).await,
        Command::Queue(command) => queue::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Import(arguments) => import::run(context, arguments).await,
        Command::Mail(command) => mail::run(context, command).await,
        Command::Action(command) => action::run(context, command).await,
        Command::Reply(command) => reply::run(&context, &command),
        Command::Suppression(command) => suppression::run(context, command).await,
        Command::Route(command) => route::run(context, command).await,
        Command::Batch(command) => batch::run(context, command).await,
        Command::Top(arguments) => top::run(context, arguments).await,
        Command::TestMail(arguments) => test_mail::run(context, arguments).await,
        Command::Doctor(arguments) => doctor::run(context, arguments).await,
        Command::Completions(_) | Command::Man(_) | Command::Dkim(_) | Command::Reload(_) => Ok(()), // above
    }
}
