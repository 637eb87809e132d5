//! A small TCP proxy before a server, which breaks the connections of one process in the ways of [`Break`].

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::fault::{Break, Phase};
use crate::support::own_address;

/// Passes bytes both ways. Dropping it ends it.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    broken: Arc<watch::Sender<Option<Break>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy before the server at this address.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_address(), server.port())).await.unwrap();
        let address = listener.local_addr().unwrap();
        let broken = Arc::new(watch::Sender::new(None));
        let task = tokio::spawn(accept(listener, server, Arc::clone(&broken)));
        Self { address, broken, task }
    }

    /// Breaks the connections that are there and those that come, or heals them.
    pub fn set(&self, broken: Option<Break>) {
        self.broken.send_replace(broken);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, broken: Arc<watch::Sender<Option<Break>>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let state = broken.subscribe();
        if matches!(*state.borrow(), Some(Break::Cut | Break::HangUp(Phase::Connect))) {
            continue;
        }
        tokio::spawn(connect(client, server, state));
    }
}

async fn connect(client: TcpStream, server: SocketAddr, state: watch::Receiver<Option<Break>>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (end, is_over) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let asks = ask(from_client, to_server, state.clone(), Arc::clone(&is_over));
    let answers = answer(from_server, to_client, state, is_over);
    tokio::spawn(close_after(end.clone(), asks));
    tokio::spawn(close_after(end, answers));
}

/// One direction that ends takes the other with it.
async fn close_after(end: CancellationToken, direction: impl Future<Output = ()>) {
    end.run_until_cancelled(direction).await;
    end.cancel();
}

/// The next block, unless the connection is cut before it comes.
async fn next(
    from: &mut OwnedReadHalf,
    bytes: &mut [u8],
    state: &mut watch::Receiver<Option<Break>>,
) -> Option<usize> {
    tokio::select! {
        biased;
        _ = state.wait_for(|state| *state == Some(Break::Cut)) => None,
        read = from.read(bytes) => read.ok().filter(|count| *count > 0),
    }
}

/// Passes what the client says.
async fn ask(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Option<Break>>,
    is_over: Arc<AtomicBool>,
) {
    let (mut bytes, mut has_data) = (vec![0; 64 * 1024], false);
    while let Some(count) = next(&mut from, &mut bytes, &mut state).await {
        let block = &bytes[..count];
        has_data |= position(block, b"DATA\r\n").is_some();
        let now = *state.borrow();
        let heard = match now {
            Some(Break::Halve) => count / 2,
            Some(Break::Stall) => wait_while(&mut state, now, count).await,
            Some(Break::HangUp(Phase::Final)) => {
                // From here on the relay's answer is not passed on.
                is_over.store(has_data && block.ends_with(b"\r\n.\r\n"), Ordering::SeqCst);
                count
            }
            Some(Break::HangUp(phase)) => hangs_up_at(phase, block, has_data).unwrap_or(count),
            _ => count,
        };
        if to.write_all(&block[..heard]).await.is_err() || heard < count {
            return;
        }
    }
}

/// Passes what the server says.
async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Option<Break>>,
    is_over: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Some(count) = next(&mut from, &mut bytes, &mut state).await {
        let now = *state.borrow();
        let heard = match now {
            _ if is_over.load(Ordering::SeqCst) => return,
            Some(Break::Halve) => count / 2,
            Some(Break::Stall | Break::Deafen) => wait_while(&mut state, now, count).await,
            _ => count,
        };
        if to.write_all(&bytes[..heard]).await.is_err() || heard < count {
            return;
        }
    }
}

async fn wait_while(
    state: &mut watch::Receiver<Option<Break>>,
    broken: Option<Break>,
    count: usize,
) -> usize {
    let healed = state.wait_for(|state| *state != broken).await;
    if healed.is_ok() { count } else { 0 }
}

fn position(block: &[u8], word: &[u8]) -> Option<usize> {
    block.windows(word.len()).position(|window| window == word)
}

/// Up to which byte of the client's block the relay hears it, where it hangs up in there.
fn hangs_up_at(phase: Phase, block: &[u8], has_data: bool) -> Option<usize> {
    match phase {
        Phase::Connect => Some(0),
        Phase::Hello => position(block, b"EHLO "),
        Phase::Mail => position(block, b"MAIL FROM:"),
        Phase::Rcpt => position(block, b"RCPT TO:"),
        Phase::Data => position(block, b"DATA\r\n"),
        Phase::Content if has_data => position(block, b"Message-ID:").map(|at| at + 20),
        Phase::Content | Phase::Final => None,
    }
}
