//! A `postroom serve` process.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Child,
    time::Duration,
};

use serde_json::Value;

use super::{
    Answer, Backends, Machine, command_line::binary, eventually, own_address, place, shop::client, within,
};

/// A daemon that can be stopped, killed and started again on the same data and the same address.
pub struct Daemon {
    role: &'static str,
    address: SocketAddr,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    http: reqwest::Client,
    wrapper: Vec<String>,
}

impl Daemon {
    /// Starts a daemon with all roles and waits until it is ready.
    pub async fn start(backends: &Backends) -> Self {
        Self::start_as("all", backends).await
    }

    /// Starts a daemon that may have so many files and connections open at once.
    pub async fn start_with_descriptors(backends: &Backends, descriptors: u32) -> Self {
        Self::start_under(&["prlimit", &format!("--nofile={descriptors}:{descriptors}")], backends).await
    }

    /// Starts a daemon by a command that becomes it.
    pub async fn start_under(wrapper: &[&str], backends: &Backends) -> Self {
        Self::start_with("all", own_address(), backends, wrapper).await
    }

    /// Starts a daemon with one role on a machine of its own.
    pub async fn start_on(machine: &Machine, role: &'static str, backends: &Backends) -> Self {
        Self::start_with(role, machine.address, backends, &machine.wrapper().each_ref().map(String::as_str))
            .await
    }

    /// Starts a daemon with one role.
    pub async fn start_as(role: &'static str, backends: &Backends) -> Self {
        Self::start_with(role, own_address(), backends, &[]).await
    }

    async fn start_with(
        role: &'static str,
        address: Ipv4Addr,
        backends: &Backends,
        wrapper: &[&str],
    ) -> Self {
        let address = SocketAddr::from((address, 8025));
        let log = backends.folder().join(format!("{role}-{}.log", address.ip()));
        let mut daemon = Self {
            role,
            address,
            config: backends.config(),
            log,
            process: None,
            http: client(),
            wrapper: wrapper.iter().map(|&word| word.to_owned()).collect(),
        };
        daemon.start_again().await;
        daemon
    }

    /// Starts the daemon after it was stopped or killed.
    pub async fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let lines_before = self.log().len();
        // `env` without a word becomes the command that follows.
        let process = place::mortal("env")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("POSTROOM_HTTP__LISTEN", self.address.to_string())
            .env("POSTROOM_ADMIN__LISTEN", self.admin_address().to_string())
            .args(&self.wrapper)
            .arg(binary())
            .arg("--config")
            .arg(&self.config)
            .args(["serve", "--role", self.role])
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        if self.role == "worker" {
            // Its scheduler says when it has begun.
            eventually("the worker has started", async || {
                self.log()[lines_before..]
                    .iter()
                    .any(|line| line["message"].as_str().is_some_and(is_of_the_scheduler))
            })
            .await;
        }
        eventually("the daemon is ready", async || self.is_ready().await).await;
    }

    async fn is_ready(&mut self) -> bool {
        if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
            panic!("the daemon ended with {status}: {}", fs::read_to_string(&self.log).unwrap());
        }
        if self.role == "worker" {
            return self.ask_admin("/readyz").await.is_ok_and(|answer| answer.status == 200);
        }
        let url = format!("{}/healthz", self.url());
        let takes_requests = self.http.get(url).send().await.is_ok_and(|answer| answer.status() == 200);
        takes_requests && self.ask_admin("/readyz").await.is_ok_and(|answer| answer.status == 200)
    }

    /// Where operators look.
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), 8026)
    }

    /// Where operators look.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_address())
    }

    /// What the admin listener answers.
    pub async fn admin(&self, path: &str) -> Answer {
        self.ask_admin(path).await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    async fn ask_admin(&self, path: &str) -> reqwest::Result<Answer> {
        let answer = self.http.get(format!("{}{path}", self.admin_url())).send().await?;
        Ok(Answer::of(answer).await)
    }

    /// Where its HTTP is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it logged so far, over all starts.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Its log as text.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The most memory that it had at any moment, in bytes.
    pub fn most_memory(&self) -> u64 {
        let process = self.process.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends it a signal, as in `STOP`.
    pub fn signal(&self, signal: &str) {
        place::signal(self.process.as_ref().expect("it runs").id(), signal);
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Ends it as a crash would.
    pub fn kill_9(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks it to stop with SIGTERM, waits until it did and returns its exit status.
    pub async fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.end().await
    }

    /// Waits until it ends by itself and returns its exit status.
    pub async fn end(&mut self) -> i32 {
        let mut process = self.process.take().expect("it runs");
        let mut status = None;
        within(Duration::from_secs(40), "the daemon stops", async || {
            status = process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code().unwrap_or(-1)
    }
}

fn is_of_the_scheduler(message: &str) -> bool {
    message.starts_with("the queue is new to this process")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log_text();
            let tail: Vec<_> =
                log.lines().filter(|line| !line.contains("\"answered\"")).rev().take(40).collect();
            eprintln!("the log, without requests:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
