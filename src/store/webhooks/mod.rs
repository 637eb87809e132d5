//! Endpoints and deliveries: where merchants want callbacks, claiming and settling one callback, and reading it all back.

mod claim;
mod deliveries;
mod disabled;
mod endpoints;
mod record;
mod ringing;
mod settle;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use claim::{Callback, CallbackClaim, Destination};
pub use deliveries::{DeliveryAttempt, DeliveryRecord, Replayed};
pub use disabled::DisabledEndpoint;
pub use endpoints::{Endpoint, EndpointChange, MOST_ENDPOINTS, NewEndpoint, Registered};
pub use record::{NewCallback, Tested};
pub use ringing::RingingDelivery;
pub use settle::{CallbackSettled, CallbackSettlement};

pub(super) use claim::CallbackClaimRequest;
pub(super) use record::record_callbacks;
