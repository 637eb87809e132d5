//! Finds the processes of this machine that can be asked to reload, and asks them.

use std::{
    fs, io,
    os::{linux::net::SocketAddrExt, unix::net},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use crate::audit::Author;

use super::{
    report::Report,
    socket::{Hello, PREFIX, RELOAD, mark_of},
};

/// The sockets of this network namespace (proc(5)).
const SOCKETS: &str = "/proc/self/net/unix";
/// How long a process may take to say who it is.
const HELLO: Duration = Duration::from_secs(2);
/// How long it may take to reload.
const RELOADING: Duration = Duration::from_secs(30);
/// The most bytes of a line.
const LONGEST_LINE: u64 = 4 << 20;

/// A process that can be asked.
pub struct Found {
    /// Who it is. The number is the kernel's word, the rest its own.
    pub hello: Hello,
    stream: BufReader<UnixStream>,
}

/// A process that listens and does not say who it is: it is suspended, or hangs.
pub struct Silent {
    /// Its number, which is the kernel's word.
    pub pid: u32,
    mark: String,
}

impl Silent {
    /// Whether this is its configuration.
    pub fn has(&self, config: Option<&Path>) -> bool {
        self.mark == mark_of(config)
    }
}

enum Greeted {
    Found(Found),
    Silent(Silent),
}

/// The processes that listen to this user, by number, and those that should and do not.
///
/// # Errors
/// When the system does not say which sockets there are.
pub async fn find() -> io::Result<(Vec<Found>, Vec<Silent>)> {
    let sockets = fs::read_to_string(SOCKETS)?;
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    // One that ends just now, or listens to others only, is none of them.
    for greeted in join_all(names(&sockets).into_iter().map(greet)).await.into_iter().flatten().flatten() {
        match greeted {
            Greeted::Found(one) => found.push(one),
            Greeted::Silent(one) => silent.push(one),
        }
    }
    found.sort_by_key(|found| found.hello.pid);
    silent.sort_by_key(|silent| silent.pid);
    Ok((found, silent))
}

/// The names of our abstract sockets that are listened at; each stands last in its line, after an `@`.
fn names(sockets: &str) -> Vec<&str> {
    const LISTENS: &str = "00010000";
    let mut names: Vec<_> = sockets
        .lines()
        .filter(|line| line.split_ascii_whitespace().nth(3) == Some(LISTENS))
        .filter_map(|line| line.split_ascii_whitespace().nth(7)?.strip_prefix('@'))
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    names.dedup();
    names
}

async fn greet(name: &str) -> anyhow::Result<Option<Greeted>> {
    // It does not block: a socket whose queue is full refuses.
    let stream = net::UnixStream::connect_addr(&net::SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    // A stranger's process is not ours to ask, and might say anything. Of another PID namespace there is no number.
    let Some(pid) = peer.pid().filter(|pid| *pid > 0 && (own == 0 || peer.uid() == own)) else {
        return Ok(None);
    };
    let (mut stream, pid) = (BufReader::new(stream), u32::try_from(pid)?);
    let Ok(hello) = timeout(HELLO, read_line::<Hello>(&mut stream)).await else {
        let mark = name.rsplit('/').next().unwrap_or_default().to_owned();
        return Ok(Some(Greeted::Silent(Silent { pid, mark })));
    };
    Ok(Some(Greeted::Found(Found { hello: Hello { pid, ..hello? }, stream })))
}

async fn read_line<T: DeserializeOwned>(stream: &mut BufReader<UnixStream>) -> anyhow::Result<T> {
    let mut line = Vec::new();
    stream.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        bail!("it says nothing");
    }
    Ok(serde_json::from_slice(&line)?)
}

impl Found {
    /// Asks it to reload, for whom the audit is to name. It does so whether or not anybody waits.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn ask(&mut self, author: &Author) -> anyhow::Result<()> {
        let user = author.actor.to_string();
        let user = user.strip_prefix("cli:").unwrap_or(&user);
        // Neither has a control character in it.
        let line = format!("{RELOAD}\t{}\t{user}\n", author.origin.as_deref().unwrap_or("?"));
        timeout(HELLO, self.stream.get_mut().write_all(line.as_bytes()))
            .await
            .context("it does not answer")??;
        Ok(())
    }

    /// Waits for what comes of it.
    ///
    /// # Errors
    /// When it does not say in time.
    pub async fn report(&mut self) -> anyhow::Result<Report> {
        timeout(RELOADING, read_line(&mut self.stream))
            .await
            .with_context(|| format!("it does not answer within {RELOADING:?}"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_are_listened_at_are_found_by_their_names() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20735 @postroom/12/a\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 20736 @postroom/12/a\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20737 /run/postroom/x\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20738\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20739 @other/1\n";
        assert_eq!(names(sockets), ["postroom/12/a"]);
    }
}
