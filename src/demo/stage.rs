//! Starts what a demonstration needs and clears it away: a daemon with embedded parts, a catcher, a merchant, a folder.

use std::{
    fs::{self, DirBuilder, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::Context;

use super::{
    catcher::{Catcher, CatcherOptions},
    receiver::Receiver,
    shop,
};
use crate::{
    auth::{hash_password, hash_token, new_secret},
    callback::Secret,
    config::{Config, Role},
    daemon::Daemon,
    dashboard,
    mail::{Mailbox, MerchantId, RetryPolicy},
    shop::OperatorRole,
    smtp::{RouteSettings, TlsMode},
    store::NewMerchant,
    telemetry::LogSettings,
};

/// Where requests are taken when nobody else listens there: the port of `http.listen` in config.toml.
const API_PORT: u16 = 8025;
/// Where the catcher's page is when nobody else listens there.
const PAGE_PORT: u16 = 8027;
/// Where the catcher speaks SMTP when nobody else listens there or on [`PAGE_PORT`].
const SMTP_PORT: u16 = 8028;
/// How long the link to the dashboard works.
const LINK: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a port that was free a moment ago may turn out to be taken.
const TRIES: u32 = 5;

/// All that runs and lies around while a demonstration is shown.
pub(super) struct Stage {
    pub(super) daemon: Daemon,
    pub(super) catcher: Catcher,
    pub(super) receiver: Receiver,
    pub(super) addresses: Addresses,
    /// Ports that somebody else has, and what was done about it.
    pub(super) taken: Vec<String>,
    folder: Folder,
}

/// What people and programs need in order to join in.
pub(super) struct Addresses {
    /// Begins the URL of each endpoint; no slash at its end.
    pub(super) api: String,
    /// Where the caught mails are shown; no slash at its end.
    pub(super) catcher_page: String,
    /// Where the catcher speaks SMTP.
    pub(super) catcher: SocketAddr,
    /// Signs whoever opens it in to the dashboard, once.
    pub(super) dashboard: String,
    /// The merchant's bearer token.
    pub(super) token: String,
    /// The same in test mode.
    pub(super) test_token: String,
    /// The password of the merchant's account [`shop::USERNAME`].
    pub(super) password: String,
    /// The merchant's own secret, which signs the webhooks of batches.
    pub(super) secret: Secret,
    /// Where the daemon writes its log.
    pub(super) log: PathBuf,
}

impl Stage {
    /// Starts everything; returns when requests are taken.
    pub(super) async fn set_up(log: &LogSettings) -> anyhow::Result<Self> {
        let folder = Folder::create()?;
        let log_file = folder.path.join("postroom.log");
        start_log(log, &log_file)?;
        let mut taken = Vec::new();
        let catcher = start_catcher(&mut taken).await.context("the mail catcher cannot listen")?;
        let receiver = Receiver::start().await.context("the sample shop's receiver cannot listen")?;
        let daemon = start_daemon(&folder.path, catcher.smtp_addr(), &mut taken).await?;
        let secret = Secret::generate();
        let (token, test_token, password) = create_merchant(&daemon, &secret).await?;
        let dashboard = sign_in_link(&daemon).await?;
        let api = daemon.listening_on().context("the daemon takes no requests")?;
        let page = catcher.http_addr().context("the catcher has no page")?;
        let addresses = Addresses {
            api: format!("http://{api}"),
            catcher_page: format!("http://{page}"),
            catcher: catcher.smtp_addr(),
            dashboard,
            token,
            test_token,
            password,
            secret,
            log: log_file,
        };
        Ok(Self { daemon, catcher, receiver, addresses, taken, folder })
    }

    /// Stops everything, removes the folder, and tells which it was.
    pub(super) async fn tear_down(self) -> PathBuf {
        self.daemon.stop().await;
        self.catcher.stop().await;
        self.folder.path.clone()
    }
}

/// A folder that is gone when this is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates a folder that only this user can read: there is a token in its database.
    fn create() -> anyhow::Result<Self> {
        let name = format!("postroom-demo-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create the folder {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Lets the daemon log into a file, so that the terminal shows only the story.
fn start_log(settings: &LogSettings, file: &Path) -> anyhow::Result<()> {
    let filter = settings.read_filter().context("log.filter")?;
    let file = File::create(file).context("cannot create the log")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
    // Where logging was started before, as in a test, it goes on as it was.
    let _ = log.with_writer(Mutex::new(file)).try_init();
    Ok(())
}

/// Starts the catcher on its usual ports, or on free ones; says which are taken.
async fn start_catcher(taken: &mut Vec<String>) -> io::Result<Catcher> {
    let on = |smtp: u16, page: u16| CatcherOptions {
        smtp: SocketAddr::from((Ipv4Addr::LOCALHOST, smtp)),
        http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, page))),
        ..CatcherOptions::default()
    };
    match Catcher::start(on(SMTP_PORT, PAGE_PORT)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            taken.push(format!("{SMTP_PORT} or {PAGE_PORT} is taken: the catcher has others"));
            Catcher::start(on(0, 0)).await
        }
        started => started,
    }
}

/// Starts the daemon on its usual port, or on a free one. The port must be known before: links begin with it.
async fn start_daemon(folder: &Path, relay: SocketAddr, taken: &mut Vec<String>) -> anyhow::Result<Daemon> {
    let mut port = API_PORT;
    for _ in 1..TRIES {
        match Daemon::start(settings(folder, port, relay)?, Role::All).await {
            Err(error) if is_taken(&error) => {
                taken.push(format!("{port} is taken: the API has another"));
                port = free_port()?;
            }
            started => return started.context("the daemon cannot start"),
        }
    }
    Daemon::start(settings(folder, port, relay)?, Role::All).await.context("the daemon cannot start")
}

fn is_taken(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::AddrInUse)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The defaults, with everything embedded, the catcher as the only relay, and short waits.
fn settings(folder: &Path, port: u16, relay: SocketAddr) -> anyhow::Result<Config> {
    let mut config = Config::load(None, std::iter::empty())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.database.url = format!("sqlite:{}", folder.join("postroom.db").display());
    config.queue.url = "memory:".to_owned();
    config.http.listen = listen;
    config.admin.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.http.public_url = format!("http://{listen}").parse()?;
    let catcher = RouteSettings::new("catcher", relay.ip().to_string(), relay.port(), TlsMode::None);
    config.smtp.routes = vec![RouteSettings { connections: 4, ..catcher }];
    // The sample shop's receiver is on this machine and has no certificate.
    config.callbacks.allow_networks = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    config.callbacks.allow_http = true;
    config.worker.drain = Duration::from_secs(2);
    config.retry = RetryPolicy {
        schedule: Vec::new(),
        first: Duration::from_millis(400),
        longest: Duration::from_secs(10),
        max_age: Duration::from_secs(120),
        rescues: 5,
    };
    Ok(config)
}

/// Creates an operator for the newcomer, and a link that signs in once.
async fn sign_in_link(daemon: &Daemon) -> anyhow::Result<String> {
    const NAME: &str = "you";
    let store = &daemon.app().store;
    store.create_operator(NAME, OperatorRole::Admin, None, &hash_password(&new_secret())?).await?;
    let link = dashboard::sign_in_link(store, NAME, LINK).await?;
    let admin = daemon.admin_on().context("the dashboard cannot listen")?;
    Ok(format!("http://{admin}{link}"))
}

/// Creates the sample shop's merchant as `postroom merchant create`, `token create` and `account create` do; returns
/// the token, one in test mode, and the password.
async fn create_merchant(daemon: &Daemon, secret: &Secret) -> anyhow::Result<(String, String, String)> {
    let store = &daemon.app().store;
    let id: MerchantId = shop::MERCHANT.parse().context("the sample merchant's id is wrong")?;
    let merchant = NewMerchant {
        id: id.clone(),
        name: shop::NAME.to_owned(),
        country: shop::COUNTRY.to_owned(),
        language: None,
        sender: Some(Mailbox { name: Some(shop::NAME.to_owned()), email: shop::SENDER.parse()? }),
        secret: secret.expose(),
        is_test: false,
    };
    store.create_merchant(&merchant).await?;
    let (token, test_token) = (format!("pr_{}", new_secret()), format!("pr_{}", new_secret()));
    for (token, is_test) in [(&token, false), (&test_token, true)] {
        store.create_token(&id, &hash_token(token), "*", None, is_test).await?;
    }
    let password = new_secret();
    store.create_account(&id, shop::USERNAME, &hash_password(&password)?).await?;
    Ok((token, test_token, password))
}
