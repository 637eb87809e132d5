//! What a reply means: its class.

use super::state::closed_set;

closed_set! {
    /// Why an attempt ended as it did.
    ReplyClass {
        /// The relay took the mail.
        Accepted = "accepted",
        /// There is no such mailbox.
        BadAddress = "bad_address",
        /// The mailbox has no room.
        MailboxFull = "mailbox_full",
        /// Somebody's rules forbid this mail.
        PolicyBlock = "policy_block",
        /// The content looks like spam, or is dangerous.
        SpamContent = "spam_content",
        /// The sending machine or the sender's domain has a bad name.
        Reputation = "reputation",
        /// Too much in too short a time, or beyond a quota.
        RateLimited = "rate_limited",
        /// Strangers have to come back later.
        Greylist = "greylist",
        /// SPF, DKIM, DMARC or the reverse DNS name of our side.
        AuthFailure = "auth_failure",
        /// How we are set up: credentials, relaying, TLS, EHLO, the sender's domain.
        Config = "config",
        /// The recipient's whole domain takes no mail.
        DomainWide = "domain_wide",
        /// A fault of the relay that passes.
        Temporary = "temporary",
        /// The message is too large or malformed.
        MessageFault = "message_fault",
        /// No relay said anything: no connection, a time-out, a broken dialogue.
        Connection = "connection",
        /// A refusal that no rule knows, or a worker that died.
        Unknown = "unknown",
    }
}
