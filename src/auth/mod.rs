//! Whose a credential is, and what it may do: accounts with passwords, and tokens.
//!
//! Passwords are hashed with Argon2id, which is slow by design; `passwords.rs` sees to it that this is done once for a
//! good password and seldom for a bad one. Tokens are 256 random bits and stored as SHA-256. What a credential may do is
//! read anew from its row every half second: a revoked token, a changed password or a suspended merchant stops.
//!
//! `http/auth.rs` asks for each request; the command line makes credentials.

mod caller;
mod error;
mod operators;
mod passwords;
mod secret;
mod throttle;
mod tokens;

use std::net::IpAddr;

use crate::store::{OperatorRecord, Store};
use operators::Operators;
use passwords::Passwords;
use tokens::Tokens;

pub use caller::Caller;
pub use error::AuthError;
pub use passwords::hash_password;
pub use secret::{hash_token, new_secret};

/// What this process knows of credentials.
pub struct Auth {
    store: Store,
    tokens: Tokens,
    passwords: Passwords,
    operators: Operators,
}

impl Auth {
    /// Knows none yet.
    pub fn new(store: Store) -> Self {
        Self { store, tokens: Tokens::new(), passwords: Passwords::new(), operators: Operators::new() }
    }

    /// Who has this token; none when nobody has, or it has expired or was revoked.
    ///
    /// # Errors
    /// [`AuthError::Store`] when the row of the token cannot be read.
    pub async fn by_token(&self, token: &str) -> Result<Option<Caller>, AuthError> {
        self.tokens.caller(&self.store, token).await
    }

    /// Who has this user name and password, asked from `network`, which is none for this machine; none when nobody has.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] when too many passwords were wrong or wait to be verified, [`AuthError::Store`] when the row
    /// of the account cannot be read.
    pub async fn by_password(
        &self,
        username: String,
        password: String,
        network: Option<IpAddr>,
    ) -> Result<Option<Caller>, AuthError> {
        self.passwords.caller(&self.store, username, password, network).await
    }
    /// Which operator has this name and password, asked from `address`; none when nobody has.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] when too many passwords were wrong or wait to be verified, [`AuthError::Store`] when the row
    /// of the operator cannot be read.
    pub async fn operator(
        &self,
        name: &str,
        password: String,
        address: IpAddr,
    ) -> Result<Option<OperatorRecord>, AuthError> {
        self.operators.operator(&self.store, &self.passwords, name, password, address).await
    }
}
