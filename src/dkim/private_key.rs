//! A private key that signs, and its public half.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};

/// How a key signs. The order is that of the signatures of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA with SHA-256 (RFC 6376, section 3.3.3). Every receiver knows it.
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463).
    Ed25519,
}

impl Algorithm {
    /// The word on the command line, and the tag `k=` of the TXT record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The tag `a=` of a signature.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Self::Rsa, Self::Ed25519];
        all.into_iter()
            .find(|algorithm| algorithm.as_str() == word)
            .ok_or_else(|| "must be rsa or ed25519".to_owned())
    }
}

/// Why there is no signature. The library does not say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mail could not be signed with the {0} key")]
pub struct NoSignature(Algorithm);

/// A private key.
pub struct PrivateKey {
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl PrivateKey {
    pub(super) fn rsa(pair: RsaKeyPair) -> Self {
        Self { pair: Pair::Rsa(Box::new(pair)), random: SystemRandom::new() }
    }

    pub(super) fn ed25519(pair: Ed25519KeyPair) -> Self {
        Self { pair: Pair::Ed25519(Box::new(pair)), random: SystemRandom::new() }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// How long it is.
    pub fn bits(&self) -> usize {
        match &self.pair {
            Pair::Rsa(pair) => pair.public().modulus_len() * 8,
            Pair::Ed25519(_) => 256,
        }
    }

    /// The tag `p=` of the TXT record: base64 of a SubjectPublicKeyInfo for RSA, of the key itself for Ed25519 (RFC 6376,
    /// section 3.6.1, as it is practised; RFC 8463, section 4).
    pub fn public_key(&self) -> String {
        match &self.pair {
            Pair::Rsa(pair) => BASE64_STANDARD.encode(subject_public_key_info(pair.public_key().as_ref())),
            Pair::Ed25519(pair) => BASE64_STANDARD.encode(pair.public_key().as_ref()),
        }
    }

    /// Signs the canonical header fields. With Ed25519, what is signed is their SHA-256 hash (RFC 8463, section 3).
    pub(super) fn sign(&self, canonical: &[u8]) -> Result<Vec<u8>, NoSignature> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, canonical, &mut signature)
                    .map_err(|_| NoSignature(Algorithm::Rsa))?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => Ok(pair.sign(digest(&SHA256, canonical).as_ref()).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm())
    }
}

/// `rsaEncryption` with no parameters, in DER (RFC 8017, appendix C).
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// Wraps an RSAPublicKey (RFC 5280, section 4.1).
fn subject_public_key_info(rsa_public_key: &[u8]) -> Vec<u8> {
    let bits = [&[0], rsa_public_key].concat();
    der(SEQUENCE, &[&RSA_ENCRYPTION[..], &der(BIT_STRING, &bits)].concat())
}

/// A value in DER with its tag and length (X.690, section 8.1).
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if value.len() >= 0x80 {
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(value);
    out
}
