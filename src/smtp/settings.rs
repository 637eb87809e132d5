//! What an operator writes about a route (`[[smtp.routes]]`), and whether it makes sense.

use std::{collections::HashSet, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use rustls::pki_types::ServerName;
use secrecy::SecretString;
use serde::Deserialize;

use super::{hello_name::is_hello_name, provider::ProviderIds, route_error::RouteError};
use crate::mail::{Address, MailLane, MerchantId};

/// Whether and how a route is encrypted. There is no default: the operator spells it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Never. A password, if there is one, is sent as it is.
    None,
    /// STARTTLS when the server offers it, whoever it is (RFC 7435), and plain text when that fails.
    Opportunistic,
    /// STARTTLS with a valid certificate (RFC 3207), or no mail.
    Starttls,
    /// TLS from the first byte with a valid certificate (RFC 8314), usually on port 465.
    Tls,
}

/// A way to sign in (RFC 4954).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMechanism {
    /// RFC 4616.
    Plain,
    /// The older way of some servers.
    Login,
    /// A bearer token, given as the password.
    Xoauth2,
}

impl fmt::Display for AuthMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
        })
    }
}

/// One relay with its own credentials, encryption, connections and rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// Its name in attempts, metrics and logs; unique.
    pub name: String,
    /// Host name or address of the relay.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether and how it is encrypted.
    pub tls: TlsMode,
    /// The user to sign in as; without it there is no AUTH.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password, or the bearer token for `xoauth2`.
    #[serde(default)]
    pub password: Option<SecretString>,
    /// The most connections that are open at a time.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Mails per unit of time, as in `"50/s"`; kept as text here and enforced by the limits.
    #[serde(default)]
    pub rate: Option<String>,
    /// The way to sign in; by default the better one of PLAIN and LOGIN that the server offers.
    #[serde(default)]
    pub auth: Option<AuthMechanism>,
    /// A PEM file with certificates to trust beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The name we give in EHLO; by default this machine's full name, else its address.
    #[serde(default)]
    pub hello_name: Option<String>,
    /// A regular expression whose group finds the relay's id in its last answer, where no known way does.
    #[serde(default)]
    pub provider_id: Option<String>,
    /// Routes with the lowest number go first.
    #[serde(default = "default_priority")]
    pub priority: u32,
    /// Its share of the mails among routes of the same priority.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Only mails of these merchants; empty: of all.
    #[serde(default)]
    pub merchants: Vec<MerchantId>,
    /// Only mails from these senders' domains; empty: from all.
    #[serde(default)]
    pub sender_domains: Vec<String>,
    /// Only mails of these lanes; empty: of all.
    #[serde(default)]
    pub lanes: Vec<MailLane>,
    /// A connection is replaced after so many mails.
    #[serde(default)]
    pub mails_per_connection: Option<u32>,
    /// How long the relay may take for an answer; longer once the message is under way.
    #[serde(default, with = "crate::mail::duration::option")]
    pub timeout: Option<Duration>,
}

/// What a timeout may be: a hanging relay must not be waited for all day.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

fn default_priority() -> u32 {
    10
}

fn default_weight() -> u32 {
    1
}

fn default_connections() -> usize {
    16
}

impl RouteSettings {
    /// A route with the defaults of the configuration.
    pub fn new(name: impl Into<String>, host: impl Into<String>, port: u16, tls: TlsMode) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port,
            tls,
            username: None,
            password: None,
            connections: default_connections(),
            rate: None,
            auth: None,
            ca_file: None,
            hello_name: None,
            provider_id: None,
            priority: default_priority(),
            weight: default_weight(),
            merchants: Vec::new(),
            sender_domains: Vec::new(),
            lanes: Vec::new(),
            mails_per_connection: None,
            timeout: None,
        }
    }

    /// Whether connections of a route with these settings serve one with the others.
    pub(super) fn connects_as(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret;
        let password = |settings: &Self| settings.password.as_ref().map(|it| it.expose_secret().to_owned());
        self.is_relay_of(other)
            && (self.tls, &self.ca_file, &self.hello_name) == (other.tls, &other.ca_file, &other.hello_name)
            && (&self.username, self.auth) == (&other.username, other.auth)
            && password(self) == password(other)
            && (self.timeout, self.mails_per_connection) == (other.timeout, other.mails_per_connection)
    }

    /// Whether both lead to one relay, which counts the connections of both.
    pub(super) fn is_relay_of(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// Checks everything that can be checked without a file or a network.
    pub(super) fn check(&self) -> Result<(), RouteError> {
        self.faults().into_iter().next().map_or(Ok(()), |(_, fault)| Err(fault))
    }

    /// Every fault that can be found without a file or a network, with its field.
    pub fn faults(&self) -> Vec<(&'static str, RouteError)> {
        let route = || self.name.clone();
        let mut faults = Vec::new();
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(is_name_byte) {
            faults.push(("name", RouteError::Name { route: route() }));
        }
        if self.server_name().is_none() {
            faults.push(("host", RouteError::Host { route: route(), host: self.host.clone() }));
        }
        if self.port == 0 {
            faults.push(("port", RouteError::Port { route: route() }));
        }
        if !(1..=10_000).contains(&self.connections) {
            faults.push(("connections", RouteError::Connections { route: route() }));
        }
        if let Err(fault) = self.check_credentials() {
            faults.push((if self.username.is_some() { "username" } else { "password" }, fault));
        }
        if let Some(name) = self.hello_name.as_ref().filter(|name| !is_hello_name(name)) {
            faults.push(("hello_name", RouteError::HelloName { route: route(), name: name.clone() }));
        }
        if let Err(fault) = self.provider_ids() {
            faults.push(("provider_id", fault));
        }
        if !(1..=1_000).contains(&self.weight) {
            faults.push(("weight", RouteError::Weight { route: route() }));
        }
        if self.mails_per_connection == Some(0) {
            faults.push(("mails_per_connection", RouteError::MailsPerConnection { route: route() }));
        }
        if self.timeout.is_some_and(|timeout| !TIMEOUTS.contains(&timeout)) {
            faults.push(("timeout", RouteError::Timeout { route: route() }));
        }
        self.find_faults_of_lists(&mut faults);
        faults
    }

    /// Notes entries of the selectors that are no names, or are there twice.
    fn find_faults_of_lists(&self, faults: &mut Vec<(&'static str, RouteError)>) {
        let mut fault = |field, entry: &str, what| {
            let (route, entry) = (self.name.clone(), entry.to_owned());
            faults.push((field, RouteError::Entry { route, entry, what }));
        };
        const TWICE: &str = "is there twice";
        let mut seen = HashSet::new();
        for merchant in self.merchants.iter().filter(|merchant| !seen.insert(merchant.as_str())) {
            fault("merchants", merchant.as_str(), TWICE);
        }
        let mut seen = HashSet::new();
        for lane in self.lanes.iter().filter(|lane| !seen.insert(**lane)) {
            fault("lanes", lane.as_str(), TWICE);
        }
        let mut seen = HashSet::new();
        for entry in &self.sender_domains {
            match domain(entry) {
                None => fault("sender_domains", entry, "is not a domain name"),
                Some(domain) if !seen.insert(domain.clone()) => fault("sender_domains", entry, TWICE),
                Some(_) => {}
            }
        }
    }

    /// What finds the relay's ids.
    pub(super) fn provider_ids(&self) -> Result<ProviderIds, RouteError> {
        let fault = |why| RouteError::ProviderId { route: self.name.clone(), why };
        ProviderIds::new(self.provider_id.as_deref()).map_err(fault)
    }

    fn check_credentials(&self) -> Result<(), RouteError> {
        use secrecy::ExposeSecret;
        let route = || self.name.clone();
        match (&self.username, &self.password) {
            (None, None) if self.auth.is_none() => Ok(()),
            (Some(username), Some(password)) => {
                if username.chars().chain(password.expose_secret().chars()).any(char::is_control) {
                    return Err(RouteError::CredentialCharacters { route: route() });
                }
                Ok(())
            }
            _ => Err(RouteError::Credentials { route: route() }),
        }
    }

    /// The host without the brackets of an IPv6 literal.
    pub(super) fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// The name that the server's certificate must carry.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.bare_host().to_owned()).ok()
    }
}

/// A domain as it stands in the jobs of mails: in lower case, as A-labels.
pub(super) fn domain(text: &str) -> Option<String> {
    let is_plain = !text.is_empty() && !text.contains(['@', '"', '[']);
    let address: Address = is_plain.then(|| format!("a@{text}").parse().ok()).flatten()?;
    Some(address.domain().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Result<RouteSettings, toml::de::Error> {
        toml::from_str(&format!("name = \"main\"\nhost = \"mx.example.net\"\nport = 587\n{extra}"))
    }

    #[test]
    fn a_route_needs_a_name_a_host_a_port_and_a_word_about_tls() {
        let settings = parse("tls = \"starttls\"").unwrap();
        assert_eq!((settings.tls, settings.connections), (TlsMode::Starttls, 16));
        assert!(settings.check().is_ok());
        assert!(parse("").unwrap_err().to_string().contains("tls"));
        assert!(parse("tls = \"none\"\ncolour = \"red\"").unwrap_err().to_string().contains("colour"));
        assert!(parse("tls = \"sometimes\"").unwrap_err().to_string().contains("opportunistic"));
    }

    #[test]
    fn each_fault_names_the_route_and_what_is_wrong() {
        for (extra, said) in [
            ("tls = \"none\"\nusername = \"ann\"", "username and password go together"),
            ("tls = \"none\"\npassword = \"x\"", "username and password go together"),
            ("tls = \"none\"\nauth = \"plain\"", "username and password go together"),
            ("tls = \"none\"\nusername = \"a\\u0000b\"\npassword = \"x\"", "control characters"),
            ("tls = \"none\"\nconnections = 0", "connections must be"),
            ("tls = \"none\"\nhello_name = \"a b\"", "hello_name `a b`"),
        ] {
            let fault = parse(extra).unwrap().check().unwrap_err().to_string();
            assert!(fault.contains("route `main`") && fault.contains(said), "{extra}: {fault}");
        }
        for host in ["", "exa mple.net", "mx.example.net\r\n", "-a", "http://mx.example.net"] {
            let settings = RouteSettings { host: host.to_owned(), ..parse("tls = \"none\"").unwrap() };
            assert!(matches!(settings.check(), Err(RouteError::Host { .. })), "{host:?}");
        }
        for host in ["localhost", "127.0.0.1", "::1", "[::1]", "mail_catcher", "mx.example.net"] {
            let settings = RouteSettings { host: host.to_owned(), ..parse("tls = \"none\"").unwrap() };
            assert!(settings.check().is_ok(), "{host:?}");
        }
    }

    #[test]
    fn a_password_does_not_show_when_settings_are_printed() {
        let settings = parse("tls = \"tls\"\nusername = \"ann\"\npassword = \"hunter2\"").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
