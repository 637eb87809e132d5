//! What the commands share: the settings they run with, who runs them, and how they refuse.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use crate::{
    app::App,
    audit::Author,
    config::Config,
    mail::MerchantId,
    store::{Merchant, Store},
};

pub(super) use super::output::print;

/// What every command needs to run.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) json: bool,
}

impl Context {
    pub(super) async fn app(self) -> anyhow::Result<Arc<App>> {
        expect_file(&self.config)?;
        let app = App::open(self.config).await?;
        app.store.check_schema().await?;
        Ok(app)
    }

    /// The rows, for commands that need nothing else. What they change is in the audit.
    pub(super) async fn store(&self) -> anyhow::Result<Store> {
        expect_file(&self.config)?;
        let store = Store::open(&self.config.database).await?;
        store.check_schema().await?;
        Ok(store.acting_for(author()))
    }
}

/// Opening the database would make its file.
pub(super) fn expect_file(config: &Config) -> anyhow::Result<()> {
    match config.database.absent_file() {
        Some(file) => anyhow::bail!(
            "`{}` does not exist; `postroom migrate` or `postroom serve` creates it",
            file.display()
        ),
        None => Ok(()),
    }
}

/// Asks the person at the terminal; anything but `y` or `yes` is a no.
pub(super) fn ask(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Whether there is a person to ask.
pub(super) fn somebody_can_be_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The command line is valid, but asks for something impossible.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(pub(super) String);

/// Finds a merchant.
///
/// # Errors
/// When there is none with this id.
pub(super) async fn merchant(store: &Store, id: &MerchantId) -> anyhow::Result<Merchant> {
    store.merchant(id).await?.ok_or_else(|| anyhow::anyhow!("there is no merchant `{id}`"))
}

/// The same where one is named at all.
pub(super) async fn check_merchant(store: &Store, id: Option<&MerchantId>) -> anyhow::Result<()> {
    match id {
        Some(id) => merchant(store, id).await.map(drop),
        None => Ok(()),
    }
}

/// What is wrong when a merchant has no sender and the installation has none for it, as a line of its own.
pub(super) fn lacks_sender(config: &Config, id: &MerchantId) -> Option<String> {
    (!config.http.has_no_reply()).then(|| {
        format!(
            "\nmerchant {id} has no sender: its mails for which no brand and no store has one would go out from {}; \
            set one with `postroom merchant update {id} --sender ADDRESS`",
            config.http.no_reply()
        )
    })
}

/// Whoever runs this process: the user that the system knows, at which terminal and machine.
pub(super) fn author() -> Author {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let terminal = rustix::termios::ttyname(io::stdin(), Vec::new()).ok();
    let terminal = terminal.map(|name| name.to_string_lossy().trim_start_matches("/dev/").to_owned());
    let origin = terminal.map_or_else(|| machine.clone(), |terminal| format!("{terminal}@{machine}"));
    Author::at_the_command_line(&user(), &origin)
}

/// The name of the user, or the number where it has none.
fn user() -> String {
    let id = rustix::process::getuid().as_raw().to_string();
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    name.unwrap_or(id)
}
