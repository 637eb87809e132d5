//! The language in which people look for mails: `order:1001 -state:sent since:2h`.
//!
//! The command line, the API and the dashboard parse what they are given with [`Query::parse`], so that one query means
//! the same everywhere; the store answers it. Parsing knows no clock and no database: the caller says what time it is.
//! Which conditions an index answers is the store's to know.

mod parse;
mod query;
#[cfg(test)]
mod tests;

pub use query::{Condition, Key, MOST_BYTES, MOST_TERMS, MailCount, Query, QueryError, Term};
