//! Why callbacks cannot be sent at all: found when the process starts.

use std::{io, path::PathBuf};

/// Why callbacks cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The file of certificate authorities cannot be used.
    #[error("the certificates in {} (SSL_CERT_FILE) cannot be used", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS for callbacks cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client for callbacks cannot be set up")]
    Client(#[source] reqwest::Error),
}
