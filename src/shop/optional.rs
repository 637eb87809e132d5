//! Fields of documents that need not be given. `null` says as little as a field that is not there.

use serde::{Deserialize, Deserializer};

/// Reads a field that has a default; `null` stands for it too.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a switch that is on unless it is switched off.
pub(super) fn or_yes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(|given| given.unwrap_or(true))
}
