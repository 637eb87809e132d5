//! What is looked at, and what is wrong with it.

use std::{fmt, net::IpAddr};

use super::resolver::{LookUpError, Resolver};
use crate::dkim::{Keyring, TxtRecord};

/// What was looked at.
pub(super) struct Finding {
    /// `spf`, `dkim`, `dmarc`, `mx` or `reverse_name`.
    pub(super) check: &'static str,
    /// The name that was looked up.
    pub(super) name: String,
    /// What is there.
    pub(super) found: Vec<String>,
    /// What is wrong, and what to do.
    pub(super) fault: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.fault.is_some() { "WRONG" } else { "ok" };
        write!(f, "{verdict:<6} {:<13} {}", self.check, self.name)?;
        for found in &self.found {
            write!(f, "\n       {found}")?;
        }
        match &self.fault {
            Some(fault) => write!(f, "\n       -> {fault}"),
            None => Ok(()),
        }
    }
}

/// Looks at everything.
pub(super) async fn examine(
    resolver: &Resolver,
    domain: &str,
    keys: &Keyring,
    routes: &[(&str, &str)],
) -> Vec<Finding> {
    let mut findings = vec![spf(resolver, domain).await];
    match keys.signer_for(domain) {
        Some(signer) => {
            for record in signer.records() {
                findings.push(dkim(resolver, &record).await);
            }
        }
        None => findings.push(Finding {
            check: "dkim",
            name: domain.to_owned(),
            found: Vec::new(),
            fault: Some(format!(
                "no key signs for this domain: run `postroom dkim generate {domain}`, unless the relay signs"
            )),
        }),
    }
    findings.push(dmarc(resolver, domain).await);
    findings.push(mx(resolver, domain).await);
    for (route, host) in routes {
        findings.push(reverse_name(resolver, route, host).await);
    }
    findings
}

/// What was found, judged; a look-up that failed is a fault too.
fn finding<T>(
    check: &'static str,
    name: &str,
    looked_up: Result<Vec<T>, LookUpError>,
    show: impl Fn(&T) -> String,
    judge: impl FnOnce(&[T]) -> Option<String>,
) -> Finding {
    let (found, fault) = match looked_up {
        Ok(found) => (found.iter().map(show).collect(), judge(&found)),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Finding { check, name: name.to_owned(), found, fault }
}

/// The texts that begin with this tag.
fn of_version(texts: Vec<String>, version: &str) -> Vec<String> {
    let is_it = |text: &String| {
        text.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ';']))
    };
    texts.into_iter().filter(is_it).collect()
}

/// The domain's list of who may send for it (RFC 7208).
async fn spf(resolver: &Resolver, domain: &str) -> Finding {
    let records = resolver.texts(domain).await.map(|texts| of_version(texts, "v=spf1"));
    finding("spf", domain, records, String::clone, |records| match records {
        [] => Some(
            "publish a TXT record that begins with v=spf1 and names your relay, as the relay's operator says"
                .to_owned(),
        ),
        [record] if record.contains("+all") => Some("`+all` lets everybody send for this domain".to_owned()),
        [_] => None,
        _ => Some("there must be only one; receivers ignore all of them (RFC 7208, section 4.5)".to_owned()),
    })
}

/// A record of a key that is in use (RFC 6376, section 3.6).
async fn dkim(resolver: &Resolver, record: &TxtRecord) -> Finding {
    let texts = resolver.texts(&record.name).await;
    finding("dkim", &record.name, texts, String::clone, |texts| {
        let key = |text: &str| {
            let tag = text.split(';').find_map(|tag| tag.trim_start().strip_prefix("p").map(str::trim_start));
            tag.and_then(|tag| tag.strip_prefix('=')).map(|key| key.split_whitespace().collect::<String>())
        };
        let publish = || format!("publish {}", record.zone_line());
        match texts {
            [] => Some(publish()),
            [text] if key(text) == key(&record.value) => None,
            [text] if key(text).is_some_and(|key| key.is_empty()) => {
                Some("the key is revoked: make a new one".to_owned())
            }
            [_] => Some(format!("this is not the key that signs: {}", publish())),
            _ => Some("there must be only one record: receivers may take any".to_owned()),
        }
    })
}

/// What receivers are to do with mails that are not the domain's (RFC 7489). That of a domain above counts too.
async fn dmarc(resolver: &Resolver, domain: &str) -> Finding {
    let (mut name, mut records) = (format!("_dmarc.{domain}"), Ok(Vec::new()));
    let mut asked = Some(domain);
    while let Some(domain) = asked.filter(|domain| domain.contains('.')) {
        let place = format!("_dmarc.{domain}");
        records = resolver.texts(&place).await.map(|texts| of_version(texts, "v=DMARC1"));
        if records.as_ref().map_or(true, |records| !records.is_empty()) {
            name = place;
            break;
        }
        asked = domain.split_once('.').map(|(_, above)| above);
    }
    finding("dmarc", &name, records, String::clone, |records| match records {
        [] => Some("publish a TXT record such as \"v=DMARC1; p=none; rua=mailto:you@…\"".to_owned()),
        [record] if record.contains("p=") => None,
        [_] => Some("it has no policy: `p=` is missing".to_owned()),
        _ => {
            Some("there must be only one; receivers ignore all of them (RFC 7489, section 6.6.3)".to_owned())
        }
    })
}

/// Where answers and bounces go.
async fn mx(resolver: &Resolver, domain: &str) -> Finding {
    let exchanges = resolver.exchanges(domain).await;
    let show = |(preference, host): &(u16, String)| format!("{preference} {host}");
    finding("mx", domain, exchanges, show, |exchanges| match exchanges {
        [] => Some(
            "nobody gets answers and bounces, and some receivers refuse such senders: publish an MX record"
                .to_owned(),
        ),
        [(_, host)] if host.is_empty() => {
            Some("`.` says that the domain takes no mail (RFC 7505)".to_owned())
        }
        _ => None,
    })
}

/// The reverse name of a relay, which should lead back to its address.
async fn reverse_name(resolver: &Resolver, route: &str, host: &str) -> Finding {
    let name = format!("{host} (route {route})");
    let found = match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolver.addresses(host).await,
    };
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => return finding::<String>("reverse_name", &name, Err(error), String::clone, |_| None),
    };
    let (mut lines, mut without) = (Vec::new(), Vec::new());
    for address in &addresses {
        match leads_back(resolver, *address).await {
            Ok(Some(name)) => lines.push(format!("{address} {name}")),
            Ok(None) => without.push(address.to_string()),
            Err(error) => {
                return finding::<String>("reverse_name", &name, Err(error), String::clone, |_| None);
            }
        }
    }
    finding("reverse_name", &name, Ok(lines), String::clone, |_| {
        if addresses.is_empty() {
            return Some("the relay's name has no address".to_owned());
        }
        let list = without.join(", ");
        let fault = format!(
            "{list}: no reverse name leads back to it; if the relay sends from there, ask its operator for one"
        );
        (!without.is_empty()).then_some(fault)
    })
}

/// The reverse name of an address whose own address is that one again.
async fn leads_back(resolver: &Resolver, address: IpAddr) -> Result<Option<String>, LookUpError> {
    for name in resolver.names(address).await?.into_iter().take(5) {
        if resolver.addresses(&name).await?.contains(&address) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
