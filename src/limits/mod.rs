//! How much of something may happen in a while, and how much may be under way at once.
//!
//! | file | is |
//! |---|---|
//! | `rate.rs`, `ask.rs` | what people write and what a mail asks for: rates, scopes, answers |
//! | `settings.rs` | the section `limits` of the configuration, and which limits a mail has by it |
//! | `limiter.rs`, `tokens.rs` | whether mails may go; the one component that counts them. Admission asks |
//! | `allowance.rs`, `local.rs` | how it counts, and in one process |
//! | `redis.rs`, `*.lua` | the same in Redis, over all processes |
//! | `requests.rs` | the requests of a merchant in this process |
//! | `in_flight.rs` | how much is under way: bytes in memory, large requests |
//! | `conformance.rs`, `outage_tests.rs` | what a limiter promises, tested in one process and in Redis, and while Redis is away |
//!
//! What a limiter promises: in no window more than the rate times its length and a burst go, and nearly as many do when
//! enough mails are there; a mail that has to wait for one of its scopes takes nothing from the others; a rate that was
//! changed is what the next mail sees.

mod allowance;
mod ask;
mod in_flight;
mod limiter;
mod local;
mod rate;
mod redis;
mod requests;
mod settings;
mod tokens;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod outage_tests;

pub use ask::{Ask, Scope};
pub use in_flight::{Full, InFlight, InFlightPermit};
pub use limiter::Limiter;
pub use rate::{Rate, RateError};
pub use redis::LimiterError;
pub use requests::{RequestLimits, RequestQuota};
pub use settings::{DomainLimit, LimitSettings, MailLimits};
pub use tokens::{Answer, Tokens};
