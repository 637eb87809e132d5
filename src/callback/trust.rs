//! Whose certificates count: the public authorities, and those in the file that `SSL_CERT_FILE` names. rustls with
//! ring, set up explicitly: nothing depends on a process default.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::CallbackError;
use crate::certificates::{system_file, trusted_roots};

/// The TLS of every callback.
///
/// # Errors
/// When the file of `SSL_CERT_FILE` cannot be read or holds no certificate.
pub(super) fn tls() -> Result<ClientConfig, CallbackError> {
    let (roots, _) = trusted_roots(system_file().as_deref())
        .map_err(|(path, source)| CallbackError::Certificates { path, source })?;
    trusting(roots)
}

pub(super) fn trusting(roots: RootCertStore) -> Result<ClientConfig, CallbackError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CallbackError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
