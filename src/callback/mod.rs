//! CALLBACK: a signed POST to a merchant's URL, and what the receiver said. The only code that knows reqwest.
//!
//! `jobs/send_callback/` claims a delivery, asks the [`EndpointLimiter`] for a permit, hands the body to
//! [`Callbacks::post`] and judges the [`CallbackReply`](crate::webhook::CallbackReply) with [`webhook::judge`](crate::webhook::judge). A POST never
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
//! | `settings.rs` | how callbacks are sent |
//! | `signature.rs` | secrets, signing, checking |
//! | `address_policy/` | which addresses and URLs callbacks may go to |
//! | `client/` | the POST |
//! | `trust.rs` | whose certificates count |
//! | `endpoint_limiter/` | how many are in flight to one receiver and of one merchant, and a pause for receivers that are unavailable |

mod address_policy;
mod client;
mod endpoint_limiter;
mod error;
mod settings;
mod signature;
mod trust;

#[cfg(test)]
pub(crate) mod receiver;
#[cfg(test)]
mod tests;

pub use address_policy::{AddressPolicy, UrlFault};
pub use client::{Callbacks, WebhookRequest};
pub use endpoint_limiter::{CallbackAdmission, CallbackPermit, EndpointLimiter, Waiting};
pub use error::CallbackError;
pub use settings::CallbackSettings;
pub use signature::{Secret, Signed, TOLERANCE, verify};
