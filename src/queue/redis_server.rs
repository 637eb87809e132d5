//! A Redis server for one test: its own process, port and directory, gone when the test is over.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// A `redis-server` on a port of 127.0.0.1 and on a socket in its directory.
pub(crate) struct RedisServer {
    directory: TempDir,
    port: u16,
    keeps_data: bool,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server that writes an append-only file if it `keeps_data`.
    pub(crate) async fn start(keeps_data: bool) -> Self {
        let mut server = Self::absent(keeps_data);
        server.run().await;
        server
    }

    /// Reserves a place where no server listens yet.
    pub(crate) fn absent(keeps_data: bool) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), port: free_port(), keeps_data, process: None }
    }

    /// Starts the server, with the data it kept if it did, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", if self.keeps_data { "yes" } else { "no" }, "--appendfsync", "always"])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually(async || self.answers().await).await;
    }

    /// Whether it is this server that answers on the port, and not one of another test, with its data read.
    async fn answers(&mut self) -> bool {
        let process = self.process.as_mut().unwrap();
        assert!(process.try_wait().unwrap().is_none(), "the server could not start");
        let own = format!("process_id:{}\r", process.id());
        let asked = async {
            let client = redis::Client::open(self.url())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("INFO").query_async::<String>(&mut connection).await
        };
        asked.await.is_ok_and(|server| server.contains(&own) && server.contains("\nloading:0\r"))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Kills the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops the process without ending it: connections stay open, nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Sends one command past the queue.
    pub(crate) async fn ask(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Finds a port that outgoing connections do not use: one that dials its own port while the server is down would
/// hear itself.
fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| rand::random_range(20_000..32_000));
    candidates.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Waits until the condition holds; fails the test when it does not within 20 seconds.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it never came true");
}
