//! Whose certificates count: the public authorities, and those in the file that `SSL_CERT_FILE` names. rustls with
//! ring, set up explicitly: nothing depends on a process default.

use std::{
    env, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::CallbackError;

/// The TLS of every callback.
///
/// # Errors
/// When the file of `SSL_CERT_FILE` cannot be read or holds no certificate.
pub(super) fn tls() -> Result<ClientConfig, CallbackError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from) {
        add(&mut roots, &path).map_err(|source| CallbackError::Certificates { path, source })?;
    }
    trusting(roots)
}

pub(super) fn trusting(roots: RootCertStore) -> Result<ClientConfig, CallbackError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CallbackError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    let pem = std::fs::read(path)?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate")),
        _ => Ok(()),
    }
}
