//! Which identifiers of a batch came before.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// So many tables: each grows by itself, and needs room for its old and its new self only then.
const TABLES: usize = 16;

/// The first 96 bits of each identifier's SHA-256: of a million, two are alike once in 10^17 batches.
type Hash = [u8; 12];

/// Identifiers that came before.
#[derive(Debug, Default)]
pub(super) struct Seen([HashSet<Hash>; TABLES]);

impl Seen {
    /// Notes an identifier; false where it came before.
    pub(super) fn insert(&mut self, identifier: &str) -> bool {
        let digest = Sha256::digest(identifier.as_bytes());
        let hash: Hash = std::array::from_fn(|index| digest[index]);
        self.0[usize::from(hash[0]) % TABLES].insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_and_the_tables_share_them() {
        let mut seen = Seen::default();
        let identifiers = || (0..10_000).map(|number| format!("m{number}"));
        assert!(identifiers().all(|identifier| seen.insert(&identifier)));
        assert!(!identifiers().any(|identifier| seen.insert(&identifier)));
        let shares = seen.0.iter().map(HashSet::len);
        assert!(shares.clone().all(|share| (500..750).contains(&share)), "{:?}", shares.collect::<Vec<_>>());
    }
}
