//! Why it cannot be said whether a credential is right.

use std::time::Duration;

use crate::store::StoreError;

/// Why it cannot be said whether a credential is right. The same credential may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Too many passwords were wrong, or wait to be verified: try again after this time, which may be none.
    #[error("too many passwords are being tried")]
    TooMany(Duration),
    /// The verification broke off, because the process is ending: try again at once, at another process.
    #[error("a password could not be verified")]
    Unverified,
    /// The row of the credential could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
