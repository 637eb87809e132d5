//! Makes keys.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::rand::{SecureRandom, SystemRandom};
use rsa::pkcs8::EncodePrivateKey;

use super::private_key::Algorithm;

/// The bits of a new RSA key. Longer ones make a record that some DNS servers do not take, and sign six times as long.
const RSA_BITS: usize = 2_048;
/// What stands before the seed of an Ed25519 key in PKCS#8 (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There were no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// No RSA key could be made.
    #[error("no RSA key could be made")]
    Rsa(#[source] rsa::Error),
    /// The RSA key could not be written.
    #[error("the RSA key could not be written")]
    Written(#[source] rsa::pkcs8::Error),
}

/// Makes a private key, as PEM (PKCS#8). An RSA key takes about a second.
///
/// # Errors
/// When the system gives no random numbers.
pub fn generate(algorithm: Algorithm) -> Result<String, GenerateError> {
    match algorithm {
        Algorithm::Rsa => {
            let key = rsa::PrivateKey::new(&mut rand::rng(), RSA_BITS).map_err(GenerateError::Rsa)?;
            let pkcs8 = key.to_pkcs8_der().map_err(GenerateError::Written)?;
            Ok(pem(pkcs8.as_bytes()))
        }
        Algorithm::Ed25519 => {
            let mut seed = [0; 32];
            SystemRandom::new().fill(&mut seed).map_err(|_| GenerateError::Random)?;
            Ok(pem(&[&ED25519_PKCS8[..], &seed].concat()))
        }
    }
}

/// A private key as PEM (RFC 7468).
pub(super) fn pem(pkcs8: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(pkcs8);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
