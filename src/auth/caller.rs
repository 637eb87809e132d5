//! Who asks.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    audit::{Actor, Author},
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
    /// Which of the merchant's credentials.
    pub actor: Actor,
    /// Whether its token is for trying things out while the merchant itself is live: what it asks for must leave the
    /// merchant's orders, subscriptions and passes as they are.
    pub is_trying_out: bool,
    /// The other end of the connection that the request came over.
    pub peer: Option<IpAddr>,
    /// The id of the request.
    pub request_id: Option<Arc<str>>,
    pub(super) abilities: Abilities,
}

impl Caller {
    pub(super) fn new(merchant: Merchant, actor: Actor, abilities: Abilities) -> Self {
        let merchant = Arc::new(merchant);
        Self { merchant, actor, is_trying_out: false, peer: None, request_id: None, abilities }
    }

    /// Who answers for what the caller changes.
    pub fn author(&self) -> Author {
        Author {
            actor: self.actor.clone(),
            origin: self.peer.map(|peer| peer.to_string().into()),
            request_id: self.request_id.clone(),
        }
    }

    /// Whether the caller has an ability.
    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.include(ability)
    }
}
