//! Who asks.

use std::{sync::Arc, time::Duration};

use crate::{
    shop::{Abilities, Ability},
    store::Merchant,
};

/// How long what was read about a credential is believed: a revoked one works on for so long at most.
pub(super) const KNOWN_FOR: Duration = Duration::from_millis(500);

/// Who asks, and what it may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The merchant.
    pub merchant: Arc<Merchant>,
    /// Which of the merchant's credentials: `account:` and the user name, or `token:` and the beginning of its hash.
    pub actor: Arc<str>,
    pub(super) abilities: Abilities,
}

impl Caller {
    /// Whether the caller has an ability.
    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.include(ability)
    }
}
