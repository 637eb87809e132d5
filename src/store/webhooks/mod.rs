//! Endpoints and deliveries: where merchants want callbacks, claiming and settling one callback, and reading it all back.

mod claim;
mod deliveries;
mod due;
mod endpoints;
mod lost;
mod overview;
mod record;
mod replay;
mod secrets;
mod settle;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use claim::{Callback, CallbackClaim, Destination};
pub use deliveries::{DeliveryAttempt, DeliveryRecord, Replayed};
pub use due::DueDelivery;
pub use endpoints::{Endpoint, EndpointChange, MOST_ENDPOINTS, NewEndpoint, Registered};
pub use overview::DeliveryAbout;
pub use record::{NewCallback, Tested};
pub use secrets::EndpointSecrets;
pub use settle::{CallbackSettled, CallbackSettlement};

pub(super) use due::DUE;
pub(super) use record::record_callbacks;
pub(super) use replay::replay_for_mails;
