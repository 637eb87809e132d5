//! The Unix socket at which a process is asked to reload: an abstract one (unix(7)), so that it needs no folder, leaves nothing
//! behind, and is where every unit, container and test of one machine finds it.
//!
//! Whoever connects hears who the process is, may answer `reload`, its origin and user with tabs between, and hears what came of it. Only the user of the process and
//! root are listened to; who that is the kernel says.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::report::Asked;
use crate::{audit::Author, config::Role, mail::WorkerId};

/// Every socket's name begins with this. The process, something unguessable and the [mark](mark_of) of its configuration follow.
pub(super) const PREFIX: &str = "postroom/";
/// What a client says.
pub(super) const RELOAD: &str = "reload";
/// The most bytes of what a client says.
const LONGEST_REQUEST: u64 = 1_024;
/// How long a client may take to say it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most clients at once.
const MOST: usize = 8;

/// Who a process is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its number.
    pub pid: u32,
    /// What it does.
    pub role: String,
    /// Its version.
    pub version: String,
    /// The file that its configuration is in; none when it has only defaults and the environment.
    pub config: Option<PathBuf>,
}

impl Hello {
    pub(super) fn of_this_process(role: Role, config: Option<PathBuf>) -> Self {
        Self {
            pid: std::process::id(),
            role: role.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config,
        }
    }
}

/// The one name of a file.
pub fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).or_else(|_| std::path::absolute(file)).unwrap_or_else(|_| file.to_owned())
}

/// Tells the configurations of processes apart that do not say which theirs is. Short, since a socket's name is (FNV-1a).
pub(super) fn mark_of(config: Option<&Path>) -> String {
    let file = config.map(absolute).unwrap_or_default();
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", file.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// Takes questions for ever. Where that is not possible, SIGHUP remains.
pub(super) async fn serve(hello: Hello, worker: WorkerId, ask: mpsc::Sender<Asked>) {
    let listener = match listen(worker, &mark_of(hello.config.as_deref())) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "`postroom reload` cannot reach this process; SIGHUP can");
            return std::future::pending().await;
        }
    };
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < MOST => match accepted {
                Ok((client, _)) => drop(clients.spawn(serve_client(client, hello.clone(), ask.clone()))),
                Err(error) => {
                    tracing::debug!(%error, "nobody could be accepted who asks for a reload");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

fn listen(worker: WorkerId, mark: &str) -> io::Result<UnixListener> {
    let name = format!("{PREFIX}{}/{worker}/{mark}", std::process::id());
    let listener = net::UnixListener::bind_addr(&net::SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn serve_client(client: UnixStream, hello: Hello, ask: mpsc::Sender<Asked>) {
    let user = client.peer_cred().map(|peer| peer.uid());
    let (own, root) = (rustix::process::geteuid().as_raw(), 0);
    if !user.is_ok_and(|user| user == own || user == root) {
        return;
    }
    if let Err(error) = answer(client, &hello, &ask).await {
        tracing::debug!(%error, "who asked for a reload is gone");
    }
}

async fn answer(client: UnixStream, hello: &Hello, ask: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    write_line(&mut write, hello).await?;
    let mut line = String::new();
    let mut lines = BufReader::new(read.take(LONGEST_REQUEST));
    timeout(CLIENT_TIMEOUT, lines.read_line(&mut line)).await??;
    let mut words = line.trim_end().splitn(3, '\t');
    if words.next() != Some(RELOAD) {
        return Ok(());
    }
    let (origin, user) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
    let (report, reloaded) = oneshot::channel();
    let asked = Asked { author: Author::at_the_command_line(user, origin), report };
    if ask.send(asked).await.is_err() {
        return Ok(()); // the process stops
    }
    match reloaded.await {
        Ok(report) => write_line(&mut write, &report).await,
        Err(_) => Ok(()),
    }
}

async fn write_line(
    write: &mut (impl AsyncWriteExt + Unpin),
    what: &(impl Serialize + Sync),
) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    timeout(CLIENT_TIMEOUT, write.write_all(&line)).await?
}
