//! For tests: a receiver on a real socket that behaves well or badly, as the test asks.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{CallbackSettings, Signed};

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes and closes.
    Say(String),
    /// Says nothing and keeps the connection.
    Hang,
    /// Sends one byte of an answer's head again and again.
    Drip,
    /// Answers 200 with a body of a gigabyte.
    Flood,
    /// Sends informational answers (RFC 9110, section 15.2) as quickly as they are taken, and never the final one.
    Inform,
    /// Sends a head that does not end, as quickly as it is taken.
    EndlessHead,
}

impl Act {
    pub(crate) fn status(status: u16) -> Self {
        Self::Say(format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn signed(&self) -> Signed {
        Signed::from_headers(|name| self.headers.get(name).map(String::as_str))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Received>,
    connections: Arc<AtomicU64>,
    flooded: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1; `act` is asked with the number of the request, from 0.
    pub(crate) async fn start(act: impl Fn(usize) -> Act + Send + 'static) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), act).await
    }

    pub(crate) async fn listen(address: SocketAddr, act: impl Fn(usize) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let (connections, flooded) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counter, flood) = (Arc::clone(&connections), Arc::clone(&flooded));
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, act(number as usize), sender.clone(), Arc::clone(&flood)));
            }
        });
        Self { address, requests, connections, flooded, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next request; it must come within 20 s.
    pub(crate) async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(20), self.requests.recv());
        next.await.expect("a request should have come").unwrap()
    }

    /// Whether no request is there that was not looked at.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::SeqCst)
    }
}

/// Serves one request on a connection.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    act: Act,
    requests: mpsc::UnboundedSender<Received>,
    flooded: Arc<AtomicU64>,
) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream).await else { return };
    let _ = requests.send(request);
    match act {
        Act::Say(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Act::Hang => std::future::pending().await,
        Act::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
            while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Act::Inform => {
            pour(&mut stream, &b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(1_000), &flooded)
                .await
        }
        Act::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            pour(&mut stream, &b"X-Header: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(1_000), &flooded)
                .await;
        }
        Act::Flood => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let chunk = [b'x'; 65_536];
            for _ in 0..16_384 {
                if stream.write_all(&chunk).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
                flooded.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            }
        }
    }
}

/// Writes the same again and again until nobody takes it.
async fn pour(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], flooded: &AtomicU64) {
    while stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() {
        flooded.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }
    flooded.store(u64::MAX, Ordering::SeqCst);
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|&bytes| bytes > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).ok()? })
}

/// Settings that reach receivers on loopback.
pub(crate) fn settings() -> CallbackSettings {
    CallbackSettings {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        timeout: Duration::from_secs(15),
        concurrency: 64,
        per_endpoint: 8,
    }
}
