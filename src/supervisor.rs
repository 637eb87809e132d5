//! Talks to systemd: what state this process is in (sd_notify(3)), and the socket that it was given (sd_listen_fds(3)).
//!
//! `postroom serve` says when it takes work and when it stops; the scheduler's loop feeds the watchdog, so that a process
//! whose tasks do not come to their turn any more is restarted. Outside systemd all of this does nothing.

use std::{
    net::TcpListener,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Says that all roles work.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the configuration is read again. [`ready`] must follow, also when nothing came of it.
pub fn reloading(status: &str) {
    let mut states = vec![NotifyState::Reloading, NotifyState::Status(status)];
    // Asked for by systemd 253 and later (sd_notify(3)).
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states);
}

/// Says that the process stops, which may take a while.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// A failure is no reason to do anything else: mails go on.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told how this process is");
    }
}

/// The first socket that systemd listens on for this process, where it was given one.
///
/// # Errors
/// When what it was given is no TCP socket.
pub fn listener() -> std::io::Result<Option<TcpListener>> {
    let listener = ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// Feeds systemd's watchdog (`WatchdogSec=`), from the loop that shows that work goes on.
pub struct Watchdog {
    every: Option<Duration>,
    fed_at: Mutex<Option<Instant>>,
}

impl Watchdog {
    /// As systemd asked for; nothing where it did not.
    pub fn of_this_process() -> Self {
        let every = sd_notify::watchdog_enabled().map(|patience| patience / 4);
        Self { every, fed_at: Mutex::new(None) }
    }

    /// To be called at least four times within the watchdog's patience.
    pub fn feed(&self) {
        let Some(every) = self.every else { return };
        let mut fed_at = self.fed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if fed_at.is_none_or(|at| at.elapsed() >= every) {
            *fed_at = Some(Instant::now());
            drop(fed_at);
            tell(&[NotifyState::Watchdog]);
        }
    }
}
