//! Whom a route trusts, and the handshake. rustls with ring, set up explicitly: nothing depends on a process default.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    route_error::RouteError,
    settings::{RouteSettings, TlsMode},
    stream::Stream,
};
use crate::certificates::trusted_roots;

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
            let files = [system_file, settings.ca_file.as_deref()];
            let (roots, contents) = trusted_roots(files.into_iter().flatten())
                .map_err(|(path, source)| RouteError::Certificates { route: route(), path, source })?;
            trusted = contents;
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
    trusted_roots([file]).map(drop).map_err(fault)
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
