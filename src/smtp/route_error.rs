//! Why a route cannot be used as it is configured.

use std::{io, path::PathBuf};

/// Why a route cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The name cannot be shown in logs and metrics.
    #[error("route name `{route}` is not 1 to 64 letters, digits, dots, underscores or hyphens")]
    Name {
        /// The route.
        route: String,
    },
    /// Two routes have the same name.
    #[error("route `{route}` is configured twice")]
    Duplicate {
        /// The route.
        route: String,
    },
    /// The host is neither a host name nor an IP address.
    #[error("route `{route}`: host `{host}` is neither a host name nor an IP address")]
    Host {
        /// The route.
        route: String,
        /// What was given.
        host: String,
    },
    /// Port 0 cannot be connected to.
    #[error("route `{route}`: port must be 1 to 65535")]
    Port {
        /// The route.
        route: String,
    },
    /// No mail would ever leave.
    #[error("route `{route}`: connections must be 1 to 10000")]
    Connections {
        /// The route.
        route: String,
    },
    /// A user name without a password, or the reverse.
    #[error("route `{route}`: username and password go together, and auth needs both")]
    Credentials {
        /// The route.
        route: String,
    },
    /// The user name or the password holds control characters.
    #[error("route `{route}`: username and password must not hold control characters")]
    CredentialCharacters {
        /// The route.
        route: String,
    },
    /// The name for EHLO would break the dialogue.
    #[error("route `{route}`: hello_name `{name}` is not a host name or an address literal")]
    HelloName {
        /// The route.
        route: String,
        /// What was given.
        name: String,
    },
    /// The pattern for the relay's ids cannot be used.
    #[error(
        "route `{route}`: provider_id must be a regular expression with one group, of at most 1000 bytes: {why}"
    )]
    ProviderId {
        /// The route.
        route: String,
        /// What is wrong with it.
        why: String,
    },
    /// The weight gives no share, or one beyond reason.
    #[error("route `{route}`: weight must be 1 to 1000")]
    Weight {
        /// The route.
        route: String,
    },
    /// A connection would carry no mail.
    #[error("route `{route}`: mails_per_connection must be at least 1")]
    MailsPerConnection {
        /// The route.
        route: String,
    },
    /// A relay would be given up at once, or a hanging one would be waited for all day.
    #[error("route `{route}`: timeout must be 1s to 10m")]
    Timeout {
        /// The route.
        route: String,
    },
    /// An entry of a list is no name, or is there twice.
    #[error("route `{route}`: `{entry}` {what}")]
    Entry {
        /// The route.
        route: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file of certificates cannot be read.
    #[error("route `{route}`: cannot read certificates from `{}`", path.display())]
    Certificates {
        /// The route.
        route: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refused the configuration.
    #[error("route `{route}`: cannot set up TLS")]
    Tls {
        /// The route.
        route: String,
        /// Why.
        source: rustls::Error,
    },
}
