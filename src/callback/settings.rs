//! How callbacks are sent.

use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

/// The `callbacks` section of the configuration.
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
}
