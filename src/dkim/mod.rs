//! Signs messages with DKIM (RFC 6376; RFC 8463 for Ed25519).
//!
//! The settings are checked with [`Keyring::load`], which reads the key files; all else is pure. `signing.rs` at the root
//! of the crate asks [`Keyring::signer_for`] about the sender of each mail, and has [`Signer::sign`] done away from the
//! async threads. The command line makes keys with [`generate`].
//!
//! What is signed is the message as SMTP carries it: a bare CR or LF counts as the CRLF that it is sent as, and dots are
//! not doubled yet.
//!
//! | file | is |
//! |---|---|
//! | `settings.rs` | what an operator writes about a key, and what can be wrong with it |
//! | `key_file.rs` | reads a private key from a file |
//! | `private_key.rs` | a key that signs, and its public half |
//! | `keyring.rs` | which keys sign for which sender |
//! | `canonical.rs` | the relaxed form of a header field and of a body |
//! | `message.rs` | the fields of a message, and which of them are signed |
//! | `signer.rs` | the signatures of a message |
//! | `folded.rs` | a header field in lines of 76 characters |
//! | `record.rs` | the TXT record of a key |
//! | `generate.rs` | new keys |

mod canonical;
mod folded;
mod generate;
mod key_file;
mod keyring;
mod message;
mod private_key;
mod record;
mod settings;
mod signer;

#[cfg(test)]
mod tests;

pub use generate::{GenerateError, generate};
pub use keyring::Keyring;
pub use private_key::{Algorithm, NoSignature, PrivateKey};
pub use record::TxtRecord;
pub use settings::{DkimSettings, KeyError, KeyFault, check_name};
pub use signer::Signer;
