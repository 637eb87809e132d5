//! A long way to a server: a TCP proxy that passes everything on after a while.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Passes bytes both ways, each after the same time. Dropping it closes it to new connections.
pub struct SlowWay {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl SlowWay {
    /// A way to this server that takes `delay` in each direction.
    pub async fn to(server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(server).await else { continue };
                for socket in [&client, &server] {
                    socket.set_nodelay(true).unwrap();
                }
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                pass(from_client, to_server, delay);
                pass(from_server, to_client, delay);
            }
        });
        Self { address, task }
    }
}

impl SlowWay {
    /// How long a command and its answer really take on this way to an SMTP server, on a machine as busy as it is now.
    pub async fn round_trip(&self) -> Duration {
        let mut server = BufReader::new(TcpStream::connect(self.address).await.unwrap());
        let mut answer = String::new();
        server.read_line(&mut answer).await.unwrap();
        let (commands, began) = (20, Instant::now());
        for _ in 0..commands {
            server.get_mut().write_all(b"NOOP\r\n").await.unwrap();
            answer.clear();
            server.read_line(&mut answer).await.unwrap();
            assert!(answer.starts_with("250"), "{answer}");
        }
        began.elapsed() / commands
    }
}

impl Drop for SlowWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut under_way) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if send.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
}
