//! Reads a private key from a PEM file (RFC 7468): PKCS#8, or PKCS#1 as older tools write it for RSA.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    error::KeyRejected,
    signature::{Ed25519KeyPair, RsaKeyPair},
};

use super::{private_key::PrivateKey, settings::KeyError};

/// The largest file that is read, in bytes; a key of 4096 bits takes about 3,300.
const LARGEST: u64 = 64 * 1024;

/// Reads the key in a file.
pub(super) fn read(file: &Path) -> Result<PrivateKey, KeyError> {
    let text = read_text(file)?;
    key_in(&text, file)
}

fn read_text(file: &Path) -> Result<String, KeyError> {
    let unreadable = |error| KeyError::Unreadable(file.to_owned(), error);
    // A pipe would keep us waiting.
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed { file: file.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(LARGEST).read_to_end(&mut bytes));
    read.map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| kind(file, "something that is not text"))
}

fn kind(file: &Path, found: &str) -> KeyError {
    KeyError::Kind { file: file.to_owned(), found: found.to_owned() }
}

impl PrivateKey {
    /// Reads the key in a file's text; errors name the file.
    ///
    /// # Errors
    /// When it holds no key that signs.
    pub fn from_pem(text: &str, file: &Path) -> Result<Self, KeyError> {
        key_in(text, file)
    }
}

fn key_in(text: &str, file: &Path) -> Result<PrivateKey, KeyError> {
    let (label, der) = pem(text).ok_or_else(|| kind(file, "no PEM"))?;
    let rejected = |why: KeyRejected| match why.to_string().as_str() {
        "TooSmall" => KeyError::Length { file: file.to_owned(), is_short: true },
        "TooLarge" => KeyError::Length { file: file.to_owned(), is_short: false },
        "WrongAlgorithm" => kind(file, "a key for another algorithm"),
        why => KeyError::Damaged { file: file.to_owned(), why: why.to_owned() },
    };
    match label {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).map(PrivateKey::rsa).map_err(rejected),
        "PRIVATE KEY" => match RsaKeyPair::from_pkcs8(&der) {
            Ok(pair) => Ok(PrivateKey::rsa(pair)),
            Err(as_rsa) => match Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
                Ok(pair) => Ok(PrivateKey::ed25519(pair)),
                Err(_) => Err(rejected(as_rsa)),
            },
        },
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Err(kind(file, "a public key")),
        "ENCRYPTED PRIVATE KEY" => Err(kind(file, "an encrypted key")),
        "EC PRIVATE KEY" => Err(kind(file, "an ECDSA key")),
        "CERTIFICATE" => Err(kind(file, "a certificate")),
        _ => Err(kind(file, "PEM of another kind")),
    }
}

/// The label and the content of the first block.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (label, after) = after.split_once("-----")?;
    let (content, _) = after.split_once(&format!("-----END {label}-----"))?;
    let base64: String = content.split_ascii_whitespace().collect();
    // What has headers is encrypted: its base64 is of no use.
    if content.contains("Proc-Type:") {
        return Some(("ENCRYPTED PRIVATE KEY", Vec::new()));
    }
    Some((label, BASE64_STANDARD.decode(base64).ok()?))
}
