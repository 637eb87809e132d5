//! A Redis server for one test, which can be killed and started again with or without its data.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Stdio},
};

use tempfile::TempDir;

use super::{
    eventually,
    network::Machine,
    own_address,
    place::{mortal, signal},
};

/// A `redis-server` on an address of its own.
pub struct Redis {
    folder: TempDir,
    address: Ipv4Addr,
    more: String,
    /// The words before the command.
    wrapper: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts a server that writes each change to an append-only file.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts a server with more words on its command line.
    pub async fn start_with(more: &str) -> Self {
        Self::start_at(own_address(), more).await
    }

    /// The same on an address that was chosen before.
    pub async fn start_at(address: Ipv4Addr, more: &str) -> Self {
        Self::start_behind(Vec::new(), address, more).await
    }

    /// The same on a machine of its own.
    pub async fn start_on(machine: &Machine, more: &str) -> Self {
        Self::start_behind(machine.wrapper().into(), machine.address, more).await
    }

    async fn start_behind(wrapper: Vec<String>, address: Ipv4Addr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { folder, address, more: more.to_owned(), wrapper, process: None };
        server.start_again().await;
        server
    }

    /// Starts the server, with the data it left, and waits until it answers.
    pub async fn start_again(&mut self) {
        let mut command = mortal("env");
        let process = command
            .args(&self.wrapper)
            .args(["redis-server", "--bind", &self.address.to_string(), "--port", "6379", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(self.folder.path())
            .args(self.more.split_ascii_whitespace())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("Redis answers", async || self.answers().is_some()).await;
    }

    fn answers(&self) -> Option<()> {
        let answer = self.try_saying("PING")?;
        (answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")).then_some(())
    }

    fn try_saying(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect((self.address, 6379)).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// Says something to it and returns the beginning of its answer.
    pub fn say(&self, command: &str) -> String {
        self.try_saying(command).expect("it answers")
    }

    /// Where it listens.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What goes into `queue.url`.
    pub fn url(&self) -> String {
        format!("redis://{}:6379", self.address)
    }

    /// Ends the process at once; what it wrote down stays.
    pub fn kill_9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends it a signal, as in `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.process.as_ref().expect("it runs").id(), name);
    }

    /// Removes what a killed server wrote down.
    pub fn lose_data(&self) {
        assert!(self.process.is_none(), "kill the server first");
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill_9();
    }
}
