//! HMAC-SHA256 (RFC 2104): what signs, and what nobody guesses who does not have the key.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// A hash that is made with a key of any length.
pub type KeyedHash = Hmac<Sha256>;

/// Begins a hash with this key.
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
pub fn keyed_hash(key: &[u8]) -> KeyedHash {
    KeyedHash::new_from_slice(key).expect("any key will do")
}
