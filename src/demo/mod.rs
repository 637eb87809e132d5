//! `postroom demo`: the whole way of a mail, shown in a terminal with nothing installed.
//!
//! A real daemon and a mail catcher run in this process on loopback; a sample shop sends real requests to the daemon's
//! own ingress, and each mail is followed through the public API until the catcher has it. Nothing is reached that the
//! caller's configuration names, and nothing is left behind.
//!
//! | file | is |
//! |---|---|
//! | `stage.rs` | starts the daemon and the catcher in a temporary folder, and removes it |
//! | `shop.rs` | the sample shop: which requests, and what shall come of each |
//! | `scene.rs` | how that is written down |
//! | `receiver.rs` | where the sample shop takes callbacks |
//! | `play.rs` | sends them, follows their mails, and compares |
//! | `batch.rs` | follows a batch to its webhook |
//! | `api.rs` | the public API as the shop's programs see it |
//! | `watch.rs` | what happened to a mail, step by step |
//! | `live.rs` | shows the mails that people send themselves afterwards |
//! | `step.rs` | one stage of a mail, as it is shown |
//! | `terminal.rs` | how it all looks |
//! | `bar.rs` | how far many mails are, on one line |
//! | `catcher/` | the relay at the other end, with a page that shows what it got |

mod api;
mod bar;
mod batch;
pub mod catcher;
mod live;
mod play;
mod receiver;
mod scene;
mod shop;
mod stage;
mod step;
mod terminal;
mod watch;

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::{config::Config, daemon};
use play::Play;
use stage::{Addresses, Stage};
use terminal::Terminal;

/// By then the story has been told, or something is broken.
const LONGEST_STORY: Duration = Duration::from_secs(120);

/// What the demonstration is asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// Exit when everything is delivered, with status 0 if it went as announced.
    #[arg(long)]
    pub once: bool,
}

/// How the demonstration came to its end.
enum End {
    /// The story was told.
    Told,
    /// Somebody asked it to stop.
    Asked,
}

/// Runs the demonstration; with `json` it is told in objects, one a line. Of the configuration only the log's filter is used: a demonstration reaches nothing real.
///
/// # Errors
/// When it cannot be shown, or when something that was announced did not happen.
pub async fn run(config: Config, arguments: Arguments, json: bool) -> anyhow::Result<()> {
    let mut terminal = Terminal::on_standard_output(json);
    let started = Instant::now();
    terminal.begin("Starting a daemon, its database, its queue and a mail catcher")?;
    let mut stage = tokio::select! {
        stage = Stage::set_up(&config.log) => stage?,
        asked = asked_to_stop() => return asked,
    };
    terminal.done(&format!("ready after {} ms", started.elapsed().as_millis()))?;
    for taken in &stage.taken {
        terminal.entry("Port", taken, "")?;
    }
    let Stage { daemon, catcher, receiver, addresses, .. } = &mut stage;
    let ended = tokio::select! {
        told = tell(&mut terminal, addresses, catcher, receiver, arguments.once) => told,
        asked = asked_to_stop() => asked.map(|()| End::Asked),
        ended = daemon.watch() => ended.map(|()| End::Told),
    };
    let folder = stage.tear_down().await;
    match ended? {
        End::Asked if arguments.once => anyhow::bail!("stopped before all was delivered"),
        End::Asked => terminal.heading(&format!("Ended; {} is removed.", folder.display()))?,
        End::Told => {}
    }
    Ok(())
}

/// Tells the story, and unless it is told once shows what people send themselves.
async fn tell(
    terminal: &mut Terminal,
    addresses: &Addresses,
    catcher: &catcher::Catcher,
    receiver: &mut receiver::Receiver,
    once: bool,
) -> anyhow::Result<End> {
    let api = api::Api::new(addresses)?;
    introduce(terminal, addresses)?;
    let scenes = shop::scenes(&receiver.url);
    let mut play = Play { api: &api, catcher, receiver, addresses, terminal, secret: None };
    let told = tokio::time::timeout(LONGEST_STORY, play.perform(scenes));
    let tally = told.await.map_err(|_| anyhow::anyhow!("the story took longer than {LONGEST_STORY:?}"))??;
    tally.show(terminal)?;
    if once {
        return tally.judge().map(|()| End::Told);
    }
    terminal.heading("Now send one yourself; it is shown here")?;
    show_command(terminal, addresses)?;
    terminal.heading("Ctrl-C ends the demonstration and removes all that it made.")?;
    match live::show(terminal, &api, catcher, addresses).await? {}
}

fn introduce(terminal: &mut Terminal, addresses: &Addresses) -> anyhow::Result<()> {
    terminal.heading("Where to look")?;
    terminal.entry("API", &addresses.api, "where the shop's requests go")?;
    terminal.entry("API docs", &format!("{}/docs", addresses.api), "every endpoint, readable")?;
    terminal.entry("Catcher", &addresses.catcher_page, "every mail, as a mail program shows it")?;
    terminal.entry("", &format!("{}/help", addresses.catcher_page), "what an address does to a mail")?;
    terminal.entry("SMTP", &addresses.catcher.to_string(), "the catcher takes mail from any program")?;
    terminal.entry("Log", &addresses.log.display().to_string(), "")?;
    terminal.entry("Merchant", shop::MERCHANT, shop::NAME)?;
    terminal.entry("Token", &addresses.token, "")?;
    terminal.entry("Account", shop::USERNAME, "")?;
    terminal.entry("Password", &addresses.password, "")?;
    terminal.heading("A mail of your own, while this runs")?;
    show_command(terminal, addresses)
}

fn show_command(terminal: &mut Terminal, addresses: &Addresses) -> anyhow::Result<()> {
    for line in shop::first_mail(&addresses.api, &addresses.token).lines() {
        terminal.command(line)?;
    }
    Ok(())
}

/// Completes when the process is asked to stop, or its terminal is closed.
async fn asked_to_stop() -> anyhow::Result<()> {
    let mut closed = signal(SignalKind::hangup())?;
    tokio::select! {
        asked = daemon::asked_to_stop() => asked,
        _ = closed.recv() => Ok(()),
    }
}
