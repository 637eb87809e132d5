//! Tokens: 256 random bits, stored as SHA-256.

use moka::sync::Cache;

use super::{
    caller::{Caller, KNOWN_FOR},
    error::AuthError,
    secret::hash_token,
};
use crate::{
    audit::Actor,
    clock,
    shop::Abilities,
    store::{Merchant, Store},
};

/// Tokens whose row was read just now, by their hash.
pub(super) struct Tokens(Cache<String, Caller>);

impl Tokens {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(KNOWN_FOR).build())
    }

    /// Who has this token; none when nobody has, or it has expired or was revoked.
    ///
    /// # Errors
    /// [`AuthError::Store`] when the row of the token cannot be read.
    pub(super) async fn caller(&self, store: &Store, token: &str) -> Result<Option<Caller>, AuthError> {
        let hash = hash_token(token);
        if let Some(caller) = self.0.get(&hash) {
            return Ok(Some(caller));
        }
        let Some(record) = store.token(&hash).await? else { return Ok(None) };
        let is_over = record.revoked_at.is_some() || record.expires_at.is_some_and(|at| at <= clock::now());
        let Ok(abilities) = Abilities::parse(&record.abilities) else { return Ok(None) };
        if is_over {
            return Ok(None);
        }
        // What is asked for with such a token is tried out, as if the merchant only ever did that.
        let is_test = record.merchant.is_test || record.is_test;
        let is_trying_out = is_test && !record.merchant.is_test;
        let merchant = Merchant { is_test, ..record.merchant };
        let caller = Caller::new(merchant, Actor::Token(record.id), abilities);
        let caller = Caller { is_trying_out, ..caller };
        self.0.insert(hash, caller.clone());
        Ok(Some(caller))
    }
}
