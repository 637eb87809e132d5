//! A TCP proxy before Postgres that can keep the answer to a COMMIT to itself.

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
    task::JoinHandle,
};

use super::own_address;

/// The simple query `COMMIT` (PostgreSQL's manual, "Message Formats"): `Q`, its length, its text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Passes bytes both ways. Dropping it ends it.
pub struct CommitProxy {
    /// Where it listens.
    pub address: SocketAddr,
    keeps_answers: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl CommitProxy {
    /// Starts a proxy before the server at this address.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_address(), 5432)).await.unwrap();
        let (address, keeps_answers) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let keeps = Arc::clone(&keeps_answers);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let is_dumb = Arc::new(AtomicBool::new(false));
                tokio::spawn(ask(from_client, to_server, Arc::clone(&keeps), Arc::clone(&is_dumb)));
                tokio::spawn(answer(from_server, to_client, is_dumb));
            }
        });
        Self { address, keeps_answers, task }
    }

    /// From now on, or no longer, a connection on which a COMMIT comes by says nothing more to its client.
    pub fn keep_answers(&self, keeps: bool) {
        self.keeps_answers.store(keeps, Ordering::SeqCst);
    }
}

impl Drop for CommitProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    keeps: Arc<AtomicBool>,
    is_dumb: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut bytes).await {
        let is_commit = bytes[..count].windows(COMMIT.len()).any(|window| window == COMMIT);
        if is_commit && keeps.load(Ordering::SeqCst) {
            is_dumb.store(true, Ordering::SeqCst);
        }
        if server.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, is_dumb: Arc<AtomicBool>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = server.read(&mut bytes).await {
        if !is_dumb.load(Ordering::SeqCst) && client.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
