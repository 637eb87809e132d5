//! What a credential may do.

use std::collections::BTreeSet;

use crate::mail::{UnknownWord, closed_set};

closed_set! {
    /// One thing that a credential may do.
    Ability {
        /// Send cart links.
        SubscriptionsEmail = "subscriptions.email",
        /// Read abandoned carts.
        CartsRead = "carts.read",
        /// Send reminders of abandoned carts.
        CartsRemind = "carts.remind",
        /// Read orders.
        OrdersRead = "orders.read",
        /// Resend order e-mails.
        OrdersEmail = "orders.email",
        /// Read templates and batches.
        TemplatesGet = "templates.get",
        /// Send templated mails.
        TemplatesStore = "templates.store",
        /// Manage webhook endpoints.
        WebhooksManage = "webhooks.manage",
        /// Read mails and batches.
        MailsRead = "mails.read",
        /// Cancel, retry, pause and resume.
        MailsManage = "mails.manage",
        /// Read stored resources.
        ResourcesRead = "resources.read",
        /// Tell postroom.
        ResourcesWrite = "resources.write",
    }
}

/// The abilities of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abilities {
    /// Every ability, also those of later versions: `*`.
    All,
    /// These.
    Some(BTreeSet<Ability>),
}

impl Abilities {
    /// Parses a comma-separated list; `*` is every ability.
    ///
    /// # Errors
    /// The first word that is no ability, or an empty list.
    pub fn parse(text: &str) -> Result<Self, UnknownWord> {
        let words: Vec<_> = text.split(',').map(str::trim).collect();
        if words.contains(&"*") {
            return Ok(Self::All);
        }
        words.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self::Some)
    }

    /// Whether this ability is among them.
    pub fn include(&self, ability: Ability) -> bool {
        match self {
            Self::All => true,
            Self::Some(abilities) => abilities.contains(&ability),
        }
    }
}

impl std::fmt::Display for Abilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Some(abilities) => {
                f.write_str(&abilities.iter().map(|ability| ability.as_str()).collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_abilities_reads_back() {
        let some = Abilities::parse("templates.get, templates.store").unwrap();
        assert!(some.include(Ability::TemplatesStore) && !some.include(Ability::MailsRead));
        assert_eq!(Abilities::parse(&some.to_string()), Ok(some));
        assert!(Abilities::parse("*").unwrap().include(Ability::ResourcesWrite));
        assert!(Abilities::parse("").is_err() && Abilities::parse("templates").is_err());
    }
}
