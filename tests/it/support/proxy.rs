//! A TCP proxy before Postgres that can keep answers to itself: those to a COMMIT, or all.

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
pub struct DatabaseProxy {
    address: SocketAddr,
    keeps_answers: Arc<AtomicBool>,
    is_silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl DatabaseProxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_address(), 5432)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let [keeps_answers, is_silent] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (keeps, silent) = (Arc::clone(&keeps_answers), Arc::clone(&is_silent));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let is_dumb = Arc::new(AtomicBool::new(false));
                let falls_dumb = {
                    let (keeps, silent, is_dumb) =
                        (Arc::clone(&keeps), Arc::clone(&silent), Arc::clone(&is_dumb));
                    move |bytes: &[u8]| {
                        let is_commit = || bytes.windows(COMMIT.len()).any(|window| window == COMMIT);
                        if silent.load(Ordering::SeqCst) || keeps.load(Ordering::SeqCst) && is_commit() {
                            is_dumb.store(true, Ordering::SeqCst);
                        }
                    }
                };
                tokio::spawn(ask(from_client, to_server, falls_dumb));
                tokio::spawn(answer(from_server, to_client, is_dumb));
            }
        });
        Self { address, keeps_answers, is_silent, task }
    }

    /// A proxy before this database, and how it is reached through it.
    pub async fn before(database: &str) -> (Self, String) {
        let (server, name) = database.split_once('@').unwrap().1.split_once('/').unwrap();
        let proxy = Self::start(server.parse().unwrap()).await;
        let far = format!("postgres://postgres@{}/{name}", proxy.address);
        (proxy, far)
    }

    /// From now on, or no longer, a connection on which a COMMIT comes by says nothing more to its client.
    pub fn keep_answers(&self, keeps: bool) {
        self.keeps_answers.store(keeps, Ordering::SeqCst);
    }

    /// From now on, or no longer, a connection on which anything comes by says nothing more to its client, ever.
    pub fn fall_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }
}

impl Drop for DatabaseProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, comes_by: impl Fn(&[u8])) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut bytes).await {
        comes_by(&bytes[..count]);
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
