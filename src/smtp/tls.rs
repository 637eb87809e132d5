//! Whom a route trusts, and the handshake. rustls with ring, set up explicitly: nothing depends on a process default.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    route_error::RouteError,
    settings::{RouteSettings, TlsMode},
    stream::Stream,
};

/// How a route encrypts.
#[derive(Clone)]
pub(super) struct Encryption {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// The trusted certificates beside the public ones.
    trusted: Vec<Vec<u8>>,
}

impl Encryption {
    /// Reads the trusted certificates: the public ones, those of `system_file` and those of the route.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate.
    pub(super) fn new(settings: &RouteSettings, system_file: Option<&Path>) -> Result<Self, RouteError> {
        let route = || settings.name.clone();
        let name = settings
            .server_name()
            .ok_or_else(|| RouteError::Host { route: route(), host: settings.host.clone() })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| RouteError::Tls { route: route(), source })?;
        let mut trusted = Vec::new();
        let config = if settings.tls == TlsMode::Opportunistic {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth()
        } else {
            let (roots, files) = trusted_roots(system_file, settings.ca_file.as_deref())
                .map_err(|(path, source)| RouteError::Certificates { route: route(), path, source })?;
            trusted = files;
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, trusted })
    }

    /// Whether both trust the same servers.
    pub(super) fn trusts_as(&self, other: &Self) -> bool {
        self.trusted == other.trusted
    }

    /// Shakes hands as a client.
    pub(super) async fn handshake(&self, socket: TcpStream) -> io::Result<Stream> {
        let stream = self.connector.connect(self.name.clone(), socket).await?;
        Ok(Stream::Encrypted(Box::new(stream)))
    }
}

/// Reads the certificates that a route names beside the public ones.
///
/// # Errors
/// When its file cannot be read or holds none.
pub fn check_certificates(settings: &RouteSettings) -> Result<(), RouteError> {
    let is_trusted = !matches!(settings.tls, TlsMode::None | TlsMode::Opportunistic);
    let Some(file) = settings.ca_file.as_deref().filter(|_| is_trusted) else { return Ok(()) };
    let fault = |(path, source)| RouteError::Certificates { route: settings.name.clone(), path, source };
    trusted_roots(None, Some(file)).map(drop).map_err(fault)
}

/// The largest file of certificates, in bytes; that of a whole system has about 250,000.
const LARGEST: u64 = 8 << 20;

/// A file of certificates that cannot be used, and why.
type UnusableFile = (PathBuf, io::Error);

/// The certificates of both files beside the public ones, and what the files hold.
fn trusted_roots(
    system_file: Option<&Path>,
    route_file: Option<&Path>,
) -> Result<(RootCertStore, Vec<Vec<u8>>), UnusableFile> {
    let mut files = Vec::new();
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for path in [system_file, route_file].into_iter().flatten() {
        let fault = |error: io::Error| (path.to_owned(), error);
        let pem = read(path).map_err(fault)?;
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(fault(io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate")));
        }
        files.push(pem);
    }
    Ok((roots, files))
}

/// A pipe or a device would keep us waiting.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut pem = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut pem)?;
    Ok(pem)
}

/// Takes any certificate: opportunistic encryption guards against listeners only (RFC 7435). The handshake itself is
/// still checked, so the peer holds the key of the certificate it showed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_is_missing_or_empty_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        for path in [folder.path().join("missing.pem"), empty] {
            assert_eq!(trusted_roots(Some(&path), None).unwrap_err().0, path);
            assert_eq!(trusted_roots(None, Some(&path)).unwrap_err().0, path);
        }
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let file = folder.path().join("own.pem");
        std::fs::write(&file, own.cert.pem()).unwrap();
        let roots = |file| trusted_roots(None, file).unwrap().0;
        let (public, both) = (roots(None), roots(Some(file.as_path())));
        assert_eq!(both.len(), public.len() + 1);
    }
}
