//! Operators who sign in: whose password it is, and how often a wrong one may be tried.
//!
//! Unlike a merchant's program an operator signs in twice a day, so the allowances are small. Who fails is told to wait by
//! name and address together first, so that a stranger cannot keep out an operator at another address; then by address;
//! and by name alone last.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{error::AuthError, passwords::Passwords, throttle::Throttle};
use crate::store::{OperatorRecord, Store};

/// Failures of one name from one address at once; then one more after each pause.
const BY_BOTH: (u32, Duration) = (10, Duration::from_secs(30));
/// Failures from one address.
const BY_ADDRESS: (u32, Duration) = (30, Duration::from_secs(3));
/// Failures of one name from anywhere.
const BY_NAME: (u32, Duration) = (100, Duration::from_secs(1));

pub(super) struct Operators {
    names: RandomState,
    by_both: Throttle<(u64, IpAddr)>,
    by_address: Throttle<IpAddr>,
    by_name: Throttle<u64>,
}

impl Operators {
    pub(super) fn new() -> Self {
        Self {
            names: RandomState::new(),
            by_both: Throttle::new(BY_BOTH.0, BY_BOTH.1),
            by_address: Throttle::new(BY_ADDRESS.0, BY_ADDRESS.1),
            by_name: Throttle::new(BY_NAME.0, BY_NAME.1),
        }
    }

    /// Who has this name and password; none when nobody has. Either takes equally long.
    ///
    /// # Errors
    /// [`AuthError::TooMany`] when too many passwords were wrong, [`AuthError::Store`] when the row cannot be read.
    pub(super) async fn operator(
        &self,
        store: &Store,
        passwords: &Passwords,
        name: &str,
        password: String,
        address: IpAddr,
    ) -> Result<Option<OperatorRecord>, AuthError> {
        let hashed = self.names.hash_one(name);
        let now = Instant::now();
        // Each counts as a failure until it succeeds.
        self.by_both.take((hashed, address), now).map_err(AuthError::TooMany)?;
        self.by_address.take(address, now).map_err(AuthError::TooMany)?;
        self.by_name.take(hashed, now).map_err(AuthError::TooMany)?;
        let operator = store.operator(name).await?;
        let hash = operator.as_ref().map(|operator| operator.password_hash.clone());
        // No user name of an account has a control character, so the two are not mistaken for each other.
        let is_right = passwords.is_right(&format!("operator\0{name}"), password, hash).await?;
        if is_right {
            self.by_both.give_back(&(hashed, address));
            self.by_address.give_back(&address);
            self.by_name.give_back(&hashed);
        }
        Ok(operator.filter(|_| is_right))
    }
}
