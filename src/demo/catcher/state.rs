//! What a catcher was asked for, and what all its connections and its page share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicU64},
};

use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;

/// How a catcher listens and what it keeps.
#[derive(Clone)]
pub struct CatcherOptions {
    /// Where SMTP is spoken; port 0 takes a free one.
    pub smtp: SocketAddr,
    /// Where the page is served, if at all; port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// The certificate with which STARTTLS is offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Speaks TLS from the first byte (RFC 8314) instead of offering STARTTLS; needs `tls`.
    pub implicit_tls: bool,
    /// The one user name and password; when set, MAIL needs AUTH, and with `tls` AUTH needs TLS.
    pub credentials: Option<(String, String)>,
    /// The most mails kept in memory. The oldest make room; all are counted.
    pub keep: usize,
    /// The most bytes of mail kept in memory. The oldest make room; the newest mail is always kept.
    pub keep_bytes: usize,
    /// The largest message taken, in bytes (RFC 1870).
    pub largest: usize,
    /// Offers PIPELINING (RFC 2920). When not, a client that sends ahead is refused and its connection closed.
    pub pipelining: bool,
}

impl Default for CatcherOptions {
    fn default() -> Self {
        Self {
            smtp: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: None,
            tls: None,
            implicit_tls: false,
            credentials: None,
            keep: 10_000,
            keep_bytes: 256 * 1024 * 1024,
            largest: 25 * 1024 * 1024,
            pipelining: true,
        }
    }
}

/// What all connections of a catcher share.
pub(super) struct CatcherState {
    pub(super) inbox: Inbox,
    pub(super) options: CatcherOptions,
    pub(super) smtp: SocketAddr,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) connections: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) stop: CancellationToken,
}
