//! A Redis server for one test, which can be killed and started again with or without its data.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Stdio},
};

use tempfile::TempDir;

use super::{
    eventually, own_address,
    place::{mortal, signal},
};

/// A `redis-server` on an address of its own.
pub struct Redis {
    folder: TempDir,
    address: Ipv4Addr,
    process: Option<Child>,
}

impl Redis {
    /// Starts a server that writes each change to an append-only file.
    pub async fn start() -> Self {
        let mut server = Self { folder: tempfile::tempdir().unwrap(), address: own_address(), process: None };
        server.start_again().await;
        server
    }

    /// Starts the server, with the data it left, and waits until it answers.
    pub async fn start_again(&mut self) {
        let process = mortal("redis-server")
            .args(["--bind", &self.address.to_string(), "--port", "6379", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually("Redis answers", async || self.answers().is_some()).await;
    }

    fn answers(&self) -> Option<()> {
        let mut stream = TcpStream::connect((self.address, 6379)).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"+PONG\r\n").then_some(())
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
