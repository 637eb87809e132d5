//! Reads the configuration again while the process runs: on SIGHUP, and when `postroom reload` asks.
//!
//! The daemon starts it, the command line asks it. A configuration with any fault is refused whole, and what was in force stays.
//! Else routes, limits, DKIM keys, rules for replies, certificates and the log's filter change at once; mails that are under way
//! go on as they were admitted. A setting that cannot change while the process runs is named and changes nothing.
//!
//! | file | is |
//! |---|---|
//! | `report.rs` | what came of a reload |
//! | `socket.rs` | the socket at which a process is asked for one, and who may ask |
//! | `client.rs` | finds the processes of this machine and asks them |

mod client;
mod report;
mod socket;

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use client::{Found, Silent, find};
use report::Asked;
pub use report::{Report, Result as ReloadResult};
pub use socket::absolute;

use crate::{
    app::{App, Prepared},
    audit::Author,
    config::{Config, Reloaded, Role},
    smtp::Route,
    systemd,
    telemetry::{METRICS, chain},
};

/// How long reading the files may take; one on a file system that hangs would keep everybody waiting.
const READING: Duration = Duration::from_secs(20);
/// Between two looks at routes that have to go on until their last mail is sent.
const OVER_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The most who wait for a reload at once.
const MOST_WAITING: usize = 8;

/// SIGHUPs from now on. Before this a SIGHUP ends the process.
///
/// # Errors
/// When the system does not let us listen for signals.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reloads whenever it is asked to, until `stop`. `status` is what systemd is told that the process does.
pub async fn run(app: Arc<App>, role: Role, status: String, mut hangups: Signal, stop: CancellationToken) {
    METRICS.reloads.read_now();
    let (ask, mut asked) = mpsc::channel(MOST_WAITING);
    let file = app.config.written.file().map(ToOwned::to_owned);
    let listening = socket::serve(socket::Hello::of_this_process(role, file), app.worker.id, ask);
    let _listening = AbortOnDropHandle::new(tokio::spawn(listening));
    let mut reloader = Reloader { app, role, status, over: Vec::new() };
    loop {
        let asked: Option<Asked> = tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = hangups.recv() => None,
            Some(asked) = asked.recv() => Some(asked),
            () = sleep(OVER_POLL_INTERVAL), if !reloader.over.is_empty() => {
                reloader.over.retain(|route| !route.is_at_rest());
                continue;
            }
        };
        let (author, waiting) = match asked {
            Some(Asked { author, report }) => (author, Some(report)),
            None => (Author::at_the_command_line("unknown", "SIGHUP"), None),
        };
        let report = reloader.reload().await;
        reloader.audit(author, &report);
        if let Some(waiting) = waiting {
            let _ = waiting.send(report); // who asked may be gone
        }
    }
}

struct Reloader {
    app: Arc<App>,
    role: Role,
    status: String,
    /// Routes that were replaced or removed, whose last mails are still being sent.
    over: Vec<Arc<Route>>,
}

impl Reloader {
    /// Notes in the audit what changed. It is in force already, so nobody waits for a database that does not answer.
    fn audit(&self, author: Author, report: &Report) {
        if report.changes.is_empty() {
            return;
        }
        let settings: Vec<String> = report.changes.iter().map(|change| change.key.clone()).collect();
        let store = self.app.store.acting_for(author);
        tokio::spawn(async move {
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            if let Err(error) = store.note_reload(std::process::id(), &settings).await {
                tracing::warn!(error = %chain(&error), ?settings, "a reload could not be noted in the audit");
            }
        });
    }

    async fn reload(&mut self) -> Report {
        systemd::reloading("reads the configuration again");
        let report = match read(&self.app, self.role).await {
            Ok((prepared, report)) => {
                self.over.extend(self.app.put_in_force(prepared));
                let there = self.app.routes.all();
                let is_gone = |name: &str| there.iter().all(|route| route.name() != name);
                let gone = self.over.iter().filter(|route| is_gone(route.name()));
                gone.for_each(|route| METRICS.forget_route(route.name()));
                METRICS.reloads.read_now();
                report
            }
            Err(report) => report,
        };
        METRICS.reloads.count(report.result.as_str());
        report.log();
        systemd::ready(&match report.result {
            ReloadResult::Changed | ReloadResult::Unchanged => self.status.clone(),
            ReloadResult::Refused | ReloadResult::Failed => {
                format!("{}; the last reload was refused, see the log", self.status)
            }
        });
        report
    }
}

/// Reads and prepares the whole configuration, or says why it cannot be used.
async fn read(app: &Arc<App>, role: Role) -> Result<(Prepared, Report), Report> {
    let (done, reading) = oneshot::channel();
    let reader = Arc::clone(app);
    // A thread of its own: one that hangs keeps neither the runtime nor its end waiting.
    let started = thread::Builder::new().name("reload".to_owned()).spawn(move || {
        let current: Arc<Config> = reader.current();
        let read = current.reload(role).map_err(|faults| Report::refused(&faults)).and_then(|reloaded| {
            let Reloaded { config, changes, needs_restart } = reloaded;
            let prepared = reader.prepare(config).map_err(|fault| Report::refused(&format!("{fault:#}")))?;
            Ok((prepared, Report::of(changes, needs_restart)))
        });
        let _ = done.send(read); // it took too long
    });
    if let Err(error) = started {
        return Err(Report::failed(format!("no thread could be started: {error}")));
    }
    match timeout(READING, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(Report::failed("reading the configuration panicked".to_owned())),
        Err(_) => Err(Report::failed(format!("the configuration could not be read within {READING:?}"))),
    }
}
