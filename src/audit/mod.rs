//! AUDITED: who changed what, and from where. Pure words; the store records them in the transaction of the change.
//!
//! The command line and the HTTP handlers say who asks with [`Author`] and hand it to
//! [`Store::acting_for`](crate::store::Store::acting_for). What workers do by themselves has no author and no entry.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::mail::{TokenId, closed_set};

/// The longest name of an actor or an origin, in characters; what is longer is cut.
const LONGEST_NAME: usize = 255;

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody at the command line, by the name that the system knows.
    CommandLine(Arc<str>),
    /// An operator, by name.
    Operator(Arc<str>),
    /// A merchant's system with a token.
    Token(TokenId),
    /// A merchant's system with an account, by user name.
    Account(Arc<str>),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(user) => write!(f, "cli:{user}"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Account(username) => write!(f, "account:{username}"),
        }
    }
}

closed_set! {
    /// What was done.
    Action {
        /// A merchant was created.
        MerchantCreated = "merchant.created",
        /// A merchant's name, country, language, sender or rate was changed.
        MerchantUpdated = "merchant.updated",
        /// Nothing is taken from a merchant any more, and its mails wait.
        MerchantSuspended = "merchant.suspended",
        /// A suspended merchant may go on.
        MerchantResumed = "merchant.resumed",
        /// An account was created.
        AccountCreated = "account.created",
        /// An account got another password.
        AccountRotated = "account.rotated",
        /// An account was removed.
        AccountRemoved = "account.removed",
        /// A token was created.
        TokenCreated = "token.created",
        /// A token was revoked.
        TokenRevoked = "token.revoked",
        /// An operator was created.
        OperatorCreated = "operator.created",
        /// An operator was removed.
        OperatorRemoved = "operator.removed",
        /// An operator signed in to the dashboard.
        OperatorSignedIn = "operator.signed_in",
        /// A session of an operator was ended, by that operator or another.
        SessionEnded = "session.ended",
        /// A lane, merchant, route or domain was paused.
        QueuePaused = "queue.paused",
        /// A pause was ended.
        QueueResumed = "queue.resumed",
        /// A route was drained.
        RouteDrained = "route.drained",
        /// A drained route is used again.
        RouteUndrained = "route.undrained",
        /// Mails were queued again.
        MailRetried = "mail.retried",
        /// Mails were cancelled.
        MailCancelled = "mail.cancelled",
        /// A bulk action was confirmed: it acts on so many mails.
        BulkConfirmed = "bulk_action.confirmed",
        /// A bulk action was stopped.
        BulkStopped = "bulk_action.stopped",
        /// A stopped bulk action was resumed.
        BulkResumed = "bulk_action.resumed",
        /// A mail was sent to try a route.
        MailTested = "mail.tested",
        /// A batch was paused.
        BatchPaused = "batch.paused",
        /// A batch was resumed.
        BatchResumed = "batch.resumed",
        /// A batch was cancelled.
        BatchCancelled = "batch.cancelled",
        /// A webhook endpoint was registered.
        WebhookRegistered = "webhook.registered",
        /// A webhook endpoint was changed.
        WebhookChanged = "webhook.changed",
        /// A webhook endpoint was removed.
        WebhookRemoved = "webhook.removed",
        /// A webhook endpoint got another secret.
        WebhookSecretRefreshed = "webhook.secret_refreshed",
        /// Callbacks were sent again.
        WebhookReplayed = "webhook.replayed",
        /// A brand, a template or a store's settings were stored.
        ResourceStored = "resource.stored",
        /// A document was deleted.
        ResourceDeleted = "resource.deleted",
        /// Documents were imported.
        ResourceImported = "resource.imported",
        /// An address was suppressed.
        SuppressionStored = "suppression.stored",
        /// An address may get mails again.
        SuppressionRemoved = "suppression.removed",
        /// A process reloaded its configuration: so many settings changed.
        ConfigReloaded = "config.reloaded",
        /// What is on record of a recipient was written out: so many mails.
        RecipientExported = "recipient.exported",
        /// A recipient was erased: so many rows changed.
        RecipientErased = "recipient.erased",
        /// The schema was brought up to date: so many migrations.
        SchemaMigrated = "schema.migrated",
    }
}

/// Who answers for a change, and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Who.
    pub actor: Actor,
    /// Where from: the address of the other end of the connection, or a terminal and its machine.
    pub origin: Option<Arc<str>>,
    /// The id of the request.
    pub request_id: Option<Arc<str>>,
}

impl Author {
    /// Somebody at the command line.
    pub fn at_the_command_line(user: &str, origin: &str) -> Self {
        Self { actor: Actor::CommandLine(cut(user)), origin: Some(cut(origin)), request_id: None }
    }

    /// An operator whose browser is at this address.
    pub fn of_operator(name: impl Into<Arc<str>>, address: Option<IpAddr>) -> Self {
        let origin = address.map(|address| address.to_string().into());
        Self { actor: Actor::Operator(name.into()), origin, request_id: None }
    }
}

/// The same without control characters, and not too long.
fn cut(text: &str) -> Arc<str> {
    text.chars().filter(|each| !each.is_control()).take(LONGEST_NAME).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_says_of_which_kind_it_is() {
        assert_eq!(Author::at_the_command_line("root", "tty").actor.to_string(), "cli:root");
        assert_eq!(Actor::Operator("ann".into()).to_string(), "operator:ann");
        assert_eq!(Actor::Account("tea".into()).to_string(), "account:tea");
        let long = Author::at_the_command_line(&format!("a\nb{}", "c".repeat(300)), "pts/1");
        assert_eq!(long.actor.to_string().len(), "cli:".len() + 255);
    }
}
