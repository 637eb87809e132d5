//! A mail catcher: an SMTP server that delivers nothing, and a web page that shows what it got as a mail program would.
//!
//! `postroom demo` starts one so that its mails can be looked at, and the integration tests start theirs as the relay
//! at the other end. Any number of catchers run side by side, each on ports of its own; all that a catcher started
//! ends when it is stopped or dropped. Its dialogue is strict where a relay may be (line ends, line lengths, order),
//! so that a fault of the sender shows here and not in production.
//!
//! # Steering
//!
//! The local part of the recipient says what becomes of the mail. A word works alone (`reject@shop.test`) and before a
//! plus or a hyphen and anything else (`reject+anna@shop.test`, `reject-17@shop.test`), in any case.
//!
//! | local part | what the catcher does |
//! |---|---|
//! | `ok`, or any other | takes the mail |
//! | `greylist-once` | 451 4.7.1 to the first RCPT of that address, afterwards it is taken |
//! | `defer` | 451 4.3.0 to every RCPT |
//! | `defer-data` | 451 4.3.0 after the final dot |
//! | `reject` | 550 5.1.1 to every RCPT |
//! | `reject-data` | 554 5.6.0 after the final dot |
//! | `slow`, `slow-500` | waits 2 s, or that many milliseconds, before the final reply |
//! | `hang-up` | closes the connection at RCPT without a reply |
//! | `drop-after-data` | keeps the mail ([`CaughtMail::answered`] is false) and closes instead of answering the final dot |
//! | `busy` | 421 4.3.2 at RCPT, as a sender at MAIL, and closes the connection |
//!
//! A message to several recipients is refused, delayed or dropped as a whole when one of them asks for that after DATA.

mod auth;
mod caught;
mod command;
mod dialogue;
mod inbox;
mod list;
mod pages;
mod state;
mod steering;
mod web;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::broadcast};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use caught::{Attachment, CaughtMail};
pub use state::CatcherOptions;
pub use steering::{Conduct, TABLE};

use state::CatcherState;

/// How long [`Catcher::stop`] waits for a page that is just being sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// A running mail catcher. Dropping it ends it.
pub struct Catcher {
    state: Arc<CatcherState>,
    smtp: SocketAddr,
    http: Option<SocketAddr>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Catcher {
    /// Starts a catcher; when this returns, both its ports take connections.
    ///
    /// # Errors
    /// When a port cannot be bound, or implicit TLS is asked for without a certificate.
    pub async fn start(options: CatcherOptions) -> io::Result<Self> {
        if options.implicit_tls && options.tls.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "implicit tls needs a certificate"));
        }
        let listener = TcpListener::bind(options.smtp).await?;
        let page = match options.http {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        let (smtp, stop, tasks) = (listener.local_addr()?, CancellationToken::new(), TaskTracker::new());
        let state = Arc::new(CatcherState {
            inbox: inbox::Inbox::new(options.keep, options.keep_bytes),
            acceptor: options.tls.clone().map(TlsAcceptor::from),
            options,
            smtp,
            connections: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            stop: stop.clone(),
        });
        let http = page.as_ref().map(TcpListener::local_addr).transpose()?;
        let accepting = accept(listener, Arc::clone(&state), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        if let Some(page) = page {
            tasks.spawn(web::serve(page, Arc::clone(&state)));
        }
        tasks.close();
        Ok(Self { state, smtp, http, tasks, stop })
    }

    /// Where SMTP is spoken.
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// Where the page is served.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The mails that are kept, oldest first.
    pub fn mails(&self) -> Vec<Arc<CaughtMail>> {
        self.state.inbox.mails()
    }

    /// How many mails were caught since the start, also those that are no longer kept.
    pub fn count(&self) -> u64 {
        self.state.inbox.tally().caught
    }

    /// How many SMTP connections were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until `mails` were caught since the start, for `at_most` that long; says whether they were.
    pub async fn wait_for(&self, mails: u64, at_most: Duration) -> bool {
        self.state.inbox.wait_for(mails, at_most).await
    }

    /// The newest kept mail to that recipient, in any case.
    pub fn find(&self, recipient: &str) -> Option<Arc<CaughtMail>> {
        self.state.inbox.find(recipient)
    }

    /// Forgets the kept mails; [`Catcher::count`] goes on.
    pub fn clear(&self) {
        self.state.inbox.clear();
    }

    /// The mails that are caught from now on. One who lags more than 4,096 mails behind misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CaughtMail>> {
        self.state.inbox.subscribe()
    }

    /// Closes all connections, in whatever state they are, and both ports.
    pub async fn stop(self) {
        self.stop.cancel();
        // A browser that stops reading in the middle of a page must not keep the catcher up.
        let _ = tokio::time::timeout(FAREWELL, self.tasks.wait()).await;
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes connections for ever, each in a task of its own.
async fn accept(listener: TcpListener, state: Arc<CatcherState>, tasks: TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = state.connections.fetch_add(1, Ordering::Relaxed) + 1;
                let session = dialogue::hold(stream, Arc::clone(&state), connection);
                tasks.spawn(state.stop.clone().run_until_cancelled_owned(async move {
                    if let Err(error) = session.await {
                        tracing::debug!(connection, %error, "the catcher lost a connection");
                    }
                }));
            }
            Err(error) => {
                // Out of file descriptors, as a rule: others must close before accepting can work again.
                tracing::warn!(%error, "the catcher could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
