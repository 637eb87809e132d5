//! One `postroom serve` process: started, hit by faults, and started again as a supervisor does.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::support::{binary, mortal, own_address, signal};

/// Between the end of a process and its next start, as with `RestartSec=1`.
const RESTART: Duration = Duration::from_secs(1);

/// A process that is meant to run always.
pub struct Process {
    /// As in `worker-1`.
    pub name: String,
    role: &'static str,
    address: SocketAddr,
    config: PathBuf,
    /// Its log, over all starts.
    pub log: PathBuf,
    environment: Vec<(String, String)>,
    state: Mutex<State>,
}

struct State {
    child: Option<Child>,
    /// Somebody is about to start it.
    is_down: bool,
    /// Somebody asked it to stop.
    is_stopping: bool,
    ended_at: Option<Instant>,
    ends: Vec<(Instant, String)>,
}

impl Process {
    /// Starts a process; `environment` says which proxies it goes through.
    pub fn start(
        name: String,
        role: &'static str,
        config: PathBuf,
        log: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        let address = SocketAddr::from((own_address(), 8025));
        let state =
            State { child: None, is_down: false, is_stopping: false, ended_at: None, ends: Vec::new() };
        let process = Self { name, role, address, config, log, environment, state: Mutex::new(state) };
        process.spawn(&mut process.state());
        process
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Where it takes requests.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it tells how it is.
    pub fn admin_url(&self) -> String {
        format!("http://{}:8026", self.address.ip())
    }

    fn spawn(&self, state: &mut State) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = mortal(binary())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", std::env::temp_dir())
            .env("POSTROOM_HTTP__LISTEN", self.address.to_string())
            .env("POSTROOM_ADMIN__LISTEN", format!("{}:8026", self.address.ip()))
            .envs(self.environment.iter().cloned())
            .arg("--config")
            .arg(&self.config)
            .args(["serve", "--role", self.role])
            .stderr(log)
            .spawn()
            .unwrap();
        (state.child, state.ended_at, state.is_down, state.is_stopping) = (Some(child), None, false, false);
    }

    /// Ends it as a crash would; it stays down until [`Process::start_again`].
    pub fn kill_9(&self) {
        let mut state = self.state();
        state.is_down = true;
        if let Some(mut child) = state.child.take() {
            // It may have ended by itself a moment ago.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it after it was killed.
    pub fn start_again(&self) {
        let mut state = self.state();
        if state.child.is_none() {
            self.spawn(&mut state);
        }
    }

    /// Asks it to stop; the supervisor starts it again once it has.
    pub fn terminate(&self) {
        let mut state = self.state();
        state.is_stopping = true;
        self.signal_of(&state, "TERM");
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, name: &str) {
        self.signal_of(&self.state(), name);
    }

    fn signal_of(&self, state: &State, name: &str) {
        if let Some(child) = &state.child {
            signal(child.id(), name);
        }
    }

    /// The number of the process, if it runs.
    pub fn id(&self) -> Option<u32> {
        self.state().child.as_ref().map(Child::id)
    }

    /// What a supervisor does again and again: notes that it ended by itself, and starts it a second later.
    pub fn supervise(&self) {
        let mut state = self.state();
        if let Some(status) = state.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
            let (was_asked, now) = (state.is_stopping, Instant::now());
            if !(was_asked && status.success()) {
                state.ends.push((now, self.last_words(status)));
            }
            state.child = None;
            // After a stop that was asked for, the next one starts at once, as `systemctl restart` does.
            state.ended_at = Some(if was_asked { now - RESTART } else { now });
        }
        if !state.is_down && state.ended_at.is_some_and(|at| at.elapsed() >= RESTART) {
            self.spawn(&mut state);
        }
    }

    fn last_words(&self, status: ExitStatus) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().rev().find(|line| line.contains("rror")).unwrap_or_default();
        format!("{} ended with {status}: {lines}", self.name)
    }

    /// When it ended by itself and how.
    pub fn ends(&self) -> Vec<(Instant, String)> {
        self.state().ends.clone()
    }

    /// Whether its last start was followed by an end that nobody asked for.
    pub fn ended_since(&self, since: Instant) -> bool {
        self.state().ends.iter().any(|(at, _)| *at >= since)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
    }
}
