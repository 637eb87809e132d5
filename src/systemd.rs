//! Talks to systemd: what state this process is in (sd_notify(3)), and the sockets that it was given (sd_listen_fds(3)).
//!
//! `postroom serve` says that its start takes long, when it takes work and when it stops; the scheduler's loop feeds the watchdog, so that a process
//! whose tasks do not come to their turn any more is restarted. Outside systemd all of this does nothing.

use std::{
    io,
    net::TcpListener,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::timeout;

/// Between two words that a start goes on, and how long after each of them systemd waits for the next.
const GOES_ON: Duration = Duration::from_secs(5);
const AWAITED: Duration = Duration::from_secs(60);

/// Carries out a part of the start that may take longer than systemd lets a start take (`TimeoutStartSec=`), and says all the
/// while that it goes on.
pub async fn while_starting<T>(status: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let awaited = u32::try_from(AWAITED.as_micros()).unwrap_or(u32::MAX);
    loop {
        tell(&[NotifyState::ExtendTimeoutUsec(awaited), NotifyState::Status(status)]);
        if let Ok(done) = timeout(GOES_ON, &mut work).await {
            return done;
        }
    }
}

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

/// The sockets that systemd listens on for this process.
///
/// # Errors
/// When one of them is no TCP socket.
pub fn listeners() -> io::Result<Vec<TcpListener>> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::with_capacity(given.len());
    for place in 0..given.len() {
        let listener = given.take_tcp_listener(place).map_err(|error| {
            let supported = "ListenStream= takes a port, or an address and a port; a path is not supported";
            io::Error::new(error.kind(), format!("{error}: {supported}"))
        })?;
        if let Some(listener) = listener {
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Feeds systemd's watchdog (`WatchdogSec=`), from the loop that shows that work goes on.
pub struct Watchdog {
    every: Option<Duration>,
    fed_at: Mutex<Option<Instant>>,
}

impl Watchdog {
    /// As systemd asked for; nothing where it did not.
    pub fn from_env() -> Self {
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
