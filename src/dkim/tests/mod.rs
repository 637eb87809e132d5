//! The published examples, signatures as a receiver sees them, keys and their faults, and what a signature costs.

mod cost;
mod keys;
mod receiver;
mod signatures;
mod vectors;

use std::{path::Path, sync::LazyLock};

use super::*;
use crate::mail::Timestamp;

/// An RSA key for all tests, because it takes long to make.
static RSA: LazyLock<String> = LazyLock::new(|| generate(Algorithm::Rsa).unwrap());
/// The seed of RFC 8463, appendix A.1.
const ED25519_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const SIGNED_AT: Timestamp = Timestamp(1_795_000_000_999);

fn key(pem: &str) -> PrivateKey {
    PrivateKey::from_pem(pem, Path::new("key.pem")).unwrap()
}

fn rsa() -> PrivateKey {
    key(&RSA)
}

fn ed25519() -> PrivateKey {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let seed = BASE64_STANDARD.decode(ED25519_SEED).unwrap();
    let start = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    key(&super::generate::pem(&[&start[..], &seed].concat()))
}

/// Signs for example.net with an Ed25519 key and then, as it was given, an RSA key.
fn signer() -> Signer {
    let keys = vec![("ed".to_owned(), ed25519()), ("rsa".to_owned(), rsa())];
    Signer::new("example.net".to_owned(), keys)
}
