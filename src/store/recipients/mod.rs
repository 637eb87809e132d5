//! What is stored about one recipient, wherever it stands: found for an export, and removed for good.
//!
//! `person` knows in which forms an address is written, `address_tables` every column that may hold one. A table that gets such a
//! column belongs in that list; a test looks through all tables for an address that was erased.

mod address_tables;
mod erase;
mod person;

pub use address_tables::Trace;
pub use erase::Erased;
