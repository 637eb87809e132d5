//! CALLBACK: a signed POST to a merchant's URL, and what the receiver said. The only code that knows reqwest.
//!
//! `jobs/send_callback/` claims a delivery, asks the [`EndpointLimiter`] for a permit, hands the body to
//! [`Callbacks::post`] and judges the [`CallbackReply`](crate::shop::CallbackReply) with [`judge`]. A POST never
//! fails as an error: whatever happens is a reply.
//!
//! What it promises:
//!
//! * No connection is opened to an address that [`AddressPolicy`] refuses, however and whenever a name resolves:
//!   what is connected to is the very answer that was judged. Redirects are not followed, proxies not used.
//! * A receiver has `callbacks.timeout` for everything, and no more than 4 KiB of its answer are kept.
//! * The signature is that of Standard Webhooks, so receivers check it with the library of their language.
//!
//! | file | is |
//! |---|---|
//! | `signature.rs` | secrets, signing, checking |
//! | `address_policy/` | which addresses and URLs callbacks may go to |
//! | `client/` | the POST |
//! | `trust.rs` | whose certificates count |
//! | `schedule.rs` | when it is tried again |
//! | `endpoint_limiter.rs` | how many are in flight to one receiver, and a pause for receivers that are unavailable |

mod address_policy;
mod client;
mod endpoint_limiter;
mod schedule;
mod signature;
mod trust;

#[cfg(test)]
pub(crate) mod receiver;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

pub use address_policy::{AddressPolicy, UrlFault};
pub use client::{CallbackError, Callbacks, WebhookRequest};
pub use endpoint_limiter::{EndpointLimiter, Permit, Turn, Waiting};
pub use schedule::judge;
pub use signature::{Secret, Signed, TOLERANCE, verify};

/// How callbacks are sent: the `callbacks` section of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackSettings {
    /// Networks that may be reached although they are private or otherwise special.
    pub allow_networks: Vec<IpNet>,
    /// Whether a callback may go unencrypted.
    pub allow_http: bool,
    /// From the look-up of the name to the last byte that is read.
    #[serde(with = "crate::mail::duration")]
    pub timeout: Duration,
    /// The most under way at once in one process.
    pub concurrency: usize,
    /// The most of those to one endpoint.
    pub per_endpoint: usize,
    /// How long deliveries are kept, so that they can be looked at and replayed.
    #[serde(with = "crate::mail::duration")]
    pub keep: Duration,
}
